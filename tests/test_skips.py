"""The rule of conftest.py: a skip that is not in skips.toml fails."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
TESTS = """
import pytest

def test_skipping():
    pytest.skip("no such device")

@pytest.mark.skip(reason="by mark")
def test_marked():
    pass

@pytest.mark.xfail(reason="known")
def test_expected_to_fail():
    assert False

def test_passing():
    pass
"""
ALLOWED = """
[[skip]]
test = "test_it.py::test_skipping"
reason = "needs a device"

[[skip]]
test = "test_it.py::test_mark*"
reason = "needs another"
"""
FIXABLE = ALLOWED.replace('reason = "needs a device"', 'reason = "needs a device"\nfix = "plug it in"')


@pytest.mark.parametrize(
    ("skips", "module", "code", "says"),
    [
        ("", TESTS, 1, "1 failed, 1 passed, 1 xfailed, 1 error"),
        (ALLOWED, TESTS, 0, "1 passed, 2 skipped, 1 xfailed"),
        ("", "import pytest\npytest.importorskip('no_such_module')\n", 2, "1 error"),
        ('[[skip]]\ntest = "x"\n', TESTS, 4, "needs test and reason and may have fix"),
        (FIXABLE, TESTS, 0, "1 passed, 2 skipped, 1 xfailed"),
        ('[[skip]]\ntest = "x"\nreason = "y"\nfix = ""\n', TESTS, 4, "needs test and reason and may have fix"),
    ],
)
def test_unlisted_skips_fail(tmp_path, monkeypatch, skips, module, code, says):
    monkeypatch.delenv("EDGEML_NO_SKIPS", raising=False)
    check(tmp_path, skips, module, code, says)


@pytest.mark.parametrize(
    ("skips", "code", "says"),
    [
        (ALLOWED, 0, "1 passed, 2 skipped, 1 xfailed"),
        (FIXABLE, 1, "test_skipping skipped (Skipped: no such device), and EDGEML_NO_SKIPS is set: plug it in"),
        ("", 1, "tests/skips.toml does not allow it"),
    ],
)
def test_skips_that_a_command_would_have_helped_fail_where_none_may_be_skipped(
    tmp_path, monkeypatch, skips, code, says
):
    monkeypatch.setenv("EDGEML_NO_SKIPS", "1")
    check(tmp_path, skips, TESTS, code, says)


def check(tmp_path, skips, module, code, says):
    shutil.copy(HERE / "conftest.py", tmp_path)
    (tmp_path / "skips.toml").write_text(skips)
    (tmp_path / "test_it.py").write_text(module)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:anyio", "-p", "no:cacheprovider", "--rootdir", tmp_path, tmp_path],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert says in done.stdout + done.stderr
