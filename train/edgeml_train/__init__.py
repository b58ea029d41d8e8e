"""Training: tasks, feature pipelines, networks, tracked runs, and the pipeline that joins the steps.

Names are imported on first use, so that starting a project does not wait for PyTorch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeml_train.compare import RunComparison, compare_runs
    from edgeml_train.pipeline import TrainedRun, export_project, load_run, train_project
    from edgeml_train.project import Project
    from edgeml_train.qat.report import QatReport
    from edgeml_train.qat.run import train_qat_project
    from edgeml_train.report import ProjectExport, TrainReport
    from edgeml_train.settings import TrainSettings, train_schema
    from edgeml_train.slim import SlimRequest
    from edgeml_train.task import Splits, Task
    from edgeml_train.templates import TEMPLATES, init_project

__all__ = [
    "TEMPLATES",
    "Project",
    "ProjectExport",
    "QatReport",
    "RunComparison",
    "SlimRequest",
    "Splits",
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

_MODULES = {
    "TEMPLATES": "templates",
    "Project": "project",
    "ProjectExport": "report",
    "QatReport": "qat.report",
    "RunComparison": "compare",
    "SlimRequest": "slim",
    "Splits": "task",
    "Task": "task",
    "TrainReport": "report",
    "TrainSettings": "settings",
    "TrainedRun": "pipeline",
    "compare_runs": "compare",
    "export_project": "pipeline",
    "init_project": "templates",
    "load_run": "pipeline",
    "train_project": "pipeline",
    "train_qat_project": "qat.run",
    "train_schema": "settings",
}


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
