"""Measure what distillation and slimming give, by the commands a user runs.

``python benchmarks/slimming.py --fsdd FOLDER`` makes the projects in ``--work`` (default ``.build/slimming``), trains a
wide teacher, a student, and the student taught, slimmed to half of its channels, and both, beside a network of that
half width trained from scratch; exports each, and prints one Markdown table per project. ``--seeds`` repeats the
trainings with other seeds and prints a second table. Without ``--fsdd`` only the handwritten digits are measured.

``python benchmarks/slimming.py --widths`` prints how long a DS-CNN of each width takes in ONNX Runtime, random weights.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
import torch
from commands import edgeml

from edgeml_evaluate import decide
from edgeml_runtime.measure.loop import measure_interleaved, quantile
from edgeml_train import Project, load_run
from edgeml_train.fused import predict_array
from edgeml_train.networks import ds_cnn

if TYPE_CHECKING:
    from numpy.typing import NDArray

PAIRS = (
    ("student, taught", "student"),
    ("student, slimmed to half, taught", "student, slimmed to half"),
    ("half as wide from scratch, taught", "half as wide from scratch"),
    ("student, slimmed to half", "half as wide from scratch, trained on"),
    ("student, slimmed to half", "student, trained on"),
)
"""What is compared with what, the same test items drawn with replacement for both."""
REPLICATES = 10_000
WIDTHS = (64, 60, 56, 52, 48, 44, 40, 36, 32, 28, 24, 20, 16)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One project and how wide its networks are.

    Attributes:
        name: The project's folder.
        what: What it is, for the heading.
        key: The setting that is the network's width.
        student: Width of the student.
        teacher: Width of the teacher.
        init: Arguments of ``edgeml init``.
        settings: Arguments of every training.
    """

    name: str
    what: str
    key: str
    student: int
    teacher: int
    init: tuple[str, ...]
    settings: tuple[str, ...] = ()

    def width(self, channels: int) -> tuple[str, ...]:
        """Arguments that choose a width."""
        return "--set", f"{self.key}={channels}"


def main() -> int:
    """Measure and print."""
    options = parse_arguments()
    if options.widths:
        print_widths()
        return 0
    work: Path = options.work.resolve()
    subjects = [
        Subject(
            name="slim-digits",
            what="handwritten digits",
            key="data.width",
            student=16,
            teacher=64,
            init=("--template", "handwritten-digits"),
        )
    ]
    if options.fsdd is not None:
        subjects.append(
            Subject(
                name="slim-words",
                what="spoken digits, held-out speakers",
                key="data.channels",
                student=32,
                teacher=64,
                init=("--template", "spoken-digits", "--data", str(options.fsdd.resolve())),
            )
        )
    for subject in subjects:
        if options.only in (None, subject.name):
            measure(subject, work, options.seeds)
    return 0


def parse_arguments() -> argparse.Namespace:
    """The script's options."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--fsdd", type=Path, help="folder of the Free Spoken Digit Dataset")
    parser.add_argument("--work", type=Path, default=Path(".build/slimming"), help="where the projects are made")
    parser.add_argument("--seeds", type=int, default=1, help="how many trainings of each, with seeds 0, 1, …")
    parser.add_argument("--widths", action="store_true", help="only the time of a DS-CNN by its width")
    parser.add_argument("--only", help="one project: slim-digits or slim-words")
    return parser.parse_args()


def measure(subject: Subject, work: Path, seeds: int) -> None:
    """Train, export and compare one project, and print its tables."""
    project = work / subject.name
    shutil.rmtree(project, ignore_errors=True)
    work.mkdir(parents=True, exist_ok=True)
    edgeml("init", str(project), *subject.init)
    tables = []
    for seed in range(seeds):
        runs = trained(subject, project, ("--set", f"train.seed={seed}", *subject.settings))
        for run_id in runs.values() if seed == 0 else ():
            edgeml("export", str(project), "--run", run_id, "--out", str(work))
        tables.append((list(runs), edgeml("compare", str(project), *runs.values(), "--seconds", "3")))
    print(f"\n### {subject.what}\n")
    print_first(*tables[0])
    if seeds > 1:
        print_seeds(tables)
    print_gains(project, [dict(zip(names, ids(comparison), strict=True)) for names, comparison in tables])
    sys.stdout.flush()


def trained(subject: Subject, project: Path, settings: tuple[str, ...]) -> dict[str, str]:
    """Every model: name → run, the one that the others are compared with first."""

    def train(*arguments: str) -> str:
        return str(edgeml("train", str(project), *settings, *arguments)["run_id"])

    whole, half = subject.width(subject.student), subject.width(subject.student // 2)
    student, teacher, narrow = train(*whole), train(*subject.width(subject.teacher)), train(*half)
    slim = ("--slim", student, "--set", "train.keep=0.5")
    # What is slimmed has been trained twice: so have these, without losing a channel.
    longer = ("--set", "train.keep=1.0")
    return {
        "student": student,
        "student, trained on": train("--slim", student, *longer),
        "teacher": teacher,
        "student, taught": train(*whole, "--teacher", teacher),
        "student, slimmed to half": train(*slim),
        "student, slimmed to half, taught": train(*slim, "--teacher", teacher),
        "half as wide from scratch": narrow,
        "half as wide from scratch, trained on": train("--slim", narrow, *longer),
        "half as wide from scratch, taught": train(*half, "--teacher", teacher),
    }


def print_first(names: list[str], comparison: dict[str, Any]) -> None:
    """One row for each model: quality, work, size and speed."""
    metric = comparison["runs"][0]["metric"]
    print(
        f"{comparison['split']}, {metric['n']} test items; sizes and times of {comparison['variant']}.\n\n"
        f"| model | {metric['name']} | against the student | parameters | MACs | int8 {metric['name']} | file | bundle "
        "| time ÷ student |\n|---|---|---|---|---|---|---|---|---|"
    )
    for name, run in zip(names, comparison["runs"], strict=True):
        interval, shipped = run["metric"]["interval"], run["shipped"]
        better = "–"
        if run["interval"]:
            better = f"{run['better']:+.4f} [{run['interval']['low']:+.3f}, {run['interval']['high']:+.3f}]"
        cells = "not shipped: int8 loses too much | – | – | – |"
        if shipped:
            cells = (
                f"{shipped['metric']:.4f} | {shipped['bytes'] / 1e3:.1f} kB | {shipped['bundle_bytes'] / 1e3:.0f} kB "
                f"| {shipped['ratio']:.2f} ({shipped['latency_us']:.0f} µs) |"
            )
        print(
            f"| {name} | {run['metric']['value']:.4f} [{interval['low']:.3f}, {interval['high']:.3f}] | {better} "
            f"| {run['parameters']:,} | {run['macs'] / 1e6:.2f} M | {cells}"
        )


def print_seeds(tables: list[tuple[list[str], dict[str, Any]]]) -> None:
    """The metric with every seed, and the mean difference to the student."""
    print(
        f"\n| model | {' | '.join(f'seed {seed}' for seed in range(len(tables)))} | mean | mean against the student |"
    )
    print("|---|" + "---|" * (len(tables) + 2))
    for place, name in enumerate(tables[0][0]):
        values = [comparison["runs"][place]["metric"]["value"] for _, comparison in tables]
        better = [comparison["runs"][place]["better"] or 0.0 for _, comparison in tables]
        cells = " | ".join(f"{value:.4f}" for value in values)
        print(f"| {name} | {cells} | {mean(values):.4f} | {mean(better):+.4f} |")


def print_gains(project: Path, trainings: list[dict[str, str]]) -> None:
    """Pairs of models that differ in one thing, over all seeds."""
    opened = Project.open(project)
    print("\n| | against | mean gain | 95 % interval |\n|---|---|---|---|")
    for better, worse in PAIRS:
        gains = np.mean([right(opened, runs[better]) - right(opened, runs[worse]) for runs in trainings], axis=0)
        draws = np.random.default_rng(0).integers(0, len(gains), (REPLICATES, len(gains)))
        low, high = np.quantile(gains[draws].mean(axis=1), [0.025, 0.975])
        print(f"| {better} | {worse} | {gains.mean():+.4f} | [{low:+.4f}, {high:+.4f}] |")


def right(project: Project, run_id: str) -> NDArray[np.float64]:
    """1 for every test item that a run gets right, 0 for the others."""
    run = load_run(project, run_id)
    outputs = predict_array(run.fused, run.splits.test.inputs)
    return (decide(project.contract, outputs) == run.splits.test.targets).astype(np.float64)


def ids(comparison: dict[str, Any]) -> list[str]:
    """The runs of a comparison, in order."""
    return [run["run_id"] for run in comparison["runs"]]


def print_widths() -> None:
    """Time of a DS-CNN (61×40 features, float32) by its channels, all widths in turns with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    item = np.random.default_rng(0).normal(size=(1, 1, 61, 40)).astype(np.float32)
    runs = {}
    for channels in WIDTHS:
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/model.onnx"
            torch.onnx.export(
                ds_cnn(10, channels=channels).eval(), (torch.from_numpy(item),), file, dynamo=True, verbose=False
            )
            session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: item}
        runs[str(channels)] = partial(session.run, None, feed)
    samples = measure_interleaved(runs, seconds=1.0)
    print("\n| channels | " + " | ".join(runs) + " |\n|---|" + "---|" * len(runs))
    print("| µs | " + " | ".join(f"{quantile(samples[name].all_ns, 0.5) / 1e3:.0f}" for name in runs) + " |")


if __name__ == "__main__":
    sys.exit(main())
