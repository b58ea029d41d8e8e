"""What the comparison with peers found: per network and precision the times of all sides, the verdict, the table.

Nothing is measured here. The bar: the best of our ways from the raw input to the label takes at most 1.05 times as long
as the best peer, and 6 µs more. For images the peer's time is that of its bare network, fed what the network takes; for
sound it is that of a peer's whole path, as a log-mel front end is work that no peer can leave out.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ALLOWED_RATIO",
    "ALLOWED_US",
    "BUNDLE",
    "FP32",
    "INT8",
    "ITEMS_FILE",
    "PEERS",
    "SITE",
    "Cell",
    "Rounds",
    "table",
]

FP32, INT8 = "fp32", "int8"
SITE = Path(__file__).parents[1] / ".build" / "peers"
"""Where ``make peers`` puts the libraries that are not in .venv."""
BUNDLE = "ours.edgeml"
ITEMS_FILE = "items.npz"
PEERS = ("ONNX Runtime", "LiteRT", "OpenVINO", "ncnn", "ExecuTorch")
OURS = ("onnx", "tflite", "onnx on openvino")
ALLOWED_RATIO = 1.05
ALLOWED_US = 6.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Rounds:
    """One way to a result: the median of each round's calls, in µs.

    Attributes:
        loads: Per freshly loaded model, the rounds.
    """

    loads: tuple[tuple[float, ...], ...]

    @property
    def us(self) -> float:
        """Median over the loads of the median over their rounds."""
        return median(median(rounds) for rounds in self.loads)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One network in one precision.

    Attributes:
        network: Its name in the zoo.
        precision: ``fp32`` or ``int8``.
        sound: Whether the peers' whole path is what counts.
        bare: Peer → its bare network.
        full: Peer → its path from the raw input to the label, written by hand.
        ours: Format, or format and backend → ``Model.predict`` from the raw input to the label.
        missing: Peer or way of ours → why it has no time.
    """

    network: str
    precision: str
    sound: bool
    bare: Mapping[str, Rounds]
    full: Mapping[str, Rounds]
    ours: Mapping[str, Rounds]
    missing: Mapping[str, str]

    @property
    def best_ours(self) -> str:
        """Our fastest way."""
        return min(self.ours, key=lambda name: self.ours[name].us)

    @property
    def compared(self) -> Mapping[str, Rounds]:
        """The peers' times that count."""
        return self.full if self.sound else self.bare

    @property
    def best_peer(self) -> str:
        """The fastest peer."""
        return min(self.compared, key=lambda name: self.compared[name].us)

    @property
    def ratio(self) -> float:
        """Our best ÷ the best peer."""
        return self.ours[self.best_ours].us / self.compared[self.best_peer].us

    @property
    def spread(self) -> tuple[float, float]:
        """Lowest and highest ratio of the same two over the loads."""
        pairs = zip(self.ours[self.best_ours].loads, self.compared[self.best_peer].loads, strict=True)
        ratios = [median(ours) / median(peer) for ours, peer in pairs]
        return min(ratios), max(ratios)

    @property
    def limit_us(self) -> float:
        """What our best may take."""
        return ALLOWED_RATIO * self.compared[self.best_peer].us + ALLOWED_US

    @property
    def reached(self) -> bool:
        """Whether it keeps to that."""
        return self.ours[self.best_ours].us <= self.limit_us

    def to_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Cell:
        """Read what :meth:`to_dict` wrote, through JSON or not."""
        times = {
            side: {name: Rounds(loads=tuple(map(tuple, rounds["loads"]))) for name, rounds in data[side].items()}
            for side in ("bare", "full", "ours")
        }
        return cls(
            network=data["network"],
            precision=data["precision"],
            sound=data["sound"],
            missing=dict(data["missing"]),
            **times,
        )


def table(cells: Sequence[Cell]) -> str:
    """Markdown: one row per network and precision, and below it why times are missing."""
    head = ["network", *PEERS, *(f"ours: {name}" for name in OURS), "ours ÷ best peer", "loads", "limit", ""]
    rows = [head, ["---"] * len(head), *(_row(cell) for cell in cells)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    reasons = {f"{name}, {cell.precision}: {why}" for cell in cells for name, why in cell.missing.items()}
    return "\n".join([*lines, *([""] if reasons else []), *(f"- {reason}" for reason in sorted(reasons))])


def _row(cell: Cell) -> list[str]:
    low, high = cell.spread
    return [
        f"{cell.network}, {cell.precision}",
        *(_peer(cell, name) for name in PEERS),
        *(_us(cell.ours.get(name), bold=name == cell.best_ours) for name in OURS),
        f"{cell.ratio:.2f}",
        f"{low:.2f} – {high:.2f}",
        f"{cell.limit_us:.1f}",
        "reached" if cell.reached else "**missed**",
    ]


def _peer(cell: Cell, name: str) -> str:
    best = name == cell.best_peer
    bare = _us(cell.bare.get(name), bold=best and not cell.sound)
    return f"{bare} / {_us(cell.full.get(name), bold=best and cell.sound)}" if name in cell.bare else "–"


def _us(rounds: Rounds | None, *, bold: bool) -> str:
    if rounds is None:
        return "–"
    return f"**{rounds.us:.1f}**" if bold else f"{rounds.us:.1f}"
