"""Whether the constants of a float front end may be stored as int8 in a quantized variant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeml_export.sensitivity import LayerLoss

__all__ = ["front_fits"]

# Below, the whole front end saves less than the operators that turn its constants back take.
_MIN_PARAMETERS = 1024
# A tenth of the noise power is 0.4 dB of the variant's.
_SHARE_OF_NOISE = 0.1


def front_fits(front: Iterable[LayerLoss], layers: Iterable[LayerLoss]) -> bool:
    """Decide by noise: rounding the front end's constants may add a tenth of what the integer layers add anyway.

    Noise of different layers is taken as independent, so that its powers add.

    Args:
        front: Layers inside the float scopes, each with its weights alone rounded to int8.
        layers: Layers outside of them, each quantized as the variant quantizes it.

    Returns:
        Whether the constants are worth storing as int8, and may be.
    """
    front = list(front)
    if sum(loss.parameters for loss in front) < _MIN_PARAMETERS:
        return False
    return _noise(front) <= _SHARE_OF_NOISE * _noise(layers)


def _noise(losses: Iterable[LayerLoss]) -> float:
    """Noise power at the model's output, as a share of the signal's."""
    return sum(math.pow(10.0, -loss.output_sqnr_db / 10) for loss in losses)
