"""Every network of the zoo: each variant's full path from raw input to label, and whether it keeps up with its sensor.

``python -m pytest benchmarks/test_zoo.py``. Weights are random: it is speed that is measured. A bundle that is not
there yet is exported first.
"""

from __future__ import annotations

import pytest
from bundles import VARIANTS, ZOO_NAMES

# An answer has to be there before the next input is: a camera gives 30 images a second; the sound networks move on by
# one window, which begins every 20 ms for keywords and every 32 ms for machine sounds (zoo.py).
FRAME_MS, KEYWORD_HOP_MS, MACHINE_HOP_MS = 1000 / 30, 20.0, 32.0
LIMITS_MS = {
    "ds-cnn": KEYWORD_HOP_MS,
    "resnet8": FRAME_MS,
    "mobilenetv1": FRAME_MS,
    "autoencoder": MACHINE_HOP_MS,
    "mobilenetv2": FRAME_MS,
}


@pytest.mark.benchmark(min_time=0.002, max_time=0.5)
@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", ZOO_NAMES)
def test_predict(made_bundle, time_prediction, name, variant):
    time_prediction(made_bundle(name), variant)


@pytest.mark.parametrize("name", ZOO_NAMES)
def test_keeps_up_with_its_sensor(made_bundle, edge_budget, name):
    edge_budget(made_bundle(name), latency_ms_p99=LIMITS_MS[name])
