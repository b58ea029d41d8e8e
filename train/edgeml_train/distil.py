"""Distillation: a network learns from the outputs of a trained one as well (Hinton, Vinyals and Dean, 2015)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from edgeml_runtime.contract import TargetKind
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, silent
from edgeml_runtime.tensors import OutputRole
from edgeml_train.project import Project
from edgeml_train.runs import load_run

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeml_evaluate.data import LabelledData
    from edgeml_runtime.contract import Contract
    from edgeml_train.fused import FusedModel
    from edgeml_train.settings import TrainSettings
    from edgeml_train.task import Splits

__all__ = ["Teacher", "blend_loss", "load_teacher"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Teacher:
    """A trained model that another one learns from.

    Attributes:
        run_id: The run it comes from.
        folder: The project it comes from, where that is another one.
        parameters: Trained parameters of its network.
        fused: The model, in evaluation mode; it is not trained.
        classes: Whether its outputs are logits of classes, not values.
    """

    run_id: str
    folder: Path | None
    parameters: int
    fused: FusedModel
    classes: bool

    def loss(self, task_loss: Tensor, student: Tensor, teacher: Tensor, settings: TrainSettings) -> Tensor:
        """The student's loss on one batch, see :func:`blend_loss`.

        Args:
            task_loss: Scalar, what the task's own loss says.
            student: [n, …] logits or values of the student.
            teacher: The same of the teacher, on the same items.
            settings: Gives weight and temperature.

        Returns:
            Scalar.
        """
        temperature = settings.distil_temperature if self.classes else None
        return blend_loss(task_loss, student, teacher, weight=settings.distil_weight, temperature=temperature)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; these keys stay."""
        return {
            "run_id": self.run_id,
            "project": self.folder.name if self.folder else None,
            "parameters": self.parameters,
        }


def blend_loss(
    task_loss: Tensor, student: Tensor, teacher: Tensor, *, weight: float, temperature: float | None
) -> Tensor:
    """Mix the task's loss with how far the student is from its teacher.

    ``(1 - weight) · task_loss + weight · T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, averaged over items.
    T² keeps the gradients of the second part as large as those of the first, whatever T is (Hinton, Vinyals and Dean,
    "Distilling the knowledge in a neural network", 2015, arXiv:1503.02531, section 2). For values the second part is
    the mean squared error.

    Args:
        task_loss: Scalar.
        student: float32 [n, classes] logits, or [n, …] values.
        teacher: The same of the teacher; no gradient flows into it.
        weight: Share of the teacher, in [0, 1].
        temperature: T, above 0; None where the outputs are values.

    Returns:
        Scalar.
    """
    teacher = teacher.detach()
    if temperature is None:
        return (1 - weight) * task_loss + weight * nn.functional.mse_loss(student, teacher)
    divergence = nn.functional.kl_div(
        torch.log_softmax(student / temperature, dim=-1),
        torch.log_softmax(teacher / temperature, dim=-1),
        reduction="batchmean",
        log_target=True,
    )
    return (1 - weight) * task_loss + weight * temperature**2 * divergence


def load_teacher(project: Project, source: str, splits: Splits, *, progress: Progress = silent) -> Teacher:
    """Load the run to learn from, and check that it may teach.

    Args:
        project: The student's project.
        source: A run of the project (its id or the beginning), or ``FOLDER`` or ``FOLDER:RUN`` for the latest or a
            certain run of another project.
        splits: The student's data.
        progress: Told about loading the teacher's data.

    Returns:
        The teacher.

    Raises:
        ProjectError: When there is no such run, it cannot be loaded, its inputs or outputs differ, or it has seen items
            that the student is evaluated on.
    """
    folder, run_id = _resolve(project.folder, source)
    # Opened anew: what this training overrides is not what the teacher was trained with.
    teacher = load_run(Project.open(folder), run_id, progress=progress)
    _check_interface(project.contract, teacher.project.contract, source)
    _check_unseen(splits, teacher.splits, source)
    teacher.fused.requires_grad_(requires_grad=False)
    return Teacher(
        run_id=teacher.run_id,
        folder=None if folder == project.folder else folder,
        parameters=int(teacher.report["parameters"]),
        fused=teacher.fused,
        classes=project.contract.target.kind is TargetKind.CLASSIFICATION,
    )


def _resolve(folder: Path, source: str) -> tuple[Path, str | None]:
    """Folder and run that the words name."""
    if _is_project(Path(source)):
        return Path(source).resolve(), None
    head, colon, run_id = source.rpartition(":")
    if colon and run_id and _is_project(Path(head)):
        return Path(head).resolve(), run_id
    if "/" in source or colon:
        raise ProjectError(
            f"--teacher {source}: expected a run of {folder}, or FOLDER or FOLDER:RUN with a project's folder, found "
            f"no edgeml.toml in {head or source}."
        )
    return folder, source


def _is_project(path: Path) -> bool:
    return (path.expanduser() / "edgeml.toml").is_file()


def _check_interface(student: Contract, teacher: Contract, source: str) -> None:
    """The teacher has to take the same inputs and give the same outputs."""
    for what, expected, found in (
        ("inputs", _inputs(student), _inputs(teacher)),
        ("outputs", _outputs(student), _outputs(teacher)),
    ):
        if expected != found:
            raise ProjectError(
                f"--teacher {source}: expected the same {what} as the student's, {'; '.join(expected)}, found "
                f"{'; '.join(found)}. Choose a run of this project, or of one with the same {what} in edgeml.toml."
            )


def _inputs(contract: Contract) -> list[str]:
    described = []
    for spec in contract.inputs:
        loader = f" by {spec.loader.name} {spec.loader.version} {dict(spec.loader.options)}" if spec.loader else ""
        missing = " or missing" if spec.allow_missing else ""
        described.append(f"{spec.name} {spec.dtype.value}{list(spec.shape)} in {spec.unit}{missing}{loader}")
    return described


def _outputs(contract: Contract) -> list[str]:
    """What the network's output means; whether logits or scores are handed out does not matter."""
    labelled = [spec for spec in contract.outputs if spec.role is OutputRole.SCORES] or list(contract.outputs)
    return [
        f"{contract.target.kind.value} {list(spec.shape)}{' ' + ', '.join(spec.labels) if spec.labels else ''}"
        for spec in labelled
    ]


def _check_unseen(student: Splits, teacher: Splits, source: str) -> None:
    """What the teacher knows of the student's test items would reach the student."""
    seen = _digests((teacher.train, teacher.validation))
    known = _digests((student.train, student.validation))
    test = list(_each(student.test))
    leaked = sum(digest in seen and digest not in known for digest in test)
    if leaked:
        raise ProjectError(
            f"--teacher {source}: expected a teacher that has not seen the student's test items ({student.name}), "
            f"found {leaked} of {len(test)} among those it was trained with ({teacher.name}). Train the teacher with "
            "the same split."
        )


def _digests(parts: Iterable[LabelledData]) -> set[bytes]:
    return {digest for data in parts for digest in _each(data)}


def _each(data: LabelledData) -> Iterable[bytes]:
    """A digest for each item's inputs."""
    arrays = [np.ascontiguousarray(data.inputs[name]) for name in sorted(data.inputs)]
    for index in range(len(data)):
        digest = hashlib.sha256()
        for array in arrays:
            digest.update(array[index].tobytes())
        yield digest.digest()
