"""A network that is not ours: the timm project of docs/bring-your-own.md, trained, exported and benched."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TIMM = ROOT / ".build" / "timm"
DOCUMENT = (ROOT / "docs" / "bring-your-own.md").read_text(encoding="utf-8")
COLOURS = {"apple": (200, 30, 40), "banana": (220, 210, 60), "kiwi": (110, 140, 30)}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not (TIMM / ".edgeml-ready").is_file(), reason=f"no {TIMM.relative_to(ROOT)}: make timm"),
]

# Lightning looks for torchvision when it is imported, so timm's becomes visible only after that. Where it was built for
# a PyTorch with CUDA and this one is without, its operators do not load; no network for classification uses them, but
# importing it asks for two.
EDGEML = """
import sys
from importlib import metadata

import torch
import edgeml_train.pipeline

sys.path.append(sys.argv.pop(1))
if torch.version.cuda is None and "+" not in metadata.version("torchvision"):
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

from edgeml_cli.main import main

sys.exit(main(sys.argv[1:]))
"""


def block(language: str, word: str) -> str:
    """The first code block in that language that holds the word."""
    blocks = re.findall(rf"^```{language}\n(.*?)^```", DOCUMENT, re.MULTILINE | re.DOTALL)
    return str(next(text for text in blocks if word in text))


def run(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    """Run ``edgeml … --json`` where timm can be imported."""
    line = [sys.executable, "-c", EDGEML, str(TIMM), *map(str, arguments), "--json"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith("MLFLOW_")}
    done = subprocess.run(line, cwd=cwd, capture_output=True, text=True, env=kept, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    loaded: dict[str, Any] = json.loads(done.stdout)
    return loaded


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The documented project, with flat colours for photographs."""
    run("init", "fruit", "--template", "blank", cwd=tmp_path)
    folder = tmp_path / "fruit"
    (folder / "edgeml.toml").write_text(block("toml", "[model]"), encoding="utf-8")
    (folder / "task.py").write_text(block("python", "import timm"), encoding="utf-8")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "photographs" / name).mkdir(parents=True)
        for index in range(80):
            pixels = np.array(colour) * rng.uniform(0.8, 1.15) + rng.normal(0, 12, (48, 48, 3))
            picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
            picture.save(folder / "photographs" / name / f"{index}.png")
    return folder


def show(training: dict[str, Any], export: dict[str, Any], bench: dict[str, Any]) -> None:
    """The figures of docs/results.md, with -s."""
    latency = {variant["id"]: variant["latency_ms"] for variant in bench["variants"]}
    print(f"\n{training['parameters']} parameters, accuracy {training['metric']['value']:.3f}")
    for variant in sorted(export["variants"], key=lambda entry: str(entry["id"])):
        times = ", ".join(f"{name} {value:.3f} ms" for name, value in latency[variant["id"]].items() if value)
        print(f"{variant['id']}: {variant['metric']['value']:.3f}, {variant['bytes']} bytes, {times}")


def test_a_network_of_timm_is_trained_exported_and_benched(project: Path) -> None:
    where = project.parent
    training = run("train", "fruit", "--set", "train.epochs=20", cwd=where)
    export = run("export", "fruit", cwd=where)
    bundle = Path(export["bundle"])
    bench = run("bench", bundle, cwd=where)
    prediction = run("predict", bundle, project / "photographs" / "kiwi" / "0.png", cwd=where)

    assert training["parameters"] > 500_000
    assert training["floor_met"]
    assert {v["id"] for v in export["variants"] if v["shipped"]} == {
        f"{form}-{precision}" for form in ("onnx", "tflite") for precision in ("fp32", "int8")
    }
    assert all(variant["latency_ms"]["p50"] > 0 for variant in bench["variants"])
    show(training, export, bench)
    assert prediction["label"] == "kiwi"
