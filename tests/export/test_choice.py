"""Which variants a command line asks for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgeml_export.choice import choose_variants
from edgeml_runtime.contract import Budget, BudgetName
from edgeml_runtime.contract_parse import contract_to_dict, parse_contract
from edgeml_runtime.errors import InputError

ORT_FIRST = ("ort-int8", "onnx-int8", "ort-fp32", "onnx-fp32")
BOTH = ("tflite-int8", "onnx-int8", "tflite-fp32", "onnx-fp32")


def test_without_options_the_contract_stands(make_contract):
    contract = make_contract(required=["onnx-fp32"])
    choice = choose_variants(contract)
    assert choice.contract == contract
    assert choice.contract.export.variants == BOTH
    assert (choice.search, choice.missing, choice.no_longer_required, choice.dropped_budgets) == (False, (), (), ())


@pytest.mark.parametrize(
    ("of_contract", "options", "chosen", "search", "missing"),
    [
        (BOTH, {"precisions": ("auto",)}, BOTH, True, ()),
        (("onnx-fp32",), {"precisions": ("auto",)}, ("onnx-int8", "onnx-fp32"), True, ()),
        (
            ("ort-fp32", "onnx-w8"),
            {"precisions": ("auto",)},
            ["ort-int8", "onnx-int8", "ort-fp32", "onnx-fp32"],
            True,
            (),
        ),
        (BOTH, {"precisions": ("w8", "fp32")}, ["tflite-w8", "onnx-w8", "tflite-fp32", "onnx-fp32"], False, ()),
        (BOTH, {"precisions": ("int16x8",)}, ("tflite-int16x8",), False, ("onnx-int16x8",)),
        (("ort-fp32",), {"precisions": ("w8", "fp32", "w8")}, ("ort-fp32",), False, ("ort-w8",)),
        (BOTH, {"variants": ("onnx-fp16", "ort-int8", "onnx-fp16")}, ("onnx-fp16", "ort-int8"), False, ()),
        (
            BOTH,
            {"variants": ("onnx-int8", "tflite-w8"), "precisions": ("auto",)},
            ("onnx-int8", "tflite-w8"),
            True,
            (),
        ),
        (BOTH, {"variants": ("onnx-fp32", "ort-fp32"), "dynamic_batch": True}, ("onnx-fp32", "ort-fp32"), False, ()),
        (("onnx-fp32",), {"precisions": ("auto",), "dynamic_batch": True}, ("onnx-int8", "onnx-fp32"), True, ()),
    ],
)
def test_what_is_exported(make_contract, of_contract, options, chosen, search, missing):
    choice = choose_variants(make_contract(variants=list(of_contract), required=[]), **options)
    assert choice.contract.export.variants == tuple(chosen)
    assert (choice.search, choice.missing) == (search, missing)
    assert choice.to_dict()["variants"] == list(chosen)


@pytest.mark.parametrize(
    ("of_contract", "options", "says"),
    [
        (BOTH, {"precisions": ("int4",)}, "expected auto alone, or some of fp32, fp16, int8.*found 'int4'"),
        (BOTH, {"precisions": ("auto", "fp32")}, "expected auto alone.*found 'auto', 'fp32'"),
        (("onnx-fp32",), {"precisions": ("int16x8",)}, "at least one of onnx-fp32.*found only onnx-int16x8"),
        (BOTH, {"variants": ("onnx-int4", "tflite-int8")}, "--variants: expected some of onnx-fp32.*found 'onnx-int4'"),
        (BOTH, {"variants": ("onnx-int8",), "precisions": ("w8",)}, "found both lists"),
        (BOTH, {"variants": ("onnx-fp32",), "precisions": ("auto",)}, "searches int8 variants, found only onnx-fp32"),
        (BOTH, {"dynamic_batch": True}, "found tflite-int8, tflite-fp32; add --variants onnx-int8,onnx-fp32"),
        (("tflite-fp32",), {"dynamic_batch": True}, "add --variants onnx-fp32"),
    ],
)
def test_what_cannot_be_meant(make_contract, of_contract, options, says):
    with pytest.raises(InputError, match=says):
        choose_variants(make_contract(variants=list(of_contract), required=[]), **options)


def test_required_variants_and_budgets_that_fall_away_are_told(make_contract):
    limits = [
        Budget(profile="host", name=BudgetName.BUNDLE_MB, limit=2.0),
        Budget(profile="host", name=BudgetName.LATENCY_MS_P95, limit=1.0, variant="tflite-int8"),
        Budget(profile="host", name=BudgetName.COLD_START_MS, limit=900.0, variant="onnx-int8"),
    ]
    contract = replace(make_contract(required=["onnx-int8", "tflite-fp32"]), budgets=tuple(limits))
    choice = choose_variants(contract, variants=("onnx-int8", "onnx-w8"))
    assert choice.contract.export.required == ("onnx-int8",)
    assert choice.no_longer_required == ("tflite-fp32",)
    assert choice.contract.budgets == (limits[0], limits[2])
    assert choice.dropped_budgets == ("host.latency_ms_p95 of tflite-int8",)


def test_the_contract_of_a_choice_is_one_that_readers_take(make_contract):
    """Readers of bundles refuse required variants and budgets of variants that are not exported."""
    late = Budget(profile="host", name=BudgetName.LATENCY_MS_P95, limit=1.0, variant="tflite-int8")
    contract = replace(make_contract(), budgets=(late,))
    chosen = choose_variants(contract, precisions=("w8",)).contract
    assert parse_contract(contract_to_dict(chosen), source="test") == chosen
