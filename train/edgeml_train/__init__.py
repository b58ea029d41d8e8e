"""Training: tasks, feature pipelines, networks, tracked runs, and the pipeline that joins the steps."""

from edgeml_train.pipeline import TrainedRun, export_project, load_run, train_project
from edgeml_train.project import Project
from edgeml_train.report import ProjectExport, TrainReport
from edgeml_train.settings import TrainSettings, train_schema
from edgeml_train.task import Splits, Task
from edgeml_train.templates import TEMPLATES, init_project

__all__ = [
    "TEMPLATES",
    "Project",
    "ProjectExport",
    "Splits",
    "Task",
    "TrainReport",
    "TrainSettings",
    "TrainedRun",
    "export_project",
    "init_project",
    "load_run",
    "train_project",
    "train_schema",
]
