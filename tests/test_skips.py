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


@pytest.mark.parametrize(
    ("skips", "module", "code", "says"),
    [
        ("", TESTS, 1, "1 failed, 1 passed, 1 xfailed, 1 error"),
        (ALLOWED, TESTS, 0, "1 passed, 2 skipped, 1 xfailed"),
        ("", "import pytest\npytest.importorskip('no_such_module')\n", 2, "1 error"),
        ('[[skip]]\ntest = "x"\n', TESTS, 4, "needs exactly test and reason"),
    ],
)
def test_unlisted_skips_fail(tmp_path, skips, module, code, says):
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
