"""Starting from a trained run with fewer channels."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, silent
from edgeml_train.fused import to_tensors
from edgeml_train.lineage import SLIMMED_TAG
from edgeml_train.networks.count import count_parameters
from edgeml_train.qat.store import PARENT_TAG
from edgeml_train.runs import load_run, load_shape
from edgeml_train.slim.budget import BudgetSearch, find_share, limits_here
from edgeml_train.slim.channels import Channels, find_channels, slimmed
from edgeml_train.slim.result import SlimmedLayer, Slimming
from edgeml_train.tracking import Tracking

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from edgeml_train.fused import FusedModel
    from edgeml_train.project import Project
    from edgeml_train.runs import TrainedRun
    from edgeml_train.slim.result import SlimRequest

__all__ = ["feature_example", "load_source", "recall", "remember", "slim_network", "slim_run"]

_DECIDED = "slimming.json"


def load_source(project: Project, request: SlimRequest, *, progress: Progress = silent) -> TrainedRun:
    """Load the run that is to be slimmed.

    Args:
        project: The opened project.
        request: Which run.
        progress: Told about loading the data.

    Returns:
        The run; its project has the run's own data settings, and the training settings of ``project``.

    Raises:
        ProjectError: When there is no such run, it cannot be loaded, or the profile has no budgets that can be judged.
    """
    if request.profile is not None:  # before data are loaded
        limits_here(project.contract, request.profile, project.folder)
    run_id = request.run_id
    if run_id is None:
        finished = [run for run in Tracking(project.folder, project.contract.name).runs() if run.status == "FINISHED"]
        run_id = next((run.run_id for run in finished if not {SLIMMED_TAG, PARENT_TAG} & set(run.tags)), None)
    run = load_run(project, run_id, progress=progress)
    return replace(run, project=replace(run.project, settings=project.settings, overrides=_overrides(run, project)))


def slim_run(run: TrainedRun, profile: str | None, *, card: str = "", progress: Progress = silent) -> Slimming:
    """Decide which channels go.

    Args:
        run: The run; it is not changed.
        profile: Device profile whose budgets are to be met; None for the share ``train.keep``.
        card: Markdown of about the length that the bundle's card will have.
        progress: Told about every share that is tried.

    Returns:
        What is left.

    Raises:
        ProjectError: When no channel can go, or the budgets cannot be met.
    """
    example = feature_example(run)
    channels = find_channels(run.fused.network, example)
    if not channels.groups:
        reasons = "; ".join(f"{_inside(path)}: {why}" for path, why in channels.left_alone.items())
        raise ProjectError(
            f"run {run.run_id}: expected layers whose channels can be removed, found none"
            f"{f' ({reasons})' if reasons else ''}. Change network() in task.py, or make it narrower there."
        )
    search = BudgetSearch(keep=run.project.settings.keep, steps=(), not_judged={})
    if profile is not None:
        search = find_share(run, profile, channels, example, card=card, progress=progress)
    keep = search.keep
    network, shape = slimmed(run.fused.network, channels, keep, example)
    before = load_shape(run.project, run.run_id)
    return Slimming(
        run_id=run.run_id,
        profile=profile,
        keep=keep,
        layers=_layers(channels, run.fused.network, network),
        left_alone={_inside(path): reason for path, reason in channels.left_alone.items()},
        parameters_before=count_parameters(run.fused.network),
        steps=search.steps,
        not_judged=search.not_judged,
        shape=shape if before is None else before.then(shape),
    )


def slim_network(run: TrainedRun, slimming: Slimming) -> FusedModel:
    """The run's model without the channels that go.

    Args:
        run: The run; its model is changed.
        slimming: What is left.

    Returns:
        The model, in evaluation mode.
    """
    slimming.shape.since(load_shape(run.project, run.run_id)).apply(run.fused.network)
    return run.fused.eval()


def recall(folder: Path) -> Slimming | None:
    """What an interrupted training had decided; measuring again could decide otherwise.

    Args:
        folder: Where it keeps its state.

    Returns:
        The decision, or None where there is none yet.
    """
    try:
        return Slimming.from_dict(json.loads((folder / _DECIDED).read_text("utf-8")))
    except (OSError, ValueError):
        return None


def remember(folder: Path, slimming: Slimming) -> None:
    """Keep a decision for the case of an interruption.

    Args:
        folder: Where the training keeps its state.
        slimming: What was decided.
    """
    (folder / _DECIDED).write_text(json.dumps(slimming.to_dict()), "utf-8")


def feature_example(run: TrainedRun) -> Tensor:
    """Features of two training items, float32 [2, …]."""
    items = run.splits.train.take(slice(0, 2))
    with torch.no_grad():
        features: Tensor = run.fused.features(*to_tensors(items.inputs, run.fused.input_names))
    return features


def _layers(channels: Channels, whole: nn.Module, slim: nn.Module) -> tuple[SlimmedLayer, ...]:
    before, after = whole.state_dict(), slim.state_dict()
    return tuple(
        SlimmedLayer(path=_inside(name.rpartition(".")[0]), before=len(before[name]), after=len(after[name]))
        for group in channels.groups
        for name in group.weights
    )


def _inside(path: str) -> str:
    """A path in the network as one in the fused model."""
    return f"network.{path}" if path else "network"


def _overrides(run: TrainedRun, project: Project) -> tuple[str, ...]:
    """What this training overrides, and what reproduces the run's data settings besides."""
    own = {text.partition("=")[0] for text in project.overrides}
    stored = (text for text in run.overrides if text.startswith("data.") and text.partition("=")[0] not in own)
    return (*project.overrides, *stored)
