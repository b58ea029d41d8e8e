"""How series are cut into items, from ``[data]`` and the contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_runtime.contract import TargetKind
from edgeml_runtime.fields import FaultCollector, Table, describe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_runtime.contract import Contract

__all__ = ["INPUTS", "SeriesSettings"]

INPUTS = ("readings", "level", "spread")

_TRAIN, _VALIDATION, _MAX_LEFT_OUT = 0.3, 0.15, 0.01
_REFERENCE_DAYS = 7.0
_DAY_S = 24 * 60 * 60
_YEAR_S = 366 * _DAY_S


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesSettings:
    """How series are cut into items.

    Attributes:
        series: Which series, as paths with ``*`` and ``?``.
        interval_s: Seconds from one reading to the next, the same in every series.
        window: Readings in an item.
        stride: Readings from one item to the next.
        reference: Readings before a window that tell what is usual for the machine; a day of them must be there.
        day: Readings of a day, at least 1.
        train: Share of each series, its first part, that trains.
        validation: Share that comes next and validates; the rest tests.
        max_left_out: Largest share of a series' readings that may be out of order.
    """

    series: tuple[str, ...]
    interval_s: int
    window: int
    stride: int
    reference: int
    day: int
    train: float
    validation: float
    max_left_out: float

    @classmethod
    def parse(cls, contract: Contract, data: Mapping[str, Any]) -> SeriesSettings:
        """Read the settings.

        Args:
            contract: Its first input gives the window, ``anomaly.item_minutes`` the stride.
            data: The ``[data]`` table.

        Returns:
            The settings.

        Raises:
            ContractError: With every fault of ``[data]``, and where the contract is no anomaly task over such windows.
        """
        faults = FaultCollector()
        table = Table(dict(data), "data", faults)
        interval_s = table.integer("interval_s", low=1, high=_YEAR_S)
        reference_days = table.number("reference_days", _REFERENCE_DAYS, low=1, high=366)
        minutes = contract.anomaly.item_minutes if contract.anomaly else 0.0
        settings = cls(
            series=table.texts("series"),
            interval_s=interval_s,
            window=contract.inputs[0].shape[0],
            stride=round(60 * minutes / max(interval_s, 1)),
            reference=max(1, round(reference_days * _DAY_S / max(interval_s, 1))),
            day=max(1, _DAY_S // max(interval_s, 1)),
            train=table.number("train", _TRAIN, low=0.01, high=0.98),
            validation=table.number("validation", _VALIDATION, low=0.01, high=0.98),
            max_left_out=table.number("max_left_out", _MAX_LEFT_OUT, low=0, high=1),
        )
        if not settings.series and faults.clean("data.series"):
            faults.add("data.series", "at least one path below data/, such as machines/*", "an empty list")
        if settings.train + settings.validation > 0.99 and faults.clean("data.train", "data.validation"):
            found = f"{settings.train + settings.validation:g}"
            faults.add("data.train", "shares that leave a part for the test, together below 0.99", found)
        if faults.clean("data.interval_s"):
            _check_contract(contract, settings, faults)
        faults.raise_if_any("edgeml.toml")
        return settings


def _check_contract(contract: Contract, settings: SeriesSettings, faults: FaultCollector) -> None:
    if contract.target.kind is not TargetKind.ANOMALY or contract.anomaly is None:
        faults.add("target.kind", "'anomaly' for windows of time series", describe(contract.target.kind.value))
        return
    names, shapes = [spec.name for spec in contract.inputs], [spec.shape for spec in contract.inputs]
    if names != list(INPUTS) or len(shapes[0]) != 1 or shapes[1:] != [(1,), (1,)]:
        expected = "readings of shape [window], then level and spread of shape [1]"
        found = ", ".join(f"{name} {list(shape)}" for name, shape in zip(names, shapes, strict=True))
        faults.add("inputs", expected, found)
    minutes = contract.anomaly.item_minutes
    if settings.stride < 1 or abs(settings.stride * settings.interval_s - 60 * minutes) > 1e-6:
        expected = f"a multiple of data.interval_s, which is {settings.interval_s} s"
        faults.add("anomaly.item_minutes", expected, f"{minutes:g} minutes")
