"""A folder of time series laid out as the Numenta Anomaly Benchmark is, small and made up."""

from __future__ import annotations

import json

import numpy as np

STEP_S = 300
START = np.datetime64("2024-01-01T00:00:00")


def stamp(seconds):
    return str(START + np.timedelta64(int(seconds), "s")).replace("T", " ")


def write_series(folder, name, values, *, events=(), times=None):
    """Write one series; events are pairs of positions, times seconds from the start."""
    times = np.arange(len(values)) * STEP_S if times is None else times
    path = folder / "data" / f"{name}.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [f"{stamp(time)},{value}" for time, value in zip(times, values, strict=True)]
    path.write_text("\n".join(["timestamp,value", *rows]) + "\n", "utf-8")
    labels = folder / "labels" / "combined_windows.json"
    labels.parent.mkdir(exist_ok=True)
    known = json.loads(labels.read_text("utf-8")) if labels.exists() else {}
    known[f"{name}.csv"] = [[stamp(times[low]), stamp(times[high])] for low, high in events]
    labels.write_text(json.dumps(known), "utf-8")
    return path


def daily(days, *, level=80.0, spread=2.0, noise=0.5, seed=0):
    """A temperature that rises and falls once a day."""
    count = days * 288
    rng = np.random.default_rng(seed)
    return level + spread * np.sin(2 * np.pi * np.arange(count) / 288) + noise * rng.normal(size=count)


def write_machines(folder, *, machines=3, days=20):
    """Machines that cool down for five hours: at 0.2, 0.42, 0.7 and 0.9 of the time."""
    for machine in range(machines):
        values = daily(days, level=60.0 + 20 * machine, spread=1.0 + machine, seed=machine)
        count = len(values)
        events = [(int(share * count), int(share * count) + 60) for share in (0.2, 0.42, 0.7, 0.9)]
        for low, high in events:
            values[low : high + 1] -= 12.0 * (1.0 + machine)
        write_series(folder, f"machines/m{machine}", np.round(values, 3), events=events)
    return folder
