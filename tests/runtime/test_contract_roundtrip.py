"""Properties over random contracts: nothing is lost on the way to JSON and back, and the hash follows the meaning."""

from __future__ import annotations

import json
import random
from contextlib import suppress

import pytest

from edgeml_runtime.canonical import canonical_json
from edgeml_runtime.contract import BudgetName, CalibrationMethod, Statistic, TargetKind, WeightScales
from edgeml_runtime.contract_parse import contract_sha256, contract_to_dict, parse_contract
from edgeml_runtime.contract_rules import METRICS
from edgeml_runtime.errors import ContractError
from edgeml_runtime.tensors import DType
from edgeml_runtime.tensors_parse import VALUE_RANGES

SEEDS = range(150)
VARIANTS = ("onnx-fp32", "onnx-int8-dynamic", "ort-int8", "tflite-fp32", "tflite-int16x8", "tflite-w8")


class Maker:
    """Makes a random contract as ``edgeml.toml`` could hold it, in long and in short forms."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def some(self, *choices):
        return self.random.choice(choices)

    def maybe(self, table, **values):
        """Put each value into the table, or leave it out."""
        for key, value in values.items():
            if self.random.random() < 0.5:
                table[key] = value
        return table

    def number(self, low, high):
        return self.some(self.random.randint(low, high), self.random.uniform(low, high), float(low), -0.0 + low)

    def sample(self, names):
        return self.random.sample(names, self.random.randint(1, len(names)))

    def text(self):
        return self.some("kPa", "°C", "a b", 'quoted "x"', "back\\slash", "日本", "tab\there", "x")

    def input(self, index):
        dtype = self.some(*DType)
        widest = VALUE_RANGES[dtype]
        limits = self.some(list(widest), [0, 1], [-0.0, 100.0], [0, 100.0])
        loader = {"name": "any", "version": self.random.randint(1, 9)}
        self.maybe(loader, rate=8000, gain=-0.0, mode=self.text(), on=True)
        return self.maybe(
            {
                "name": f"input_{index}",
                "dtype": dtype.value,
                "shape": [self.random.randint(1, 8) for _ in range(self.random.randint(1, 6))],
                "range": limits,
                "unit": self.text(),
                "source": self.text(),
            },
            loader=loader,
            allow_missing=dtype is DType.FLOAT32,
        )

    def outputs(self, kind):
        if kind == "anomaly":
            return [{"name": "y", "role": "value", "shape": [1], "dtype": "float32"}]
        if kind == "regression":
            return [self.maybe({"name": "y", "role": "value", "shape": [1], "unit": self.text()}, dtype="float32")]
        classes = self.random.randint(2, 5)
        labels = [f"{self.text()} {index}" for index in range(classes)]
        scores = {"name": "scores", "role": "scores", "shape": [classes], "labels": labels}
        logits = {"name": "logits", "role": "logits", "shape": [classes]}
        return self.some([scores], [logits, scores], [scores, logits])

    def export(self):
        variants = self.sample(VARIANTS)
        rules = {"variants": variants, "required": self.some([], self.sample(variants))}
        return self.maybe(
            rules,
            fp32_max_abs_of_std=self.number(0, 1),
            max_metric_drop=self.number(0, 1),
            max_metric_drop_items=self.random.randint(0, 9),
            float_scopes=self.some([], ["features"], ["network.stem", "features"]),
            max_slice_drop=self.number(0, 1),
            max_slice_drop_items=self.random.randint(0, 9),
            calibration_items=self.random.randint(1, 999),
            calibration=self.some(*CalibrationMethod).value,
            weights=self.some(*WeightScales).value,
            oldest_onnxruntime=self.some("1.15", "1.19.2"),
        )

    def limit(self, variants):
        """One limit, short or long; ``peak_rss_mb`` only, so that percentiles need not agree."""
        value = self.random.uniform(0.1, 9)
        entry = {"limit": value, "accepts": self.sample(("measured", "emulated", "estimated"))}
        several = [self.maybe({"limit": value, "variant": variant}, threads=2) for variant in self.sample(variants)]
        return self.some(value, self.random.randint(1, 9), {"limit": value}, entry, [value], several)

    def feature(self, index, tensors):
        bins = self.some(
            {"bins": self.random.randint(1, 20), "range": [self.number(-9, 0), self.random.uniform(0.1, 9)]},
            {"edges": sorted(self.random.sample(range(-99, 99), self.random.randint(2, 20)))},
        )
        table = {"name": f"feature {index}", "tensor": self.some(*tensors), **bins}
        return self.maybe(table, statistic=self.some(*Statistic).value)

    def contract(self):
        kind = self.some("classification", "classification", "regression", "anomaly")
        metrics = [name.value for name in METRICS[TargetKind(kind)]]
        inputs = [self.input(index) for index in range(self.random.randint(1, 4))]
        outputs, export = self.outputs(kind), self.export()
        tensors = [spec["name"] for spec in (*inputs, *outputs)]
        quantities = [name.value for name in BudgetName if not name.value.startswith(("latency", "bundle"))]
        profiles = self.some([], ["host"], ["pi-4", "host"], ["zero", "a.b", "host"])
        budgets = {
            profile: {name: self.limit(export["variants"]) for name in self.sample(quantities)} for profile in profiles
        }
        alarms = {"false_alarms_per_day": self.random.uniform(0.1, 9), "item_minutes": self.random.uniform(0.1, 9)}
        anomaly = self.maybe(
            alarms,
            rearm_minutes=self.number(0, 90),
            event_recall_floor=self.number(0, 1),
            false_alarms_per_day_limit=self.number(0, 9),
        )
        return self.maybe(
            {
                **({"anomaly": anomaly} if kind == "anomaly" else {}),
                "model": self.maybe({"name": "a-1", "version": "1.2.3"}, description=self.text()),
                "inputs": inputs,
                "outputs": outputs,
                "target": {"name": self.text(), "kind": kind},
                "metric": {"primary": self.some(*metrics), "floor": self.random.uniform(0.1, 1)},
                "export": export,
            },
            slices=self.maybe({}, by=["site", "day"], min_items=3),
            groups={"key": "machine"},
            gate=self.maybe({}, margin=self.number(0, 1)),
            budgets=budgets,
            telemetry=[self.feature(index, tensors) for index in range(self.random.randint(0, 3))],
        )

    def rearranged(self, value):
        """The same tables with their keys in another order, and lists of limits too."""
        if isinstance(value, list):
            return [self.rearranged(item) for item in value]
        if not isinstance(value, dict):
            return value
        keys = self.random.sample(list(value), len(value))
        return {key: self.rearranged(value[key]) for key in keys}


@pytest.fixture(params=SEEDS)
def maker(request):
    return Maker(request.param)


def read(document):
    return parse_contract(document, source="random")


def test_nothing_is_lost_on_the_way_to_json_and_back(maker):
    contract = read(maker.contract())
    spelled = contract_to_dict(contract)
    again = read(json.loads(canonical_json(spelled)))
    assert again == contract
    assert canonical_json(contract_to_dict(again)) == canonical_json(spelled)


def test_the_hash_does_not_see_how_the_file_is_arranged(maker):
    document = maker.contract()
    other = maker.rearranged(document)
    for limits in other.get("budgets", {}).values():
        for name, value in limits.items():
            limits[name] = value[::-1] if isinstance(value, list) else {"limit": value} if value == 3 else value
    assert read(other) == read(document)
    assert contract_sha256(contract_to_dict(read(other))) == contract_sha256(contract_to_dict(read(document)))


def leaves(value):
    """Every place of nested tables that holds no table: (container, key)."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(inner, dict | list) and inner:
            yield from leaves(inner)
        else:
            yield value, key


def test_equal_contracts_have_equal_hashes_and_others_have_not(maker):
    contract = read(maker.contract())
    spelled = contract_to_dict(contract)
    other = json.loads(canonical_json(spelled))
    container, key = maker.some(*leaves(other))
    one = 2 if container[key] is True else 1  # True equals 1 in Python; an option of a loader is one or the other
    container[key] = maker.some("x", one, 0.25, 2, ["onnx-fp32"], "int8", "mean", not container[key], container[key])
    with suppress(ContractError):
        changed = read(other)
        same = contract_sha256(contract_to_dict(changed)) == contract_sha256(spelled)
        assert same == (changed == contract)


def test_the_random_contracts_reach_everything():
    documents = [Maker(seed).contract() for seed in SEEDS]
    kinds = {document["target"]["kind"] for document in documents}
    dtypes = {spec["dtype"] for document in documents for spec in document["inputs"]}
    assert kinds == {kind.value for kind in TargetKind}
    assert dtypes == {dtype.value for dtype in DType}
    assert sum(len(read(document).budgets) for document in documents) > 200
    assert sum(len(read(document).telemetry) for document in documents) > 50
