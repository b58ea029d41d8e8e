"""What a training begins with: data, a teacher where there is one, and a model that is fresh or slimmed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeml_runtime.progress import Progress, silent
from edgeml_train.distil import load_teacher
from edgeml_train.lineage import Lineage, lineage_lines
from edgeml_train.networks.count import count_parameters
from edgeml_train.runs import TrainedRun, load_data
from edgeml_train.slim.start import load_source, recall, slim_network, slim_run

if TYPE_CHECKING:
    from edgeml_train.checkpoint import ResumeFolder
    from edgeml_train.fused import FusedModel
    from edgeml_train.project import Project
    from edgeml_train.slim.result import Slimming, SlimRequest
    from edgeml_train.task import Splits

__all__ = ["Beginning", "begin", "slimmed_model"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Beginning:
    """What is fixed before a training has a run.

    Attributes:
        project: The project; where a run is slimmed, with that run's data settings.
        splits: The data.
        data_sha256: Their digest.
        lineage: The runs it builds on.
        source: The run that is slimmed, loaded; None for a fresh network.
    """

    project: Project
    splits: Splits
    data_sha256: str
    lineage: Lineage
    source: TrainedRun | None


def begin(
    project: Project, teacher: str | None = None, slim: SlimRequest | None = None, *, progress: Progress = silent
) -> Beginning:
    """Load data and the runs that a training builds on.

    Args:
        project: The opened project.
        teacher: The run to learn from, see :func:`edgeml_train.distil.load_teacher`; None without.
        slim: The run to start from with fewer channels; None for a fresh network.
        progress: Told about loading.

    Returns:
        Everything that is loaded.

    Raises:
        ProjectError: When data or a run cannot be used.
    """
    source = load_source(project, slim, progress=progress) if slim is not None else None
    if source is None:
        splits, digest = load_data(project, progress)
    else:
        project, splits, digest = source.project, source.splits, source.data_sha256
    lineage = Lineage(
        teacher=load_teacher(project, teacher, splits, progress=progress) if teacher is not None else None,
        slimmed_run=source.run_id if source else None,
        profile=slim.profile if slim else None,
    )
    return Beginning(project=project, splits=splits, data_sha256=digest, lineage=lineage, source=source)


def slimmed_model(
    source: TrainedRun, lineage: Lineage, resume: ResumeFolder, *, card: str, progress: Progress
) -> tuple[FusedModel, Slimming]:
    """The run's model with fewer channels: as an interrupted training has decided, or decided now.

    Args:
        source: The run; its model is changed.
        lineage: The runs that the training builds on.
        resume: Where an interrupted training has left its decision.
        card: The card of the run as it is.
        progress: Told about every share that is tried.

    Returns:
        The model and the decision.
    """
    slimming = recall(resume.path)
    if slimming is None:
        taught = lineage.teacher.to_dict() if lineage.teacher else None
        # As long as the line that the card will have: a budget may be met by a few bytes.
        made = {"parameters_before": count_parameters(source.fused.network), "keep": 1 / 32}
        lines = lineage_lines(taught, made)
        slimming = slim_run(source, lineage.profile, card="\n".join([card, *lines]), progress=progress)
    return slim_network(source, slimming), slimming
