"""Files that were left out because they cannot be read: named by the report, counted by the bundle's card."""

from __future__ import annotations

from edgeml_runtime.bundle import Bundle
from edgeml_train import Project, export_project, train_project

MESSAGES = ("data/a.wav: expected an encoded file, found 0 bytes", "data/b.wav: the file cannot be read")
AS_IT_WAS = 'name="by machine: H, I")'


def card_of(export):
    with Bundle.open(export.bundle) as bundle:
        return bundle.read("card.md").decode()


def test_files_left_out_are_in_report_and_card(make_project, tmp_path):
    folder = make_project(task=(AS_IT_WAS, f'name="by machine: H, I", unreadable={MESSAGES!r})'))
    report = train_project(Project.open(folder, ["train.epochs=1"]))
    assert report.unreadable == MESSAGES
    assert report.to_dict()["unreadable"] == list(MESSAGES)

    export = export_project(Project.open(folder, ()), out=tmp_path)
    assert export.training["unreadable"] == list(MESSAGES)
    card = card_of(export)
    assert "- Left out because it cannot be used: 2\n" in card
    assert "a.wav" not in card


def test_where_nothing_was_left_out_neither_says_so(project, tmp_path):
    report = train_project(Project.open(project.folder, ["train.epochs=1"]))
    assert report.unreadable == ()
    export = export_project(Project.open(project.folder, ()), out=tmp_path)
    assert "Left out" not in card_of(export)
