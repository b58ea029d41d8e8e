from __future__ import annotations

import numpy as np
import pytest

from edgeml_evaluate import LabelledData
from edgeml_runtime.errors import InputError


def make(n=4, **changes):
    values = {
        "inputs": {"x": np.arange(2.0 * n).reshape(n, 2)},
        "targets": np.arange(n),
        "attributes": {"who": np.array(list("abcdefgh")[:n])},
    }
    return LabelledData(**(values | changes))


def test_take_keeps_rows_together():
    part = make().take(np.array([3, 1]))

    assert len(part) == 2
    assert part.inputs["x"].tolist() == [[6.0, 7.0], [2.0, 3.0]]
    assert part.targets.tolist() == [3, 1]
    assert part.attributes["who"].tolist() == ["d", "b"]


def test_take_by_mask():
    data = make()

    assert data.take(data.targets > 1).targets.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"inputs": {}}, "at least one input"),
        ({"inputs": {"x": np.zeros((3, 2))}}, "expected 4 items in input 'x', found 3 items"),
        ({"inputs": {"x": np.array(1.0)}}, "found a scalar"),
        ({"targets": np.zeros((4, 1))}, r"targets of shape \[n\], found \[4, 1\]"),
        ({"attributes": {"who": np.array(["a"])}}, "expected 4 items in attribute 'who', found 1"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(changes, words):
    with pytest.raises(InputError, match=words):
        make(**changes)
