"""Rules for every test: a skip has to stand in skips.toml, with its reason; Ctrl-C works wherever the tests run."""

from __future__ import annotations

import fnmatch
import signal
from pathlib import Path

import pytest

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest itself brings tomli
    import tomli as tomllib

SKIPS = Path(__file__).with_name("skips.toml")


def _allowed_patterns() -> list[str]:
    entries = tomllib.loads(SKIPS.read_text(encoding="utf-8")).get("skip", [])
    for entry in entries:
        if set(entry) != {"test", "reason"} or not all(entry.values()):
            raise pytest.UsageError(f"{SKIPS.name}: every [[skip]] needs exactly test and reason, found {entry}")
    return [entry["test"] for entry in entries]


def pytest_configure(config):
    # Started in the background of a script, this process ignores SIGINT and would hand that on to every command under
    # test; with a handler of its own, programs it starts get the default again.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[_PATTERNS] = _allowed_patterns()


_PATTERNS = pytest.StashKey[list[str]]()


def _refuse_unlisted_skip(report, config):
    if not report.skipped or hasattr(report, "wasxfail"):
        return
    if any(fnmatch.fnmatchcase(report.nodeid, pattern) for pattern in config.stash[_PATTERNS]):
        return
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    report.outcome = "failed"
    report.longrepr = f"{report.nodeid} skipped ({reason}), and tests/skips.toml does not allow it"


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
