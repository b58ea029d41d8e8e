"""The bundle of every template: each variant's full path from raw input to label, and its contract's budgets here.

``python -m pytest benchmarks/test_references.py``, with ``--edgeml-on`` and ``--edgeml-device`` for other machines;
``test_predict`` times this one in any case. A bundle that is not there yet is trained and exported first.
"""

from __future__ import annotations

import pytest
from bundles import REFERENCES, VARIANTS


@pytest.mark.benchmark(min_time=0.002, max_time=0.5)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", REFERENCES)
def test_predict(made_bundle, time_prediction, name, variant):
    time_prediction(made_bundle(name), variant)


@pytest.mark.parametrize("name", REFERENCES)
def test_budgets(made_bundle, edge_budget, name):
    edge_budget(made_bundle(name))
