"""Which constants of a float front end may be stored as int8 in a quantized variant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeml_export.sensitivity import LayerLoss

__all__ = ["small_layers"]

# Below, the whole front end saves less than the operators that turn its constants back take.
_MIN_PARAMETERS = 1024
# A tenth of the noise power is 0.4 dB of the variant's.
_SHARE_OF_NOISE = 0.1


def small_layers(front: Iterable[LayerLoss], layers: Iterable[LayerLoss]) -> tuple[str, ...]:
    """Decide by noise: rounding the front end's constants may add a tenth of what the integer layers add anyway.

    Those that save most bytes for their noise come first, as many as the tenth holds. Noise of different layers is
    taken as independent, so that its powers add.

    Args:
        front: Layers inside the float scopes, each with its weights alone rounded to int8.
        layers: Layers outside of them, each quantized as the variant quantizes it.

    Returns:
        Paths of the layers whose constants are stored as int8, sorted; none where they are too few to be worth it.
    """
    left = _SHARE_OF_NOISE * sum(map(_noise, layers))
    chosen: list[LayerLoss] = []
    for loss in sorted(front, key=lambda item: _noise(item) / item.parameters):
        if _noise(loss) <= left:
            left -= _noise(loss)
            chosen.append(loss)
    worth_it = sum(loss.parameters for loss in chosen) >= _MIN_PARAMETERS
    return tuple(sorted(loss.path for loss in chosen)) if worth_it else ()


def _noise(loss: LayerLoss) -> float:
    """Noise power at the model's output, as a share of the signal's."""
    return math.pow(10.0, -loss.output_sqnr_db / 10)
