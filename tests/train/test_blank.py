"""The blank template: what is still to be filled in is named on every command, all at once."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib

import pytest

from edgeml_runtime.errors import ContractError, ProjectError
from edgeml_train import Project, init_project
from edgeml_train.project_file import unwritten_methods

OPEN_VALUES = """
    inputs[0].name inputs[0].dtype inputs[0].shape inputs[0].range inputs[0].unit inputs[0].source
    outputs[0].shape outputs[0].labels target.name metric.primary metric.floor
"""

RUN = """
import sys
from edgeml_cli.main import main
code = main(sys.argv[1:])
assert "torch" not in sys.modules
sys.exit(code)
"""

FILLED = {
    "inputs": 'name = "x"\ndtype = "float32"\nshape = [4]\nrange = [-10, 10]\nunit = "V"\nsource = "bench"\n',
    "outputs": 'name = "scores"\nrole = "scores"\nshape = [2]\nlabels = ["a", "b"]\n',
}


@pytest.fixture
def blank(tmp_path):
    return init_project(tmp_path / "my-model", "blank")


def fill(folder):
    """Fill in the contract."""
    toml = folder / "edgeml.toml"
    text = toml.read_text()
    for table, keys in FILLED.items():
        text = re.sub(
            rf"(\[\[{table}\]\][^\n]*\n).*?(?=\n# loader|\n\n)", rf"\g<1>{keys}", text, count=1, flags=re.DOTALL
        )
    text = text.replace('name = "?"', 'name = "kind"').replace('primary = "?"', 'primary = "accuracy"')
    toml.write_text(text.replace('floor = "?"', "floor = 0.5"))


def test_everything_open_is_named_at_once(blank):
    with pytest.raises(ProjectError, match=r"my-model: 14 thing\(s\) still to be filled in") as caught:
        Project.open(blank)
    text = str(caught.value)
    named = re.findall(r"^  ([a-z]\S+): expected .*'\?': still to be filled in$", text, re.MULTILINE)
    assert sorted(named) == sorted(OPEN_VALUES.split())
    for method in ("splits", "features", "network"):
        assert re.search(rf"^  line \d+, {method}\(\): [a-z]", text, re.MULTILINE)


@pytest.mark.parametrize("command", ["train", "export"])
def test_every_command_says_so_without_pytorch(blank, command):
    done = subprocess.run([sys.executable, "-c", RUN, command, blank], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "14 thing(s) still to be filled in" in done.stderr


def test_what_is_left_gets_less(blank):
    fill(blank)
    with pytest.raises(ProjectError, match=r"3 thing\(s\) still to be filled in"):
        Project.open(blank)
    task = blank / "task.py"
    lines = task.read_text().splitlines()
    (open_method,) = [i for i, line in enumerate(lines) if "return the network" in line]
    lines[open_method] = "        return nn.Linear(4, 2)"
    task.write_text("\n".join(lines))
    with pytest.raises(ProjectError, match=r"2 thing\(s\)(.|\n)*splits(.|\n)*features") as caught:
        Project.open(blank)
    assert "network()" not in str(caught.value)
    task.write_text(task.read_text().replace("raise NotImplementedError", "return str"))
    assert Project.open(blank).contract.name == "my-model"


def test_a_filled_in_task_leaves_the_faults_of_the_contract(blank):
    task = blank / "task.py"
    task.write_text(task.read_text().replace("raise NotImplementedError", "return str"))
    with pytest.raises(ContractError) as caught:
        Project.open(blank)
    assert sorted(fault.path for fault in caught.value.faults) == sorted(OPEN_VALUES.split())


def test_the_blank_files_are_short_and_toml(blank):
    assert tomllib.loads((blank / "edgeml.toml").read_text())["model"]["name"] == "my-model"
    assert len((blank / "edgeml.toml").read_text().splitlines()) < 50
    assert len((blank / "task.py").read_text().splitlines()) < 25


@pytest.mark.parametrize(
    ("body", "hints"),
    [
        ("raise NotImplementedError('load it')", ["load it"]),
        ("'''Words.'''\n        raise NotImplementedError", ["Words."]),
        ("raise NotImplementedError()", [""]),
        ("raise ValueError('x')", []),
        ("x = 1\n        raise NotImplementedError('later')", []),
        ("return 1", []),
    ],
)
def test_which_methods_are_open(tmp_path, body, hints):
    (tmp_path / "task.py").write_text(f"class A(Task):\n    def splits(self):\n        {body}\n")
    assert [method.hint for method in unwritten_methods(tmp_path / "task.py")] == hints


@pytest.mark.parametrize("text", ["def f(:\n", "", "\0"])
def test_a_file_that_is_no_python_is_left_to_the_import(tmp_path, text):
    assert unwritten_methods(tmp_path / "none.py") == ()
    (tmp_path / "task.py").write_text(text)
    assert unwritten_methods(tmp_path / "task.py") == ()
