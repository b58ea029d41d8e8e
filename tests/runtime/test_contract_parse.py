"""What a contract's tables become, what is filled in, and that any value, however odd, is either read or refused."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from pathlib import Path

import pytest

from edgeml_runtime.contract import (
    Budget,
    BudgetName,
    Contract,
    ExportRules,
    GateRules,
    MetricName,
    MetricSpec,
    Provenance,
    SliceRules,
    Statistic,
    TargetKind,
    TargetSpec,
    TelemetryFeature,
)
from edgeml_runtime.contract_parse import contract_to_dict, parse_contract
from edgeml_runtime.errors import ContractError
from edgeml_runtime.tensors import DType, InputSpec, LoaderSpec, OutputRole, OutputSpec

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10, where pytest itself brings tomli
    import tomli as tomllib

GOOD = Path(__file__).parent / "data" / "contracts" / "good"


def document(name, **tables):
    """The tables of a good contract, some of them replaced, without the project's own."""
    read = tomllib.loads((GOOD / f"{name}.toml").read_text(encoding="utf-8")) | tables
    return {key: table for key, table in read.items() if key not in ("data", "train", "fast")}


def parsed(name, **tables):
    return parse_contract(document(name, **tables), source="test")


def test_every_table_becomes_values():
    tenths = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
    pi = "raspberry-pi-4b"
    assert parsed("every_table") == Contract(
        name="kettle",
        version="1.2.0",
        description="Tells from one second of vibration whether a pump is sound, worn or blocked.",
        inputs=(
            InputSpec(
                name="vibration",
                dtype=DType.INT16,
                shape=(8000,),
                range=(-32768, 32767),
                unit="PCM sample",
                source="contact microphone on the housing",
                loader=LoaderSpec(name="wav", version=1, options={"sample_rate_hz": 8000}),
            ),
            InputSpec(
                name="state",
                dtype=DType.FLOAT32,
                shape=(3,),
                range=(-50.0, 1000.0),
                unit="kPa, kPa, °C",
                source="pump controller, registers 4 to 6",
                allow_missing=True,
            ),
        ),
        outputs=(
            OutputSpec(name="logits", dtype=DType.FLOAT32, shape=(3,), role=OutputRole.LOGITS),
            OutputSpec(
                name="scores",
                dtype=DType.FLOAT32,
                shape=(3,),
                role=OutputRole.SCORES,
                labels=("sound", "worn", "blocked"),
            ),
        ),
        target=TargetSpec(name="condition", kind=TargetKind.CLASSIFICATION),
        metric=MetricSpec(primary=MetricName.BALANCED_ACCURACY, floor=0.9),
        slices=SliceRules(by=("site", "label"), min_items=20),
        group="machine",
        export=ExportRules(required=("onnx-fp32", "tflite-int8"), max_metric_drop=0.005),
        gate=GateRules(margin=0.01),
        budgets=(
            Budget(profile="host", name=BudgetName.LATENCY_MS_P95, limit=5.0),
            Budget(profile="host", name=BudgetName.BUNDLE_MB, limit=2.0),
            Budget(
                profile=pi,
                name=BudgetName.LATENCY_MS_P95,
                limit=20.0,
                variant="tflite-int8",
                backend="litert",
                backend_version="2.3",
                threads=1,
            ),
            Budget(profile=pi, name=BudgetName.PEAK_RSS_MB, limit=110.0, variant="onnx-int8"),
            Budget(profile=pi, name=BudgetName.PEAK_RSS_MB, limit=60.0, variant="tflite-int8"),
        ),
        telemetry=(
            TelemetryFeature(
                name="level",
                tensor="vibration",
                statistic=Statistic.RMS,
                edges=(10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0, 10000.0),
            ),
            TelemetryFeature(name="confidence", tensor="scores", statistic=Statistic.MAX, edges=tenths),
        ),
    )


def test_what_is_not_given_has_the_dataclasses_defaults():
    contract = parsed("shortest")
    assert contract.description == ""
    assert contract.inputs[0].loader is None
    assert contract.inputs[0].allow_missing is False
    assert contract.outputs[0].dtype is DType.FLOAT32
    assert contract.group is None
    assert (contract.slices, contract.export, contract.gate) == (SliceRules(), ExportRules(), GateRules())
    assert (contract.budgets, contract.telemetry) == ((), ())


def test_integer_limits_stay_integers_and_float_limits_become_floats():
    assert [type(limit) for limit in parsed("shortest").inputs[0].range] == [int, int]
    table = document("shortest")["inputs"][0]
    (spec,) = parsed("shortest", inputs=[{**table, "range": [0.0, 255.0]}]).inputs
    assert [type(limit) for limit in spec.range] == [int, int]
    (spec,) = parsed("shortest", inputs=[{**table, "dtype": "float32", "range": [0, 255]}]).inputs
    assert [type(limit) for limit in spec.range] == [float, float]


@pytest.mark.parametrize(("dtype", "low", "high"), [("int8", -128, 127), ("int64", -(2**63), 2**63 - 1)])
def test_a_range_may_be_as_wide_as_the_dtype_and_no_wider(dtype, low, high):
    table = {**document("shortest")["inputs"][0], "dtype": dtype}
    assert parsed("shortest", inputs=[{**table, "range": [low, high]}]).inputs[0].range == (low, high)
    for limits in ([low - 1, high], [low, high + 1]):
        with pytest.raises(ContractError, match=r"inputs\[0\]\.range: expected within"):
            parsed("shortest", inputs=[{**table, "range": limits}])


@pytest.mark.parametrize(
    "tables",
    [
        {"metric": {"primary": "accuracy", "floor": 0}},
        {"metric": {"primary": "accuracy", "floor": 1}},
        {"budgets": {"host": {"latency_ms_p50": 2, "latency_ms_p95": 2, "instructions": 1e18}}},
        {"budgets": {"host": {"latency_ms_p50": {"limit": 2, "backend": "litert"}}}},
        {"inputs": [{**document("shortest")["inputs"][0], "shape": [1 << 14, 1 << 14]}]},
        {"telemetry": [{"name": "a", "tensor": "image", "edges": list(range(4096))}]},
        {"telemetry": [{"name": "a", "tensor": "image", "bins": 4095, "range": [0, 1]}]},
    ],
    ids=lambda tables: str(tables)[:60],
)
def test_the_utmost_is_still_right(tables):
    assert contract_to_dict(parsed("shortest", **tables))


@pytest.mark.parametrize(
    "tables",
    [
        {"budgets": {"host": {"instructions": 1.1e18}}},
        {"inputs": [{**document("shortest")["inputs"][0], "shape": [1 << 14, 1 << 14, 2]}]},
        {"telemetry": [{"name": "a", "tensor": "image", "edges": list(range(4097))}]},
        {"telemetry": [{"name": "a", "tensor": "image", "bins": 4096, "range": [0, 1]}]},
    ],
    ids=lambda tables: str(tables)[:60],
)
def test_more_than_the_utmost_is_refused(tables):
    with pytest.raises(ContractError, match=r": 1 fault\(s\)"):
        parsed("shortest", **tables)


def test_zero_has_no_sign_in_the_options_of_a_loader():
    table = document("shortest")["inputs"][0]
    spelled = [
        contract_to_dict(parsed("shortest", inputs=[{**table, "loader": {"name": "a", "version": 1, "gain": gain}}]))
        for gain in (0.0, -0.0)
    ]
    assert json.dumps(spelled[0]) == json.dumps(spelled[1])


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (3, [Budget(profile="host", name=BudgetName.COLD_START_MS, limit=3.0)]),
        ({"limit": 3}, [Budget(profile="host", name=BudgetName.COLD_START_MS, limit=3.0)]),
        (
            [5, {"limit": 3, "threads": 2}],
            [
                Budget(profile="host", name=BudgetName.COLD_START_MS, limit=5.0),
                Budget(profile="host", name=BudgetName.COLD_START_MS, limit=3.0, threads=2),
            ],
        ),
        (
            {"limit": 3, "accepts": ["estimated", "measured"]},
            [
                Budget(
                    profile="host",
                    name=BudgetName.COLD_START_MS,
                    limit=3.0,
                    accepts=(Provenance.MEASURED, Provenance.ESTIMATED),
                )
            ],
        ),
    ],
    ids=["number", "table", "list", "accepted in one order"],
)
def test_a_budget_has_a_short_and_a_long_form(value, expected):
    assert list(parsed("shortest", budgets={"host": {"cold_start_ms": value}}).budgets) == expected


def test_bins_are_equally_wide_and_end_where_the_range_ends():
    feature = {"name": "a", "tensor": "image", "bins": 3, "range": [0, 0.3]}
    (edges,) = (feature.edges for feature in parsed("shortest", telemetry=[feature]).telemetry)
    assert edges == pytest.approx((0.0, 0.1, 0.2, 0.3))
    assert (edges[0], edges[-1], len(edges)) == (0.0, 0.3, 4)


@pytest.mark.parametrize("value", [None, 3, "text", [], [1], {}, True, {"a": {}}, [[]], [{}], float("inf"), [None]])
@pytest.mark.parametrize("key", sorted(document("every_table")))
def test_rubbish_in_a_table_is_read_or_refused(key, value):
    with suppress(ContractError):
        parsed("every_table", **{key: value})


def test_rubbish_in_any_place_is_read_or_refused():
    generator = random.Random(7)
    rubbish = [None, -1, 10**40, 1 << 100_000, "", "x", [], {}, True, float("nan"), [1, "a"], {"x": 1}, [[[]]]]
    refused = 0
    for _ in range(1500):
        changed = json.loads(json.dumps(document("every_table")))
        replace_one(changed, generator, generator.choice(rubbish))
        try:
            assert isinstance(parse_contract(changed, source="rubbish"), Contract)
        except ContractError:
            refused += 1
    assert 1000 < refused < 1500


def replace_one(tables, generator, value):
    """Put a value somewhere into nested tables and lists."""
    keys = list(tables) if isinstance(tables, dict) else list(range(len(tables)))
    key = generator.choice(keys)
    inner = tables[key]
    if isinstance(inner, dict | list) and inner and generator.random() < 0.8:
        replace_one(inner, generator, value)
    else:
        tables[key] = value


def test_a_table_is_not_changed_by_reading_it():
    tables = document("every_table")
    before = json.dumps(tables)
    contract_to_dict(parse_contract(tables, source="test"))
    assert json.dumps(tables) == before
