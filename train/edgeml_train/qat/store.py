"""What is stored of a quantization-aware run beside its weights, and finding the run to start from."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import ProjectError
from edgeml_train.tracking import Tracking
from edgeml_train.weights import save_weights

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_export.fakequant import LearnedRanges
    from edgeml_train.fused import FusedModel
    from edgeml_train.project import Project

__all__ = ["PARENT_TAG", "card_lines", "find_parent", "store_qat", "stored_ranges"]

PARENT_TAG = "edgeml.qat_parent_run"
"""The tag by which a quantization-aware run is known; its value is the run it started from."""

_RUN = "run.json"
_RANGES = "ranges.json"
_WEIGHTS = "weights.safetensors"
_SLIMMING = "slimming.json"


def find_parent(tracking: Tracking, run_id: str | None) -> str:
    """The run that quantization-aware training starts from.

    Args:
        tracking: The project's runs.
        run_id: Its id or the beginning of it; None for the latest that finished and is not quantization-aware itself.

    Returns:
        Its id.

    Raises:
        ProjectError: When there is none, or it is quantization-aware itself.
    """
    if run_id is not None:
        record = tracking.find(run_id)
        if PARENT_TAG in record.tags:
            raise ProjectError(
                f"run {record.run_id} is a quantization-aware one itself: name the float run that it started from, "
                f"--run {record.tags[PARENT_TAG]}"
            )
        return record.run_id
    for record in tracking.runs():
        if record.status == "FINISHED" and PARENT_TAG not in record.tags:
            return record.run_id
    raise ProjectError(
        f"{tracking.uri}: quantization-aware training starts from a finished float run, found none. "
        "Train first: `edgeml train PROJECT`."
    )


def store_qat(
    tracking: Tracking,
    run_id: str,
    fused: FusedModel,
    ranges: LearnedRanges,
    run: Mapping[str, Any],
    *,
    parent: str,
) -> None:
    """Put weights, ranges and report into the run.

    Args:
        tracking: Where the run is.
        run_id: The run.
        fused: The model with the trained weights.
        ranges: The learned ranges.
        run: The content of its ``run.json``.
        parent: The run it started from, whose network may be a slimmed one.
    """
    tracking.log_json(run_id, ranges.to_dict(), _RANGES)
    if run["report"].get("slimming"):
        tracking.log_file(run_id, tracking.file(parent, _SLIMMING))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / _WEIGHTS
        save_weights(fused, path)
        tracking.log_file(run_id, path)
    tracking.log_json(run_id, run, _RUN)


def stored_ranges(project: Project, run_id: str, report: Mapping[str, Any]) -> LearnedRanges | None:
    """The ranges that a run has learned.

    Args:
        project: The opened project.
        run_id: The run.
        report: What training reported of it, as JSON values.

    Returns:
        The ranges; None for a run that is not quantization-aware.

    Raises:
        ProjectError: When the file is missing or broken.
    """
    if not report.get("qat"):
        return None
    from edgeml_export.fakequant import LearnedRanges

    path = Tracking(project.folder, project.contract.name).file(run_id, _RANGES)
    try:
        values = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ProjectError(f"{path}: expected JSON, found something else: {error}. Train again with --qat.") from error
    return LearnedRanges.from_dict(values, source=str(path))


def card_lines(report: Mapping[str, Any]) -> str:
    """What the model card says of quantization-aware training; nothing for other runs.

    Args:
        report: What training reported of the run, as JSON values.
    """
    qat = report.get("qat")
    if not qat:
        return ""
    kept = (
        f"epoch {qat['best_epoch']} of {qat['epochs']}" if qat["best_epoch"] else "the start, which no epoch bettered"
    )
    return (
        "\n## Quantization-aware training\n\n"
        "- A trained float model was trained on with the rounding of the int8 variants, batch normalisation folded\n"
        f"- Learned ranges of activations: {qat['ranges']}; int8 variants take them instead of calibrated ones\n"
        f"- Kept: {kept}\n"
    )
