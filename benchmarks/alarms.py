"""Alarms from the time series of the Numenta Anomaly Benchmark, beside those of two simple rules.

``python benchmarks/alarms.py --nab FOLDER`` (FOLDER is a clone of github.com/numenta/NAB) uses the ``edgeml`` command
as a user would, with the defaults of the template, then with other initial weights, and with the temperature of the
machine alone. It prints rows of Markdown and exits 1 when a bar is missed.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bars import Figure, cpu_seconds, make, members
from commands import edgeml

if TYPE_CHECKING:
    from collections.abc import Iterator

SEEDS = 3
MACHINE = 'data.series=["realKnownCause/machine_temperature*"]'


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--nab", type=Path, required=True, help="clone of the Numenta Anomaly Benchmark")
    parser.add_argument("--work", type=Path, default=Path(".build/alarms"), help="where the projects are made")
    options = parser.parse_args()
    figures = measure(options.work.resolve(), options.nab.resolve())
    print("| figure | value | bar | |\n|---|---|---|---|")
    print("\n".join(figure.row() for figure in figures))
    return int(any(figure.reached is False for figure in figures))


def measure(work: Path, nab: Path) -> list[Figure]:
    """The template from nothing to a bundle, and what its alarms are worth."""
    started, before = time.monotonic(), cpu_seconds()
    project = make(work, "alarms", "machine-temperature", "--data", str(nab))
    trained = edgeml("train", str(project))
    export = edgeml("export", str(project), "--out", str(work / "first"))
    took, computed = time.monotonic() - started, cpu_seconds() - before
    again = edgeml("export", str(project), "--out", str(work / "second"))
    figures = [
        Figure(
            what="from `init` to a bundle of four variants",
            value=f"{took:.0f} s, {computed:.0f} s of CPU",
            bar="≤ 360 s",
            reached=took <= 360,
        ),
        *areas(trained),
        *alarms(trained),
        *variants(export, again),
    ]
    for seed in range(1, SEEDS):
        figures += [line(f"`train.seed={seed}`", edgeml("train", str(project), "--set", f"train.seed={seed}"))]
    return [*figures, line("the machine's temperature alone", edgeml("train", str(project), "--set", MACHINE))]


def areas(trained: dict[str, Any]) -> Iterator[Figure]:
    """The pooled area, and how much larger it is than that of each rule."""
    metric = trained["metric"]
    yield Figure(what=f"pooled ROC AUC, {trained['split']}", value=spread(metric), bar="–", reached=None)
    for rule in trained["anomaly"]["rules"]:
        for name in ("roc_auc", "partial_auc"):
            found = rule["advantages"][name]
            own = next(area["value"] for area in rule["areas"] if area["name"] == name)
            judged = name == "roc_auc"
            yield Figure(
                what=f"{name}, model − {rule['name']} ({own:.4f})",
                value=spread(found, sign="+"),
                bar="above 0" if judged else "–",
                reached=found["value"] > 0 if judged else None,
            )


def alarms(trained: dict[str, Any]) -> Iterator[Figure]:
    """Events found and false alarms of the model and the rules."""
    report = trained["anomaly"]
    yield Figure(what="alarms of the model", value=worth(report["alarms"]), bar="–", reached=None)
    for rule in report["rules"]:
        found = rule["recall_advantage"]
        yield Figure(what=f"alarms of {rule['name']}", value=worth(rule["alarms"]), bar="–", reached=None)
        yield Figure(
            what=f"event recall, model − {rule['name']}",
            value=spread(found, sign="+"),
            bar="above 0",
            reached=found["value"] > 0,
        )


def variants(first: dict[str, Any], second: dict[str, Any]) -> Iterator[Figure]:
    """What each variant loses, and whether it comes out the same twice."""
    contents = [members(Path(report["bundle"])) for report in (first, second)]
    for variant in first["variants"]:
        file = f"variants/{variant['id']}.{variant['id'].partition('-')[0]}"
        same = contents[0][file] == contents[1][file]
        loss, events = variant["paired_loss"]["drop"], variant["event_loss"]
        yield Figure(
            what=f"{variant['id']}, lost",
            value=f"{loss:+.4f} of the area, {events['lost'] - events['gained']:+d} of {events['events']} events, "
            f"{variant['alarms']['false_alarms_per_day']:.2f} false alarms a day; "
            f"{'identical' if same else 'differs'} twice",
            bar="≤ 0.01, no event; identical twice",
            reached=variant["shipped"] and loss <= 0.01 and same,
        )


def line(what: str, trained: dict[str, Any]) -> Figure:
    """One training in a line."""
    rules = ", ".join(
        f"{rule['name']} {rule['areas'][0]['value']:.3f} and {rule['alarms']['found']}"
        for rule in trained["anomaly"]["rules"]
    )
    value = f"ROC AUC {spread(trained['metric'])}, {worth(trained['anomaly']['alarms'])}; {rules}"
    return Figure(what=what, value=value, bar="–", reached=None)


def worth(found: dict[str, Any]) -> str:
    """Events and false alarms."""
    return f"{found['found']} of {found['events']} events, {found['false_alarms_per_day']:.2f} false alarms a day"


def spread(entry: dict[str, Any], sign: str = "") -> str:
    """A value with its interval."""
    interval = entry["interval"]
    return f"{entry['value']:{sign}.4f} [{interval['low']:{sign}.3f}, {interval['high']:{sign}.3f}]"


if __name__ == "__main__":
    sys.exit(main())
