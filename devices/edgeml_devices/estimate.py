"""Latency estimated from counted instructions: calibrated on published latencies of the same runtime and thread count.

Pure decisions; :mod:`edgeml_devices.estimate_model` has the model, :mod:`edgeml_devices.estimate_references` reads what
it is calibrated with. An estimate is no measurement: it says how far it was off where it could be checked, by leaving
out one board after the other. Where nothing can be said of the error, there is no estimate but the reason.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from statistics import median
from typing import TYPE_CHECKING, Any

from edgeml_devices.estimate_model import CORES, Board, Core, Sample, fit, left_out, predict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from edgeml_devices.emulator.classes import ClassCounts
    from edgeml_devices.profile import DeviceProfile

__all__ = [
    "MIN_BOARDS",
    "CountedReference",
    "Estimate",
    "NoEstimate",
    "estimate",
    "estimates",
    "samples_of",
    "thread_words",
]

MIN_BOARDS = 3
"""Left-out errors of fewer boards say nothing: with two, each is estimated from a single other one."""

MIN_NETWORKS = 2
"""An estimate is for a network that nobody published: how far that carries can be seen with two at least."""

REACH = 0.1
"""What lies this share beyond the references still counts as within: counts differ a little from time to time."""

SIZES_OF = {"mobilenet-v3-large": "mobilenet-v3", "mobilenet-v3-small": "mobilenet-v3"}
"""Network → what it is a size of; sizes of one network are left out together, being alike."""

PRODUCTS = {
    "fp_fma": "multiply-adds of floats",
    "widening_multiply": "widening multiplies",
    "int8_dot": "dot products of int8",
    "int8_matrix": "matrix products of int8",
}
"""Kind of arithmetic that a network consists of → in words."""

FIGURES: dict[str, Callable[[Sample], float]] = {
    "multiply-adds of floats started per cycle": lambda sample: sample.board.core.fp32,
    "products of whole numbers started per cycle": lambda sample: sample.board.core.int8,
    "GB/s of memcpy": lambda sample: sample.board.memcpy_gb_per_s,
    "million instructions": lambda sample: sample.counts.total / 1e6,
    "percent of instructions that multiply": lambda sample: 100 * _products(sample.counts) / sample.counts.total,
}
"""What has to lie within the range of the references, in words → how it is read. Calls of operators, which the model
does not know, weigh more in a network that is smaller; so do instructions that do not multiply, where they are more."""

XNNPACK_OF = {"litert": "ai-edge-litert"}
"""Backend whose kernels for the CPU are those of XNNPACK → distribution for which that holds. tflite-runtime's wheel
for armv7l, the only one of a backend there, is built without."""

XNNPACK = "xnnpack"


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedReference:
    """A published latency of a network whose instructions are known.

    Attributes:
        board: Name of the device profile, or of a board without one.
        cpu: Core type of the cores that computed, or None.
        clock_mhz: Their clock.
        memcpy_gb_per_s: Copy bandwidth of one core, or None where it is not known.
        model: The network.
        precision: ``fp32`` or ``int8``, or None.
        runtime: The inference library.
        threads: Threads it used, or None where several are stated without a number.
        latency_ms: One inference at batch 1.
        counts: Instructions of one inference with one thread.
        file_bytes: Size of the network's file.
        source: Where the latency was published.
    """

    board: str
    cpu: str | None
    clock_mhz: float
    memcpy_gb_per_s: float | None
    model: str
    precision: str | None
    runtime: str
    threads: int | None
    latency_ms: float
    counts: ClassCounts
    file_bytes: int
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An estimated latency; its provenance is ``estimated``.

    Attributes:
        value_ms: One inference at batch 1.
        low_ms: Lower end: the value over the largest factor by which a figure was missed when its board and its network
            were both left out, because a user's network is as new to the model as a user's board.
        high_ms: Upper end: the value times that factor. With so few boards neither end has a probability.
        runtime: What the references were measured with.
        threads: Threads of the references and so of the estimate; None for several, of unknown number.
        boards: Boards it is calibrated on.
        leave_one_board_out_median: Median of ``|estimate / published - 1|`` when a board is left out.
        leave_one_board_out_max: The largest of them.
        note: What a reader should know of it.
    """

    value_ms: float
    low_ms: float
    high_ms: float
    runtime: str
    threads: int | None
    boards: tuple[str, ...]
    leave_one_board_out_median: float
    leave_one_board_out_max: float
    note: str

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values, with the provenance."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {"provenance": "estimated", **values, "boards": list(self.boards)}


@dataclass(frozen=True, slots=True, kw_only=True)
class NoEstimate:
    """There is no basis for an estimate.

    Attributes:
        runtime: The backend in question.
        threads: Threads in question, or None for several.
        reason: What is missing, and how to bring it.
    """

    runtime: str
    threads: int | None
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"provenance": "not_measured", "runtime": self.runtime, "threads": self.threads, "reason": self.reason}


def estimates(
    counts: ClassCounts,
    file_bytes: int,
    profile: DeviceProfile,
    runtime: str,
    references: Sequence[CountedReference],
) -> tuple[Estimate | NoEstimate, ...]:
    """One answer for each thread count that there are references with; see :func:`estimate`.

    Args:
        counts: As there.
        file_bytes: As there.
        profile: As there.
        runtime: As there.
        references: As there.

    Returns:
        At least one; few threads first, an unknown number last.
    """
    found = {one.threads for one in references if one.runtime in _runtimes(runtime, profile)}
    ordered = sorted(found, key=lambda threads: (threads is None, threads or 0))
    return tuple(
        estimate(counts, file_bytes, profile, runtime, threads, references) for threads in ordered or [profile.threads]
    )


def estimate(
    counts: ClassCounts,
    file_bytes: int,
    profile: DeviceProfile,
    runtime: str,
    threads: int | None,
    references: Sequence[CountedReference],
) -> Estimate | NoEstimate:
    """Estimate a latency from counted instructions.

    Only references of the same runtime and thread count calibrate it; those of XNNPACK do for LiteRT, whose kernels
    they are, where there are not enough of LiteRT's own.

    Args:
        counts: Instructions of one inference with one thread, by class.
        file_bytes: Size of the model file.
        profile: The device.
        runtime: The backend that was counted.
        threads: Threads to estimate for, or None for several as in references that do not state a number.
        references: All there are.

    Returns:
        The estimate, or what is missing for one.
    """
    reason = "no runtime can stand for it"
    for name in _runtimes(runtime, profile):
        same = [one for one in references if one.runtime == name and one.threads == threads]
        found = _estimate(counts, file_bytes, profile, name, threads, same)
        if isinstance(found, Estimate):
            return found
        reason = found
    return NoEstimate(runtime=runtime, threads=threads, reason=f"{reason}. {_advice(runtime, threads)}")


def _runtimes(runtime: str, profile: DeviceProfile) -> tuple[str, ...]:
    """Whose references calibrate a runtime, the best first."""
    distribution = XNNPACK_OF.get(runtime)
    ships = distribution is not None and (not profile.runtimes or distribution in profile.runtimes)
    return (runtime, XNNPACK) if ships else (runtime,)


def _advice(runtime: str, threads: int | None) -> str:
    asked = "" if threads is None else f" --threads {threads}"
    return (
        f"Add what you measured on boards of your own (edgeml bench --on ssh://BOARD --backend {runtime}{asked}) as "
        f"[[references]] of their profiles, with file_bytes and the instructions of edgeml bench --on emulator "
        f"(docs/emulator.md, Estimates)"
    )


def thread_words(threads: int | None) -> str:
    """A number of threads in words.

    Args:
        threads: The number, or None for several.
    """
    if threads is None:
        return "several threads (how many was not published)"
    return "1 thread" if threads == 1 else f"{threads} threads"


def _estimate(
    counts: ClassCounts,
    file_bytes: int,
    profile: DeviceProfile,
    runtime: str,
    threads: int | None,
    same: Sequence[CountedReference],
) -> Estimate | str:
    """The estimate from references of one runtime and thread count, or what is missing."""
    what = f"{runtime} with {thread_words(threads)}"
    board = _board(profile.name, profile.cpu, profile.clock_mhz, profile.memcpy_gb_per_s)
    if board is None:
        return (
            f"expected clock_mhz and memcpy_gb_per_s in the profile {profile.name}, found {profile.clock_mhz} and "
            f"{profile.memcpy_gb_per_s}"
        )
    kind = _kind(counts)
    if getattr(counts, kind) == 0:
        return f"expected {' or '.join(PRODUCTS.values())} among the instructions, found none"
    usable = _usable(profile, same)
    boards = _boards(one for one in usable if _kind(one.counts) == kind)
    if len(boards) < MIN_BOARDS:
        return (
            f"expected published latencies of {what} on at least {MIN_BOARDS} boards of known core and bandwidth, of "
            f"networks that consist of {PRODUCTS[kind]}; found {len(boards)}{_listed(boards)}"
            f"{_without_bandwidth(same)}"
        )
    samples = samples_of(usable)
    networks = sorted({one.network for one in samples})
    if len(networks) < MIN_NETWORKS:
        return f"expected published latencies of {what} of at least {MIN_NETWORKS} networks, found {networks[0]} alone"
    asked = Sample(board=board, network="", counts=counts, file_bytes=file_bytes)
    beyond = _beyond(asked, samples)
    if beyond is not None:
        return (
            f"expected a device and a network like those published of {what}, on {', '.join(_boards(usable))}; "
            f"{beyond}, and nothing says how far that carries"
        )
    value = predict(fit(samples), asked)
    errors = [abs(ratio - 1) for ratio in left_out(samples)]
    factor = max(max(ratio, 1 / ratio) for ratio in left_out(samples, networks=True))
    return Estimate(
        value_ms=value,
        low_ms=value / factor,
        high_ms=value * factor,
        runtime=runtime,
        threads=threads,
        boards=_boards(usable),
        leave_one_board_out_median=median(errors),
        leave_one_board_out_max=max(errors),
        note=_note(profile, usable, what),
    )


def _board(name: str, cpu: str | None, clock_mhz: float | None, memcpy_gb_per_s: float | None) -> Board | None:
    """The board as the model takes it; a core that it does not know is compared with its like only, and is as any."""
    if clock_mhz is None or memcpy_gb_per_s is None:
        return None
    core = CORES.get(cpu or "", Core(fp32=1, int8=1, in_order=False))
    return Board(name=name, clock_mhz=clock_mhz, core=core, memcpy_gb_per_s=memcpy_gb_per_s)


def _usable(profile: DeviceProfile, references: Iterable[CountedReference]) -> list[CountedReference]:
    """Those of boards that can be compared with the device: both cores are known, or they are the same."""
    known = [one for one in references if one.memcpy_gb_per_s is not None and getattr(one.counts, _kind(one.counts))]
    if profile.cpu in CORES:
        return [one for one in known if one.cpu in CORES]
    return [one for one in known if profile.cpu is not None and one.cpu == profile.cpu]


def _boards(references: Iterable[CountedReference]) -> tuple[str, ...]:
    return tuple(sorted({one.board for one in references}))


def _kind(counts: ClassCounts) -> str:
    return max(PRODUCTS, key=lambda name: getattr(counts, name))


def _listed(names: Sequence[str]) -> str:
    return f" ({', '.join(names)})" if names else ""


def _without_bandwidth(references: Iterable[CountedReference]) -> str:
    boards = _boards(one for one in references if one.memcpy_gb_per_s is None)
    return f"; of {', '.join(boards)} the bandwidth is not known" if boards else ""


def _products(counts: ClassCounts) -> int:
    return sum(getattr(counts, name) for name in PRODUCTS)


def _beyond(asked: Sample, samples: Sequence[Sample]) -> str | None:
    """What puts a network or a board outside of those that the model was calibrated on, in words, or None."""
    for title, figure in FIGURES.items():
        held = sorted(figure(one) for one in samples)
        if not held[0] * (1 - REACH) <= figure(asked) <= held[-1] * (1 + REACH):
            return f"here are {figure(asked):,.4g} {title}, there {held[0]:,.4g} to {held[-1]:,.4g}"
    in_order = asked.board.core.in_order
    if in_order not in {one.board.core.in_order for one in samples}:
        order = "in the order of the program" if in_order else "out of order"
        return f"the core here executes {order}, and those there do not"
    return None


def samples_of(references: Iterable[CountedReference]) -> tuple[Sample, ...]:
    """References as the model takes them.

    Args:
        references: Of one runtime and thread count, on cores that can be compared.

    Returns:
        One sample for each whose board's bandwidth is known.
    """
    found = []
    for one in references:
        board = _board(one.board, one.cpu, one.clock_mhz, one.memcpy_gb_per_s)
        if board is not None:
            found.append(
                Sample(
                    board=board,
                    network=SIZES_OF.get(one.model, one.model),
                    counts=one.counts,
                    file_bytes=one.file_bytes,
                    latency_ms=one.latency_ms,
                )
            )
    return tuple(found)


def _note(profile: DeviceProfile, references: Sequence[CountedReference], what: str) -> str:
    parts = [f"estimated from {len(references)} published latencies of {what} on {', '.join(_boards(references))}"]
    if profile.cpu not in {one.cpu for one in references}:
        parts.append(f"none of them has a {profile.cpu}")
    if any(one.runtime == XNNPACK for one in references):
        parts.append("they were published in 2022, and LiteRT has a newer XNNPACK than they were measured with")
    return "; ".join(parts)
