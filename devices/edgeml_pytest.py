"""The pytest plug-in: ``pytest --edgeml-device NAME --edgeml-on TARGET`` and the fixture ``edge_budget``.

Every pytest run where edgeml is installed imports this module, so it imports nothing but pytest, and is no part of a
package that would. What the fixture does is in :mod:`edgeml_devices.pytest_plugin`, imported by the first test that
uses it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from edgeml_devices.pytest_plugin import EdgeBudget, SessionGate

__all__: list[str] = []

MARKER = "edge_budget"
UNDECIDED = ("fail", "skip", "pass")

_session_gate = pytest.StashKey["SessionGate"]()
_told = pytest.StashKey[list[dict[str, Any]]]()


def _number_above_0(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise ValueError(text)
    return value


def _threads(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _undecided(text: str) -> str:
    if text not in UNDECIDED:
        raise ValueError(text)
    return text


# Option: its metavar, how it is read, what it has to be, what it says in --help.
OPTIONS: dict[str, tuple[str, Callable[[str], object], str, str]] = {
    "device": ("NAME", str, "a name", "device profile to judge for: a name or a file (default: host)"),
    "time-limit": ("SECONDS", _number_above_0, "seconds above 0", "measure no variant longer (default: 55)"),
    "threads": ("N", _threads, "a number of at least 1", "threads of the backend (default: the profile's number)"),
    "inconclusive": (
        "|".join(UNDECIDED),
        _undecided,
        " or ".join(UNDECIDED),
        "what a test does whose budgets cannot be decided (default: fail)",
    ),
    "baseline": ("PATH", Path, "a file or folder", "compare with earlier results: JSON of edgeml bench, or a folder"),
    "ssh-config": ("FILE", Path, "a file", "ssh configuration in place of your own"),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options, each of which the configuration file knows as well."""
    group = parser.getgroup("edgeml", "edgeml: budgets of models for devices")
    for name, (metavar, _, _, text) in OPTIONS.items():
        group.addoption(f"--edgeml-{name}", metavar=metavar, help=text)
        parser.addini(f"edgeml_{name.replace('-', '_')}", text, default="")
    on = "where to measure, as `edgeml bench --on` takes it, such as ssh://pi@host; repeatable (default: local)"
    group.addoption("--edgeml-on", metavar="TARGET", action="append", help=on)
    parser.addini("edgeml_on", on, type="args", default=[])


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker that tests with the fixture get, for ``-m``, and read the options."""
    config.addinivalue_line("markers", f"{MARKER}: judges the budgets of a model (set by the fixture edge_budget).")
    for name in OPTIONS:
        _option(config, name)


def _option(config: pytest.Config, name: str) -> Any:
    """An option as the command line or else the configuration file says; None for its default."""
    _, read, expected, _ = OPTIONS[name]
    key = f"edgeml_{name.replace('-', '_')}"
    text, where = config.getoption(key), f"--edgeml-{name}"
    if text is None:
        text, where = config.getini(key), f"{key} in the configuration"
    if not text:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise pytest.UsageError(f"{where}: expected {expected}, found {text!r}") from error


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that use the fixture."""
    for item in items:
        if MARKER in getattr(item, "fixturenames", ()):
            item.add_marker(MARKER)


@pytest.fixture
def edge_budget(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EdgeBudget:
    """Judge the budgets of a model on the session's device and targets.

    ``edge_budget("my-words-1.0.0.edgeml")`` judges every budget of the contract for the device;
    ``edge_budget(path, variant="onnx-int8", latency_ms_p95=2.0)`` limits of one's own. The test fails where a budget
    does, and where a target is lost.
    """
    from edgeml_devices.pytest_plugin import EdgeBudget

    stash = request.config.stash
    if _session_gate not in stash:
        stash[_session_gate] = _open_session(request.config, tmp_path_factory)
    told = request.node.stash.setdefault(_told, [])
    return EdgeBudget(stash[_session_gate], request.node, told.extend)


def _open_session(config: pytest.Config, folders: pytest.TempPathFactory) -> SessionGate:
    from edgeml_devices.gate import GateSettings
    from edgeml_devices.pytest_plugin import SessionGate
    from edgeml_runtime.errors import InputError

    given = {
        "device": _option(config, "device"),
        "targets": tuple(config.getoption("edgeml_on") or config.getini("edgeml_on")),
        "threads": _option(config, "threads"),
        "time_limit_s": _option(config, "time-limit"),
        "ssh_config": _option(config, "ssh-config"),
        "baseline": _option(config, "baseline"),
    }
    worker: dict[str, Any] | None = getattr(config, "workerinput", None)  # of pytest-xdist
    shared = None if worker is None else folders.getbasetemp().parent / f"edgeml-{worker['testrunuid']}"
    settings = GateSettings(**{name: value for name, value in given.items() if value})
    try:
        return SessionGate(config, settings, shared, _option(config, "inconclusive") or UNDECIDED[0])
    except InputError as error:  # the earlier results
        pytest.fail(str(error), pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Hand what a test found to the process that reports; with pytest-xdist that is another one."""
    report = yield
    if call.when == "call" and _told in item.stash:
        vars(report)["edgeml_budgets"] = item.stash[_told]
    return report


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Figures and verdicts by device and target."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    rows = [row for report in reports for row in getattr(report, "edgeml_budgets", ())]
    if not rows:
        return
    from edgeml_devices.gate_words import summary_lines

    terminalreporter.section("edgeml budgets")
    for line in summary_lines(rows):
        terminalreporter.write_line(line)
