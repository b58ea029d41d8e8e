"""Rules for every test: a skip has to stand in skips.toml, with its reason; Ctrl-C works wherever the tests run.

With ``EDGEML_NO_SKIPS=1`` in the environment, a test that a command could have enabled (``fix``) has to run.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import signal
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest itself brings tomli
    import tomli as tomllib

SKIPS = Path(__file__).with_name("skips.toml")


def _entries() -> list[dict[str, str]]:
    entries = tomllib.loads(SKIPS.read_text(encoding="utf-8")).get("skip", [])
    for entry in entries:
        if set(entry) - {"fix"} != {"test", "reason"} or not all(entry.values()):
            raise pytest.UsageError(
                f"{SKIPS.name}: every [[skip]] needs test and reason and may have fix, found {entry}"
            )
    return entries


def pytest_configure(config):
    # Started in the background of a script, this process ignores SIGINT and would hand that on to every command under
    # test; with a handler of its own, programs it starts get the default again.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_ENTRIES] = _entries()


_ENTRIES = pytest.StashKey[list[dict[str, str]]]()


def _refuse_unlisted_skip(report, config):
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    listed = [entry for entry in config.stash[_ENTRIES] if fnmatch.fnmatchcase(report.nodeid, entry["test"])]
    must_run = os.environ.get("EDGEML_NO_SKIPS") == "1" and all("fix" in entry for entry in listed)
    if listed and not must_run:
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    why = f"EDGEML_NO_SKIPS is set: {listed[0]['fix']}" if listed else "tests/skips.toml does not allow it"
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} skipped ({reason}), and {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _refuse_unlisted_skip(report, item.config)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _refuse_unlisted_skip(report, collector.config)
    return report


@pytest.fixture(scope="session")
def series_folder():
    """The module that writes folders of time series."""
    spec = importlib.util.spec_from_file_location("series_folder", Path(__file__).with_name("series_folder.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
