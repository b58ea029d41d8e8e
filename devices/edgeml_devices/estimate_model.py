"""The model behind an estimate: the time of the products, and the time to move the weights.

Two terms, as in the roofline (Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for
Multicore Architectures", Communications of the ACM 52(4), 2009), added up rather than overlapped:

    latency_ms = a · products / (width · clock_mhz · 10³) + b · file_bytes / (memcpy_gb_per_s · 10⁶)

``products`` are the instructions that multiply: fp multiply-add, int8 dot product, int8 matrix product, widening
multiply. ``width`` is how many of them the core starts per cycle (:data:`CORES`), so that ``a`` says how many cycles go
by for each that could be started. ``b`` says how often the file is moved, activations and all. Both are non-negative
and minimise the sum of squared relative errors (Lawson and Hanson, "Solving Least Squares Problems", 1974, chapter 23,
by trying every choice of terms, which are few).

It is the simplest that generalises: with all instructions in place of the products, with the others as a third term,
or without bandwidth or width, boards that are left out come out worse (docs/results.md, "Estimates").
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeml_devices.emulator.classes import ClassCounts

    Terms = Callable[["Sample"], tuple[float, ...]]

__all__ = ["CORES", "Board", "Core", "Sample", "fit", "left_out", "predict", "roofline_terms"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """What the model has to know of a core.

    Attributes:
        fp32: Multiply-adds of four floats that it starts per cycle.
        int8: Products of whole numbers that it starts per cycle: widening multiplies, dot products, matrix products.
        in_order: Whether it executes instructions in the order of the program.
    """

    fp32: float
    int8: float
    in_order: bool


# A7: two floating-point operations per cycle measured (wlog.flatlib.jp/2014/02/14/n1680), and long products issue every
# second cycle (gcc/config/arm/cortex-a7.md). A53: two units of 64 bits that a product of 128 bits or a long one takes
# together (gcc/config/arm/cortex-a53.md). A72: eight operations per cycle measured, likewise two units of 64 bits
# (wlog.flatlib.jp/2015/10/30/n1787). A57, A76 and A78: one and two units of 128 bits (en.wikichip.org/wiki/flops).
# A73, A75 and Kryo: no source; taken to be as A72, which the phones with them bear out.
CORES = {
    "cortex-a7": Core(fp32=0.25, int8=0.5, in_order=True),
    "cortex-a53": Core(fp32=1, int8=1, in_order=True),
    "cortex-a57": Core(fp32=1, int8=1, in_order=False),
    "cortex-a72": Core(fp32=1, int8=1, in_order=False),
    "cortex-a73": Core(fp32=1, int8=1, in_order=False),
    "cortex-a75": Core(fp32=1, int8=1, in_order=False),
    "cortex-a76": Core(fp32=2, int8=2, in_order=False),
    "cortex-a78ae": Core(fp32=2, int8=2, in_order=False),
    "kryo": Core(fp32=1, int8=1, in_order=False),
}
"""Core type as device profiles name it → the core."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """What the model has to know of a board.

    Attributes:
        name: Boards of one name are left out together.
        clock_mhz: Clock of the cores that compute.
        core: Those cores.
        memcpy_gb_per_s: Copy bandwidth of one of them.
    """

    name: str
    clock_mhz: float
    core: Core
    memcpy_gb_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A network on a board.

    Attributes:
        board: The board.
        network: Networks of one name are left out together.
        counts: Instructions of one inference with one thread.
        file_bytes: Size of the network's file.
        latency_ms: What was measured there; NaN where it is to be estimated.
    """

    board: Board
    network: str
    counts: ClassCounts
    file_bytes: int
    latency_ms: float = math.nan


def roofline_terms(sample: Sample) -> tuple[float, float]:
    """The two terms of the model.

    Args:
        sample: A network on a board.

    Returns:
        Milliseconds that each takes at a coefficient of one: products, bytes.
    """
    counts, board = sample.counts, sample.board
    whole = counts.int8_dot + counts.int8_matrix + counts.widening_multiply
    cycles = counts.fp_fma / board.core.fp32 + whole / board.core.int8
    return cycles / (board.clock_mhz * 1e3), sample.file_bytes / (board.memcpy_gb_per_s * 1e6)


def fit(samples: Sequence[Sample], terms: Terms = roofline_terms) -> tuple[float, ...]:
    """Find the coefficients that fit measured latencies best.

    Args:
        samples: At least one.
        terms: The terms of the model.

    Returns:
        A coefficient for each term, none of them negative.
    """
    latencies = np.array([one.latency_ms for one in samples])
    relative = np.array([terms(one) for one in samples]) / latencies[:, None]
    columns = range(relative.shape[1])
    best, least = np.zeros(relative.shape[1]), math.inf
    for size in range(1, len(columns) + 1):
        for chosen in itertools.combinations(columns, size):
            found = np.zeros(len(columns))
            found[list(chosen)] = np.linalg.lstsq(relative[:, chosen], np.ones(len(samples)), rcond=None)[0]
            error = float(np.square(relative @ found - 1).sum())
            if (found >= 0).all() and error < least:
                best, least = found, error
    return tuple(float(value) for value in best)


def predict(coefficients: Sequence[float], sample: Sample, terms: Terms = roofline_terms) -> float:
    """The latency of a network on a board.

    Args:
        coefficients: What :func:`fit` found.
        sample: The network and the board.
        terms: The terms of the model.

    Returns:
        Milliseconds.
    """
    return sum(a * b for a, b in zip(coefficients, terms(sample), strict=True))


def left_out(samples: Sequence[Sample], terms: Terms = roofline_terms, *, networks: bool = False) -> tuple[float, ...]:
    """Leave one board out at a time, and estimate what was measured there from the others.

    Args:
        samples: Of two boards at least.
        terms: The terms of the model.
        networks: Whether to leave out the network as well, on every board.

    Returns:
        Estimate over measurement for each sample, in their order; with ``networks`` those that leave no others are
        missing.
    """
    ratios = []
    for sample in samples:
        others = [
            other
            for other in samples
            if other.board.name != sample.board.name and not (networks and other.network == sample.network)
        ]
        if others:
            ratios.append(predict(fit(others, terms), sample, terms) / sample.latency_ms)
    return tuple(ratios)
