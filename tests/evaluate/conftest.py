"""Shared pieces of the tests of the evaluate room."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeml_runtime.contract import (
    Contract,
    ExportRules,
    GateRules,
    MetricName,
    MetricSpec,
    SliceRules,
    TargetKind,
    TargetSpec,
)
from edgeml_runtime.tensors import DType, InputSpec, OutputRole, OutputSpec

CLASSIFIER = Contract(
    name="three",
    version="1.0.0",
    description="",
    inputs=(InputSpec(name="x", dtype=DType.FLOAT32, shape=(4,), range=(-10, 10), unit="1", source="test"),),
    outputs=(
        OutputSpec(name="logits", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.LOGITS),
        OutputSpec(name="scores", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.SCORES, labels=("a", "b", "c")),
    ),
    target=TargetSpec(name="letter", kind=TargetKind.CLASSIFICATION),
    metric=MetricSpec(primary=MetricName.ACCURACY, floor=0.5),
    slices=SliceRules(by=("speaker", "label"), min_items=10),
    group=None,
    export=ExportRules(max_metric_drop=0.005, max_metric_drop_items=2),
    gate=GateRules(),
    budgets=(),
    telemetry=(),
)


@pytest.fixture
def contract() -> Contract:
    """A classifier of three letters, sliced by speaker and label."""
    return CLASSIFIER


@pytest.fixture
def regression() -> Contract:
    """A model that predicts one value."""
    return replace(
        CLASSIFIER,
        outputs=(OutputSpec(name="value", dtype=DType.FLOAT32, shape=(1,), role=OutputRole.VALUE, unit="kPa"),),
        target=TargetSpec(name="pressure", kind=TargetKind.REGRESSION),
        metric=MetricSpec(primary=MetricName.MAE, floor=1.0),
        slices=SliceRules(),
        export=ExportRules(max_metric_drop=0.1, max_metric_drop_items=2),
    )
