from __future__ import annotations

import sys

import pytest

from edgeml_runtime.errors import ContractError, InputError, ProjectError
from edgeml_train import Project
from edgeml_train.overrides import apply_overrides


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_open_reads_contract_settings_and_task(make_project):
    project = Project.open(make_project(), ["data.seed=5", "train.epochs=2"])

    assert project.contract.name == "tiny"
    assert project.data == {"seed": 5}
    assert (project.settings.epochs, project.settings.batch_size) == (2, 16)
    assert type(project.task).__name__ == "Tiny"
    assert project.task.data == {"seed": 5}


@pytest.fixture(autouse=True)
def _bytecode(monkeypatch):
    """As in an ordinary process, whatever the environment of the tests says."""
    monkeypatch.setattr(sys, "dont_write_bytecode", False)


def test_opening_changes_nothing_on_disk(make_project):
    folder = make_project()
    before = files_below(folder)
    Project.open(folder)

    assert files_below(folder) == before


def test_a_folder_without_contract(tmp_path):
    with pytest.raises(ProjectError, match=r"expected a project with a file edgeml.toml.*edgeml init"):
        Project.open(tmp_path)


def test_a_broken_contract(make_project):
    folder = make_project()
    (folder / "edgeml.toml").write_text("[model\n")
    with pytest.raises(ContractError, match=r"edgeml\.toml"):
        Project.open(folder)


def test_a_project_without_task(make_project):
    folder = make_project()
    (folder / "task.py").unlink()
    with pytest.raises(ProjectError, match=r"expected a file task\.py"):
        Project.open(folder)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = 1\n\nraise ValueError('no luck')\n", r"task\.py:3: importing it raised ValueError: no luck"),
        ("def f(:\n", r"task\.py:1: importing it raised SyntaxError"),
        ("import no_such_module\n", r"task\.py:1: importing it raised ModuleNotFoundError"),
        ("import sys\nsys.exit(3)\n", r"task\.py:2: importing it raised SystemExit: 3"),
        ("x = 1\n", "exactly one class derived from edgeml_train.Task, found none"),
        (
            "from edgeml_train import Task\nclass A(Task): pass\nclass B(Task): pass\n",
            "exactly one class derived from edgeml_train.Task, found A, B",
        ),
        ("from edgeml_train import Task\nclass A(Task): pass\n", "class A lacks features, network, splits"),
    ],
)
def test_a_task_that_cannot_be_used(make_project, text, words):
    folder = make_project()
    (folder / "task.py").write_text(text)
    before, modules = files_below(folder), set(sys.modules)

    with pytest.raises(ProjectError, match=words):
        Project.open(folder)

    assert files_below(folder) == before
    left = [name for name in set(sys.modules) - modules if name.startswith("edgeml_task_")]
    assert not left or "raised" not in words


def test_a_constructor_that_raises_is_placed(make_project):
    task = ("    def splits", "    def __init__(self, *given):\n        raise KeyError('mu')\n\n    def splits")
    with pytest.raises(ProjectError, match=r"task\.py:\d+: __init__ raised KeyError: 'mu'"):
        Project.open(make_project(task=task))


def test_neighbours_can_be_imported_and_do_not_meet(make_project):
    for name, value in (("one", 1), ("two", 2)):
        folder = make_project(
            name, task=("class Tiny", f"import neighbour\n\nassert neighbour.V == {value}\n\nclass Tiny")
        )
        (folder / "neighbour.py").write_text(f"V = {value}\n")
        Project.open(folder)

        assert "neighbour" not in sys.modules
        assert str(folder) not in sys.path
        assert not list(folder.rglob("__pycache__"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("data.split=authors", "authors"),
        ("data.split = 'a b'", "a b"),
        ("data.split=3", 3),
        ("data.split=0.5", 0.5),
        ("data.split=true", True),
        ('data.split=["theo", "lucas"]', ["theo", "lucas"]),
        ("data.split=/some/where else", "/some/where else"),
        ("data.split=a=b", "a=b"),
        ("data.split=1\nx = 2", "1\nx = 2"),
        ("data.split=", ""),
    ],
)
def test_overrides_are_toml_values_or_words(text, expected):
    data, train = apply_overrides({"split": "old", "kept": 1}, {"epochs": 3}, [text])

    assert data == {"split": expected, "kept": 1}
    assert type(data["split"]) is type(expected)
    assert train == {"epochs": 3}


def test_the_last_override_holds_and_the_given_tables_stay():
    given = {"epochs": 3}

    assert apply_overrides({}, given, ["train.epochs=4", "train.epochs=5"])[1] == {"epochs": 5}
    assert given == {"epochs": 3}


@pytest.mark.parametrize("text", ["split=authors", "data.split", "data.=1", "model.name=x", ""])
def test_overrides_of_another_form_are_refused(text):
    with pytest.raises(InputError, match=r"data\.KEY=VALUE"):
        apply_overrides({}, {}, [text])
