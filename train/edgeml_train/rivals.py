"""A run's model against its rivals: baselines before it is trained, the simpler model and gradient boosting after."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeml_evaluate.metrics import decide
from edgeml_evaluate.ranking import Ranking, rank_scores
from edgeml_evaluate.scoring import score_predictions
from edgeml_evaluate.slices import interval_groups
from edgeml_runtime.contract import Contract, TargetKind
from edgeml_train.anomaly import measure_yardsticks, yardsticks_of
from edgeml_train.baseline import BOOSTING, BaselineResult, fit_baselines, fit_linear
from edgeml_train.fit import repeatable
from edgeml_train.fused import FusedModel, predict_array, to_tensors
from edgeml_train.simpler import Comparison, Kept, ModelChoice, compare_models, linear_network

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeml_evaluate.data import LabelledData
    from edgeml_runtime.progress import Progress
    from edgeml_train.project import Project
    from edgeml_train.task import Splits, Yardstick

__all__ = ["against_boosting", "choose_model", "measure_baselines", "measure_rules", "rank_test"]


# So many draws of augmentation for linear models, fewer where the items alone are enough.
_DRAWS = 20
_ENOUGH_ITEMS = 20_000


def measure_baselines(
    project: Project, splits: Splits, fused: FusedModel, progress: Progress
) -> tuple[BaselineResult, ...]:
    """Train and measure the baselines of a project.

    Args:
        project: The project.
        splits: Its data.
        fused: The model, its features fitted.
        progress: Told about every baseline.

    Returns:
        As :func:`edgeml_train.baseline.fit_baselines`, of which only the simplest where nothing is trained; for an
        anomaly score the simple rules.
    """
    if project.contract.anomaly is not None:
        return measure_yardsticks(project.contract, splits.test, measure_rules(project, splits, fused))
    if project.settings.epochs == 0:
        nothing = (np.zeros((len(part), 1)) for part in (splits.train, splits.test))
        return fit_baselines(project.contract, splits.train, splits.test, *nothing, learned=False, progress=progress)
    with repeatable(project.settings.threads):
        train, test = _training_features(project, fused, splits.train), _features(fused, splits.test)
    return fit_baselines(
        project.contract,
        splits.train,
        splits.test,
        train,
        test,
        table=project.task.table,
        threads=project.settings.threads,
        progress=progress,
    )


def measure_rules(project: Project, splits: Splits, fused: FusedModel) -> Mapping[str, Yardstick]:
    """The simple rules that an anomaly score has to beat, see :func:`edgeml_train.anomaly.yardsticks_of`.

    Args:
        project: The project.
        splits: Its data.
        fused: The model, its features fitted.

    Returns:
        Name → the rule's scores.
    """
    if splits.yardsticks:
        return splits.yardsticks
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    with repeatable(project.settings.threads):
        return yardsticks_of({name: _features(fused, data) for name, data in parts.items()})


def choose_model(project: Project, splits: Splits, fused: FusedModel) -> ModelChoice:
    """Compare the trained network with the linear model, and put that into its place where it is not beaten.

    Args:
        project: The project.
        splits: Its data; the validation split decides.
        fused: The trained model; its network may be another one afterwards.

    Returns:
        Which one it is now, and why.
    """
    contract, network = project.contract, fused.network
    candidate = decide(contract, predict_array(fused, splits.validation.inputs))
    measured = score_predictions(contract, splits.test, predict_array(fused, splits.test.inputs)).metric
    fitted = fit_linear(contract, _training_features(project, fused, splits.train), splits.train.targets)
    fused.network = linear_network(contract, fitted, fused.primary.shape[-1])
    reference = decide(contract, predict_array(fused, splits.validation.inputs))
    comparison = compare_models(contract, splits.validation, candidate=candidate, reference=reference)
    choice = ModelChoice(comparison=comparison, network=measured)
    if choice.kept is Kept.NETWORK:
        fused.network = network
    return choice


def against_boosting(
    contract: Contract, test: LabelledData, baselines: tuple[BaselineResult, ...], outputs: NDArray[Any]
) -> Comparison | None:
    """Compare gradient boosting, where it is a baseline, with the model.

    Args:
        contract: The contract.
        test: The test split.
        baselines: What :func:`measure_baselines` gave.
        outputs: [n, classes] logits of the model, or values.

    Returns:
        The advantage of gradient boosting, or None.
    """
    predictions = next((result.predictions for result in baselines if result.name == BOOSTING), None)
    if predictions is None:
        return None
    return compare_models(contract, test, candidate=predictions, reference=decide(contract, outputs))


def rank_test(contract: Contract, test: LabelledData, outputs: NDArray[Any]) -> Ranking | None:
    """The area under the ROC curve, where the model tells two classes apart.

    Args:
        contract: The contract.
        test: The test split.
        outputs: [n, classes] logits.

    Returns:
        The area with its interval; None unless there are two classes and both occur.
    """
    if contract.target.kind is not TargetKind.CLASSIFICATION or outputs.shape[1] != 2:
        return None
    groups = interval_groups(contract, test)
    return rank_scores(test.targets, outputs[:, 1] - outputs[:, 0], groups)


def _training_features(project: Project, fused: FusedModel, train: LabelledData) -> NDArray[Any]:
    """Features of the training items; for a table, several times over as augmentation changes them.

    The network meets other changes in every epoch. Of a single draw a linear model would see a handful of unknown items
    per column, and take their accidents for the meaning of the unknown.
    """
    augmentation = project.task.augment() if project.task.table and project.settings.augment else None
    if augmentation is None:
        return _features(fused, train)
    names = tuple(spec.name for spec in project.contract.inputs)
    generator = torch.Generator().manual_seed(project.settings.seed)
    parts = []
    for _ in range(max(1, min(_DRAWS, _ENOUGH_ITEMS // len(train)))):
        changed = augmentation.inputs(to_tensors(train.inputs, names), generator)
        inputs = {name: tensor.numpy() for name, tensor in zip(names, changed, strict=True)}
        parts.append(_features(fused, replace(train, inputs=inputs)))
    return np.concatenate(parts)


def _features(fused: FusedModel, data: LabelledData, batch_size: int = 128) -> NDArray[Any]:
    """Fitted features of all items, [n, …] float32."""
    parts = []
    with torch.inference_mode():
        for start in range(0, len(data), batch_size):
            batch = data.take(slice(start, start + batch_size))
            parts.append(fused.features(*to_tensors(batch.inputs, fused.input_names)).numpy())
    return np.concatenate(parts)
