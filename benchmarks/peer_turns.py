"""Time every peer and ours on one network, in turns within this one process, from the files of ``peer_files.py``.

``python benchmarks/peer_turns.py NETWORK PRECISION FOLDER`` prints one JSON object. Before anything is timed, every
side has to compute what PyTorch does: a fast peer that is wrong is left out, with what was found, and where ours is
wrong the comparison ends. A round is a few calls of every side, in an order drawn anew; a side's time in it is the
median of its calls. One thread: a side that takes more processor time than time ends the comparison too.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

import numpy as np
from peer_calls import LOADERS, PeerMissingError
from peer_fronts import FRONT_FILE, is_sound, load_front
from peer_table import BUNDLE, FP32, INT8, ITEMS_FILE, SITE, Cell, Rounds

from edgeml_runtime import Model
from edgeml_runtime.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from peer_calls import Peer
    from peer_fronts import Front

    Array = NDArray[Any]
    Call = Callable[[], object]

OURS = {"onnx": ("onnx", None), "tflite": ("tflite", None), "onnx on openvino": ("onnx", "openvino")}

ROUND_NS = 2_000_000
LEAST_CALLS = 3
# Distance from PyTorch as a share of the standard deviation of what PyTorch gives: the largest for fp32, with the
# export's own bound; the root mean square for int8, where the errors of many layers of random weights add up and the
# decisions say more. A wrong scale or layout comes to 1 and more, and to the agreement of chance.
CLOSE = {FP32: 1e-4, INT8: 1.0}
AGREEMENT = {FP32: 1.0, INT8: 0.85}
ONE_THREAD = 1.2


class WrongResultError(Exception):
    """A side does not compute what PyTorch does; the message says how far off it is."""


def main() -> int:
    """Check, time, and print."""
    options = parse_arguments()
    sys.path.append(str(SITE))
    items = dict(np.load(options.folder / ITEMS_FILE))
    sides: dict[str, list[list[float]]] = {}
    for _ in range(options.loads):
        calls, missing = load(options.folder, options.precision, items)
        for name, rounds in time_in_turns(calls, rounds=options.rounds).items():
            sides.setdefault(name, []).append(rounds)
        del calls
        gc.collect()
    times = {name: Rounds(loads=tuple(map(tuple, found))) for name, found in sides.items()}
    cell = Cell(
        network=options.network,
        precision=options.precision,
        sound=is_sound(options.folder / FRONT_FILE),
        missing=missing,
        **{
            side: {name.partition(": ")[2]: found for name, found in times.items() if name.startswith(side)}
            for side in ("bare", "full", "ours")
        },
    )
    print(json.dumps(cell.to_dict()))
    return 0


def parse_arguments() -> argparse.Namespace:
    """The script's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", help="name for the report")
    parser.add_argument("precision", choices=(FP32, INT8))
    parser.add_argument("folder", type=Path, help="as peer_files.py filled it")
    parser.add_argument("--loads", type=int, default=5, help="how often every side is loaded afresh (%(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="turns of every side after a load (%(default)s)")
    return parser.parse_args()


def load(folder: Path, precision: str, items: Mapping[str, Array]) -> tuple[dict[str, Call], dict[str, str]]:
    """Every side as a call without arguments, checked; and why some are missing."""
    calls: dict[str, Call] = {}
    missing: dict[str, str] = {}
    for name, loader in LOADERS.items():
        try:
            peer = loader(folder, precision)
        except PeerMissingError as error:
            missing[name] = str(error)
            continue
        front = load_front(folder / FRONT_FILE, channels_last=peer.channels_last)
        try:
            check_peer(precision, peer, front, items)
        except WrongResultError as error:
            missing[name] = str(error)
            continue
        calls[f"bare: {name}"] = bare_call(peer, front, items["raw"][0])
        calls[f"full: {name}"] = full_call(peer, front, items["raw"][0], reconstructs=reconstructs(items))
    for name, (form, backend) in OURS.items():
        try:
            model = Model.load(folder / BUNDLE, variant=f"{form}-{precision}", backend=backend)
        except BackendError as error:
            missing[name] = str(error).removeprefix(f"{folder / BUNDLE}: ")
            continue
        check_ours(precision, model, items)
        calls[f"ours: {name}"] = our_call(model, items["raw"][0])
    return calls, missing


def reconstructs(items: Mapping[str, Array]) -> bool:
    """Whether the network gives its input again, and the error is the result."""
    return bool(items["full"].shape[1] == 1)


def bare_call(peer: Peer, front: Front, raw: Array) -> Call:
    """The peer's network alone, fed what it takes."""
    run, prepared = peer.run, peer.prepare(front(raw))
    return lambda: run(prepared)


def full_call(peer: Peer, front: Front, raw: Array, *, reconstructs: bool) -> Call:
    """The peer's path from the raw input to the decision, as an application writes it."""
    prepare, run, finish = peer.prepare, peer.run, peer.finish

    def error() -> float:
        values = front(raw)
        difference = finish(run(prepare(values)))
        difference = difference - values
        return float(np.vdot(difference, difference)) / difference.size

    def label() -> str:
        return labels[finish(run(prepare(front(raw)))).argmax()]

    labels = [f"class-{index}" for index in range(finish(run(prepare(front(raw)))).size)]
    return error if reconstructs else label


def our_call(model: Model, raw: Array) -> Call:
    """Our path: the label, or the one value where there are no labels."""
    predict = model.predict
    if model.predict(raw).label is None:
        (name,) = model.predict(raw).outputs
        return lambda: predict(raw).outputs[name]
    return lambda: predict(raw).label


def check_peer(precision: str, peer: Peer, front: Front, items: Mapping[str, Array]) -> None:
    """Refuse a peer that computes something else than PyTorch, from the raw items by its front."""
    found = [np.array(peer.finish(peer.run(peer.prepare(front(raw))))) for raw in items["raw"]]
    check(precision, np.concatenate(found), items["bare"], decides=not reconstructs(items))


def check_ours(precision: str, model: Model, items: Mapping[str, Array]) -> None:
    """The same for a variant of ours, by its first output."""
    found = [next(iter(model.predict(raw).outputs.values())) for raw in items["raw"]]
    check(precision, np.stack(found), items["full"], decides=not reconstructs(items))


def check(precision: str, found: Array, expected: Array, *, decides: bool) -> None:
    """Refuse results that are not those of PyTorch.

    Args:
        precision: Decides how close is close.
        found: [items, …].
        expected: The same of PyTorch.
        decides: Whether the largest of an item's values is its class.

    Raises:
        WrongResultError: They are not.
    """
    expected = expected.reshape(len(expected), -1)
    found = found.reshape(expected.shape)
    if precision == FP32:
        distance = float(np.abs(found - expected).max() / expected.std())
    else:
        distance = float(np.sqrt(np.square(found - expected).mean()) / expected.std())
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean()) if decides else 1.0
    if not distance <= CLOSE[precision] or agreement < AGREEMENT[precision]:
        raise WrongResultError(
            f"expected PyTorch's results within {CLOSE[precision]:g} of their standard deviation, found {distance:.3g} "
            f"and {agreement:.0%} of the decisions"
        )


def time_in_turns(calls: Mapping[str, Call], *, rounds: int) -> dict[str, list[float]]:
    """Median time of a call in µs, per side and round."""
    numbers = {name: calls_per_round(name, call) for name, call in calls.items()}
    found: dict[str, list[float]] = {name: [] for name in calls}
    draw = random.Random(0)
    order = list(calls)
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        draw.shuffle(order)
        for name in order:
            found[name].append(median(call_times_ns(calls[name], numbers[name])) / 1e3)
    gc.unfreeze()
    return found


def call_times_ns(call: Call, number: int) -> Sequence[int]:
    """Time of each of some calls in a row."""
    clock = time.perf_counter_ns
    times = []
    for _ in range(number):
        begun = clock()
        call()
        times.append(clock() - begun)
    return times


def calls_per_round(name: str, call: Call) -> int:
    """Calls that fill a round, after warming up; refuses a side that works on more than one thread."""
    call_times_ns(call, 10)
    number = max(LEAST_CALLS, round(ROUND_NS / median(call_times_ns(call, 5))))
    shares = []
    for _ in range(5):
        begun, used = time.perf_counter_ns(), time.process_time_ns()
        call_times_ns(call, number)
        shares.append((time.process_time_ns() - used) / (time.perf_counter_ns() - begun))
    if median(shares) > ONE_THREAD:
        raise SystemExit(f"{name}: expected one thread, found {median(shares):.1f} times its time as processor time")
    return number


if __name__ == "__main__":
    sys.exit(main())
