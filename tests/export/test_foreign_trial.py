"""Judging a foreign file by its outputs, and choosing its golden vectors; nothing is run here."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_export.foreign.facts import ForeignFacts
from edgeml_export.foreign.items import NOISE_ITEMS, noise, trial_items
from edgeml_export.foreign.mapping import TensorMapping
from edgeml_export.foreign.process import ForeignRuns
from edgeml_export.foreign.trial import ForeignTrial, judge_foreign
from edgeml_export.hostile import HOSTILE_CASES
from edgeml_export.inventory import Inventory, OperatorCount
from edgeml_export.scheme import variant_spec
from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import silent


def load(name):
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


models = load("foreign_models")
CONTRACT = models.contract()
ITEMS = 60
CASES = len(HOSTILE_CASES)


def sharp(targets):
    """Scores that name a class."""
    return np.where(np.eye(models.CLASSES)[targets] > 0, 0.8, 0.1).astype(np.float32)


def trial(variant="tflite-int8", *, labelled=True, change=lambda reference, outputs: None, together=()):
    """A file that gave the right class for every item in both configurations, but for a change."""
    features, _ = models.items(ITEMS)
    count = ITEMS if labelled else NOISE_ITEMS
    targets = np.arange(count) % models.CLASSES
    test = LabelledData(inputs={"features": features}, targets=targets) if labelled else None
    items = trial_items(CONTRACT, test)
    outputs = np.concatenate([sharp(targets), sharp(np.zeros(CASES, int))])
    reference = outputs.copy()
    change(reference, outputs)
    compared = items.compared(1000)
    nothing = Inventory(
        weight_bytes=0, front_end_bytes=0, operators=OperatorCount(int8=1, float_inside=0, float_outside=0)
    )
    spec = variant_spec(variant)
    return ForeignTrial(
        spec=spec,
        content=b"",
        facts=ForeignFacts(inputs=(), outputs=(), precision=spec.precision, inventory=nothing, notes=(), refused_by={}),
        mapping=TensorMapping(inputs={}, outputs={}),
        min_backend_version="1.0.1",
        items=items,
        runs=ForeignRuns(
            reference={"scores": reference[compared]},
            outputs={"scores": outputs},
            together={"scores": np.asarray(together)} if len(together) else {},
            compared=compared,
            configuration="reference kernels",
            version="2.3.0",
        ),
    )


def flip(count, *, step=models.CLASSES):
    """Another class for the first items of class 0."""

    def change(reference, outputs):
        outputs[: count * step : step] = sharp(np.ones(count, int))

    return change


def shift(by, items=slice(None)):
    def change(reference, outputs):
        outputs[items, 0] += by

    return change


def spoil(reference, outputs):
    outputs[-1, 0] = np.nan


@pytest.mark.parametrize(
    ("variant", "labelled", "change", "says"),
    [
        ("tflite-fp32", True, lambda reference, outputs: None, None),
        ("tflite-int8", True, shift(0.05), None),
        ("tflite-int8", True, flip(2), None),
        ("tflite-int8", True, flip(3), "loses 0.0500 of accuracy against reference kernels on 60 test items; 0.0333"),
        ("tflite-fp32", True, shift(0.01), "scores differ from those of reference kernels by up to"),
        ("tflite-fp32", True, shift(0.01, slice(-1, None)), "hostile input 'alternating' it differs from reference"),
        ("tflite-int8", True, shift(0.01, slice(-1, None)), None),
        ("tflite-int8", True, spoil, "'scores' is NaN or infinite for the hostile input 'alternating'"),
        ("tflite-int8", False, shift(0.01), None),
        ("tflite-int8", False, flip(8), "on average over noise, .* is allowed; give labelled items with --data"),
    ],
)
def test_why_it_is_not_shipped(variant, labelled, change, says):
    report = judge_foreign(trial(variant, labelled=labelled, change=change), CONTRACT, silent)
    assert report.reason is None if says is None else re.search(says, report.reason)


def test_items_that_lose_their_answers_in_company():
    outputs = trial().runs.outputs["scores"]
    assert judge_foreign(trial(together=outputs[:4]), CONTRACT, silent).shipped
    moved = judge_foreign(trial(together=outputs[:4][::-1]), CONTRACT, silent)
    assert "depends on the others in its batch" in moved.reason
    fewer = judge_foreign(trial(together=outputs[:1]), CONTRACT, silent)
    assert fewer.shipped, "one item alone is no company"


def test_golden_vectors_are_items_on_which_both_configurations_agree():
    made = trial(change=shift(0.2, slice(0, ITEMS, 2)))
    golden = made.golden(CONTRACT)
    assert golden.positions.tolist() == list(range(1, ITEMS, 2))
    assert golden.tolerances["scores"] == made.rules(CONTRACT)["scores"]
    assert np.array_equal(golden.outputs["scores"], made.runs.outputs["scores"][golden.positions])


def test_tolerances_grow_where_no_item_is_steady():
    made = trial(change=shift(0.15))
    golden = made.golden(CONTRACT)
    assert len(golden.items) == ITEMS
    assert golden.tolerances["scores"] == pytest.approx(0.15)


def test_hostile_inputs_are_golden_vectors_where_nothing_is_labelled():
    golden = trial(labelled=False).golden(CONTRACT)
    assert len(golden.items) == NOISE_ITEMS + CASES


def test_scores_have_to_be_scores():
    with pytest.raises(ProjectError, match=r"from 0 to 1, found 0\.1 to 1\.7: these are logits"):
        judge_foreign(trial(change=shift(0.9)), CONTRACT, silent)


def test_noise_is_within_the_contracts_range_and_always_the_same():
    for dtype, span in (("float32", (-4.0, 4.0)), ("uint8", (0, 255)), ("int8", (-100, -3))):
        contract = models.contract(dtype=dtype, span=span)
        (values,) = noise(contract).values()
        assert values.dtype.name == dtype
        assert span[0] <= values.min() <= values.max() <= span[1]
        assert np.ptp(values[0].astype(float)) < np.ptp(values[-1].astype(float))
        assert np.array_equal(values, noise(contract)["features"])
