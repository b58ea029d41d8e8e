"""A draft of the bundle that a network would become: right in size and speed, before it is trained to be good."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeml_export.bundling import write_trials
from edgeml_export.hostile import hostile_inputs
from edgeml_export.prepared import prepare, run_eager
from edgeml_export.scheme import variant_spec
from edgeml_export.tracing import trace
from edgeml_export.trial import Reference, run_trial
from edgeml_export.variant_maker import VariantMaker

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_runtime.contract import Contract
    from edgeml_runtime.progress import Progress
    from edgeml_train.fused import FusedModel
    from edgeml_train.task import Splits

__all__ = ["write_draft"]

_CALIBRATION_ITEMS = 16


def write_draft(
    fused: FusedModel, contract: Contract, splits: Splits, out: Path, *, card: str, progress: Progress
) -> int:
    """Export every variant of the contract, however much it loses.

    The test split is read because its figures, slices and golden vectors have the size that they will have in the
    bundle that is shipped; nothing is decided by what comes out.

    Args:
        fused: The model.
        contract: Its contract.
        splits: The data.
        out: Path of the draft.
        card: Markdown of about the length that the bundle's card will have.
        progress: Told about every step.

    Returns:
        Its size in bytes.

    Raises:
        ProjectError: When a variant cannot be made or run.
    """
    test = splits.test
    calibration = splits.train.take(slice(0, _CALIBRATION_ITEMS))
    prepared = prepare(fused, contract, calibration, test, None)
    maker = VariantMaker(prepared, trace(prepared), calibration=calibration, validation=None, progress=progress)
    reference = Reference(test=run_eager(prepared, test.inputs), hostile=run_eager(prepared, hostile_inputs(contract)))
    trials = []
    for identity in contract.export.variants:
        made = maker.make(variant_spec(identity), search=False)
        trial = run_trial(
            made.plan, made.converted, contract=contract, test=test, reference=reference, progress=progress
        )
        trials.append(replace(trial, report=trial.report.judged(None)))
    golden = {index: str(path) for index, path in splits.files.items()}
    return write_trials(out, contract, trials, test=test, golden_files=golden, card=card)
