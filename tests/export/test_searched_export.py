"""The precision search on models that full int8 ruins, and that nothing of it ever reads the test split."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from edgeml_evaluate import LabelledData
from edgeml_export import ExportOptions, export_bundle
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import ProjectError

VARIANTS = ["onnx-int8", "tflite-int8"]
# The layer → the batch normalisation in front of it.
LAYERS = {"network.9": "network.4", "network.3": "network.1"}


def with_outlier(model, layer, data):
    """One input channel of the layer is always zero, and has weights beside which all others round to zero.

    In float that changes nothing: zero times anything is zero. It is the channel that the model misses least.
    """

    def without(channel):
        spoiled = copy.deepcopy(model).eval()
        norm, heavy = spoiled.get_submodule(LAYERS[layer]), spoiled.get_submodule(layer)
        with torch.no_grad():
            norm.weight[channel] = norm.bias[channel] = 0
            heavy.weight[:, channel] = 3000.0
            decided = spoiled(torch.from_numpy(data.inputs["waveform"]))["logits"].argmax(1).numpy()
        return float((decided == data.targets).mean()), spoiled

    channels = model.get_submodule(layer).weight.shape[1]
    return max((without(channel) for channel in range(channels)), key=lambda found: found[0])[1]


class Watched(Mapping):
    """The inputs of a split, with a record of when they were read."""

    def __init__(self, arrays, events):
        self.arrays, self.events = arrays, events

    def __getitem__(self, name):
        self.events.append("test split read")
        return self.arrays[name]

    def __iter__(self):
        return iter(self.arrays)

    def __len__(self):
        return len(self.arrays)


def searched(model, make_contract, items, validation, out, test):
    """Export int8 by search, with what happened in which order, and what was converted last."""
    from edgeml_export import variant_maker, vnni_check

    events, converted = [], {}
    load = variant_maker.load_converter

    def recording_converter(format_):
        class Recording(load(format_)):
            def convert(self, plan, *args):
                made = super().convert(plan, *args)
                converted[plan.spec.id, plan.float_layers] = made.content
                events.append("converted")
                return made

        return Recording

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant_maker, "load_converter", recording_converter)
        patch.setattr(vnni_check, "emulator", lambda: None)
        report = export_bundle(
            model,
            contract=make_contract(variants=VARIANTS, required=[]),
            calibration=items.train,
            validation=validation,
            test=test(events),
            out=out,
            options=ExportOptions(search=True),
            progress=lambda event: events.append(event.step),
        )
    contents = {variant.id: converted[variant.id, variant.float_layers] for variant in report.variants}
    return SimpleNamespace(report=report, events=events, contents=contents)


@pytest.fixture(scope="module")
def validation(tiny):
    return tiny.make_items(80, seed=3)


@pytest.fixture(scope="module", params=LAYERS)
def export(request, trained, make_contract, items, validation, tmp_path_factory):
    """The export of a model with an outlier; reads of the test split are written among the events."""

    def watched(events):
        return replace(items.test, inputs=Watched(items.test.inputs, events))

    model = with_outlier(trained, request.param, items.train)
    out = tmp_path_factory.mktemp("searched") / "tiny.edgeml"
    done = searched(model, make_contract, items, validation, out, watched)
    done.layer, done.model = request.param, model
    return done


@pytest.mark.parametrize("variant_id", VARIANTS)
def test_the_layer_that_ruins_int8_is_given_back_alone(export, variant_id):
    variant = next(variant for variant in export.report.variants if variant.id == variant_id)
    assert variant.float_layers == (export.layer,)
    first = variant.search[0]
    assert first.float_layers == ()
    assert first.loss.overall.drop > 0.2, "full int8 really fails"
    assert not first.loss.within
    assert variant.reason is None
    assert variant.paired_loss.within
    kept = next(step for step in variant.search if step.float_layers == variant.float_layers)
    assert kept.loss.within
    assert kept.loss.overall.n == 80
    counted = variant.inventory.operators
    assert (counted.int8, counted.float_inside, counted.float_outside) == (2, 2, 0), "the front end, and the layer"


def test_report_and_manifest_tell_which_layers_stayed_float(export):
    told = {variant["id"]: variant for variant in export.report.to_dict()["variants"]}
    with Bundle.open(export.report.bundle) as bundle:
        parity = {variant.id: variant.parity for variant in bundle.manifest.variants}
    for variant_id in VARIANTS:
        assert told[variant_id]["float_layers"] == [export.layer]
        assert told[variant_id]["search"][0]["validation_loss"]["within"] is False
        assert parity[variant_id]["float_layers"] == [export.layer]


def test_nothing_reads_the_test_split_before_the_variants_are_fixed(export):
    """But for holding it against the contract, before the model is traced."""
    _, traced = (place for place, event in enumerate(export.events) if event == "trace")
    fixed = max(place for place, event in enumerate(export.events) if event == "converted")
    reads = [place for place, event in enumerate(export.events) if event == "test split read"]
    assert [place for place in reads if traced < place <= fixed] == []
    assert reads[-1] > fixed, "the record works"


def test_another_test_split_changes_neither_choice_nor_bytes(trained, make_contract, items, validation, tmp_path):
    """Noise with wrong labels: the variants are the same, and their metric is worse."""
    noise = np.random.default_rng(9).integers(-32768, 32768, items.test.inputs["waveform"].shape, dtype=np.int16)
    garbage = LabelledData(
        inputs={"waveform": noise}, targets=(items.test.targets + 1) % 4, attributes=items.test.attributes
    )
    model = with_outlier(trained, "network.3", items.train)
    right, wrong = (
        searched(model, make_contract, items, validation, tmp_path / f"{name}.edgeml", lambda _, test=test: test)
        for name, test in (("right", items.test), ("garbage", garbage))
    )
    assert right.contents == wrong.contents
    assert [v.float_layers for v in right.report.variants] == [v.float_layers for v in wrong.report.variants]
    assert [v.search for v in right.report.variants] == [v.search for v in wrong.report.variants]
    assert right.report.variants[0].metric.value > 0.8
    assert wrong.report.variants[0].metric.value < 0.5


def test_search_needs_validation_items(trained, run_export, make_contract, occupied):
    contract = make_contract(variants=["onnx-int8"], required=[])
    with pytest.raises(ProjectError, match=r"judges by validation items, found none.*splits\(\) in task.py"):
        run_export(occupied.path, contract=contract, options=ExportOptions(search=True))
    occupied.assert_untouched()


def test_validation_without_items_is_refused(run_export, make_contract, items, occupied):
    contract = make_contract(variants=["onnx-int8"], required=[])
    nothing = items.test.take(slice(0, 0))
    with pytest.raises(ProjectError, match="at least one validation item"):
        run_export(occupied.path, contract=contract, validation=nothing, options=ExportOptions(search=True))
    occupied.assert_untouched()
