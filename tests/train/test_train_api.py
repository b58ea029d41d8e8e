from __future__ import annotations

import edgeml_train


def test_public_names():
    assert sorted(edgeml_train.__all__) == [
        "Project",
        "ProjectExport",
        "QatReport",
        "RunComparison",
        "SlimRequest",
        "Splits",
        "TEMPLATES",
        "Task",
        "TrainReport",
        "TrainSettings",
        "TrainedRun",
        "compare_runs",
        "export_project",
        "init_project",
        "load_run",
        "train_project",
        "train_qat_project",
        "train_schema",
    ]
    assert all(hasattr(edgeml_train, name) for name in edgeml_train.__all__)
