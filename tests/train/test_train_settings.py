from __future__ import annotations

import math

import jsonschema
import pytest

from edgeml_runtime.errors import ContractError
from edgeml_train import TrainSettings, train_schema

BAD = [
    ({"epochs": -1}, "train.epochs: expected an integer from 0 up to 10000, found -1"),
    ({"epochs": 2.5}, "train.epochs"),
    ({"epochs": True}, "train.epochs"),
    ({"epochs": "3"}, "train.epochs"),
    ({"learning_rate": 0}, "expected a number above 0 up to 10, found 0"),
    ({"learning_rate": float("nan")}, "train.learning_rate"),
    ({"augment": 1}, "expected true or false, found 1"),
    ({"seed": -1}, "train.seed"),
    ({"epoch": 3}, "an unknown key; nearest is 'epochs'"),
    ({"xyzzy": 3}, "train.xyzzy: expected one of epochs, "),
]


def test_defaults_and_types():
    settings = TrainSettings.parse({"learning_rate": 1, "augment": False}, source="edgeml.toml")

    assert settings == TrainSettings(learning_rate=1.0, augment=False)
    assert isinstance(settings.learning_rate, float)


@pytest.mark.parametrize(("data", "words"), BAD)
def test_bad_settings_are_refused(data, words):
    with pytest.raises(ContractError) as caught:
        TrainSettings.parse(data, source="edgeml.toml")

    assert words in str(caught.value)


def test_all_faults_come_at_once():
    with pytest.raises(ContractError) as caught:
        TrainSettings.parse({"epochs": -1, "sed": 1}, source="edgeml.toml")

    assert [fault.path for fault in caught.value.faults] == ["train.epochs", "train.sed"]


def test_the_schema_says_the_same():
    validator = jsonschema.Draft202012Validator(train_schema())

    assert validator.is_valid(TrainSettings().to_dict())
    assert train_schema()["properties"]["epochs"]["default"] == TrainSettings().epochs
    for data, _ in BAD:
        nan = any(isinstance(value, float) and math.isnan(value) for value in data.values())
        assert nan or not validator.is_valid(data), data
