"""The steps of ``edgeml demo``, each skipped when what it would make is there already."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_cli.output import json_text
from edgeml_cli.progress import announce_loading

if TYPE_CHECKING:
    from edgeml_runtime.progress import Progress

__all__ = ["TEMPLATE", "DemoSteps", "StepRecord"]

TEMPLATE = "handwritten-digits"
SAMPLE_STEM = "sample"

Report = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """What one step gave.

    Attributes:
        report: The JSON form of its report.
        exit_code: What the command of that name would exit with.
        skipped: Whether it was done before.
    """

    report: Report
    exit_code: int = 0
    skipped: bool = False


class DemoSteps:
    """The demo in one folder; results of finished steps are remembered beside the project.

    Args:
        folder: The project's folder; made when it is not there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._memory = folder / ".edgeml" / "demo.json"

    def init(self) -> StepRecord:
        """Write the project from the template."""
        skipped = (self.folder / "edgeml.toml").is_file()
        if not skipped:
            from edgeml_train.templates import init_project

            init_project(self.folder, TEMPLATE, None)
        return StepRecord(report={"project": str(self.folder.resolve())}, skipped=skipped)

    def train(self, progress: Progress) -> StepRecord:
        """Train, unless edgeml.toml and task.py are those of the last training."""

        def work() -> StepRecord:
            announce_loading(progress, "PyTorch")
            from edgeml_train.pipeline import train_project
            from edgeml_train.project import Project

            return StepRecord(report=train_project(Project.open(self.folder), progress=progress).to_dict())

        return self._once("train", self._project_key(), work)

    def export(self, train: Report, progress: Progress) -> StepRecord:
        """Export the run, unless its bundle is there and unchanged.

        Args:
            train: The report of the training.
            progress: Told about every step.
        """

        def work() -> StepRecord:
            from edgeml_train.pipeline import export_project
            from edgeml_train.project import Project

            project = Project.open(self.folder)
            result = export_project(project, run_id=train["run_id"], out=self.folder, progress=progress)
            report = dict(result.to_dict())
            if result.ok:
                report["sha256"] = _sha256(Path(report["bundle"]))
            return StepRecord(report=report, exit_code=0 if result.ok else 1)

        def is_there(report: Report) -> bool:
            bundle = Path(report["bundle"])
            return bundle.is_file() and _sha256(bundle) == report["sha256"]

        return self._once("export", f"{self._project_key()} {train['run_id']}", work, is_there)

    def bench(self, export: Report, progress: Progress) -> StepRecord:
        """Bench the bundle on this machine, unless that very bundle was benched and kept its budgets.

        Args:
            export: The report of the export.
            progress: Told about every step.
        """

        def work() -> StepRecord:
            from edgeml_devices.bench import bench

            result = bench(Path(export["bundle"]), device="host", progress=progress)
            return StepRecord(report=result.to_dict(), exit_code=result.exit_code)

        return self._once("bench", export["sha256"], work)

    def predict(self, export: Report) -> StepRecord:
        """Recognise one image file that the model was not trained on.

        Args:
            export: The report of the export.
        """
        from edgeml_runtime import Model

        sample = _unpack_sample(export["bundle"], self.folder)
        with Model.load(export["bundle"]) as model:
            result = model.predict_file(str(sample))
        report = {
            "source": str(sample),
            "variant": result.variant,
            "label": result.label,
            "score": result.score,
            "scores": result.scores,
        }
        return StepRecord(report=report)

    def _once(
        self, step: str, key: str, work: Callable[[], StepRecord], is_there: Callable[[Report], bool] | None = None
    ) -> StepRecord:
        """Do the work, unless it was done before for the same key and what it made is still there."""
        memory = self._recall()
        done = memory.get(step)
        if done and done["key"] == key and (is_there is None or is_there(done["report"])):
            return StepRecord(report=done["report"], skipped=True)
        record = work()
        if record.exit_code == 0:
            self._remember({**memory, step: {"key": key, "report": record.report}})
        return record

    def _recall(self) -> dict[str, Any]:
        try:
            memory = json.loads(self._memory.read_text(encoding="utf-8"))
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return memory if isinstance(memory, dict) else {}

    def _remember(self, memory: Mapping[str, Any]) -> None:
        self._memory.parent.mkdir(exist_ok=True)
        fresh = self._memory.with_suffix(".new")
        fresh.write_text(json_text(memory), encoding="utf-8")
        os.replace(fresh, self._memory)

    def _project_key(self) -> str:
        digest = hashlib.sha256()
        for name in ("edgeml.toml", "task.py"):
            path = self.folder / name
            digest.update(path.read_bytes() if path.is_file() else b"")
            digest.update(b"\0")
        return digest.hexdigest()


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _unpack_sample(path: str, folder: Path) -> Path:
    """Write the first encoded file among the bundle's golden vectors into the folder."""
    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.errors import ProjectError
    from edgeml_runtime.golden import GOLDEN_FILES, read_golden

    with Bundle.open(path) as bundle:
        name = next((case.file for case in read_golden(bundle).cases if case.file is not None), None)
        if name is None:
            raise ProjectError(
                f"{path}: expected a golden vector with an encoded file, found none; let splits() give files"
            )
        data = bundle.read(GOLDEN_FILES + name)
    sample = folder / f"{SAMPLE_STEM}{Path(name).suffix}"
    sample.write_bytes(data)
    return sample
