"""Who may import whom: the table of rooms, checked on every import statement of every module, lazy ones included."""

from __future__ import annotations

import ast
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One room: its folder, and what it may import besides the standard library and itself."""

    folder: str
    rooms: frozenset[str]
    third_party: frozenset[str]


def room(folder: str, rooms: str, third_party: str) -> Room:
    return Room(folder=folder, rooms=frozenset(rooms.split()), third_party=frozenset(third_party.split()))


BACKENDS = "onnxruntime ai_edge_litert tflite_runtime tensorflow openvino"
EXPORT = f"flatbuffers numpy torch onnx onnxscript onnxruntime litert_torch ai_edge_quantizer {BACKENDS}"

ROOMS = {
    "edgeml_runtime": room("runtime", "", f"numpy PIL {BACKENDS}"),
    "edgeml_pages": room("pages", "", ""),
    "edgeml_evaluate": room("evaluate", "edgeml_pages edgeml_runtime", "numpy scipy sklearn"),
    "edgeml_devices": room("devices", "edgeml_pages edgeml_runtime", "numpy pytest pytest_benchmark"),
    "edgeml_export": room("export", "edgeml_evaluate edgeml_pages edgeml_runtime", EXPORT),
    "edgeml_train": room(
        "train",
        "edgeml_export edgeml_devices edgeml_evaluate edgeml_pages edgeml_runtime",
        "numpy PIL pyarrow safetensors sklearn threadpoolctl torch lightning mlflow optuna",
    ),
    "edgeml_fleet": room("fleet", "edgeml_evaluate edgeml_pages edgeml_runtime", "numpy starlette uvicorn duckdb tuf"),
    "edgeml_cli": room(
        "cli",
        "edgeml_train edgeml_fleet edgeml_export edgeml_devices edgeml_evaluate edgeml_pages edgeml_runtime",
        "click rich numpy",
    ),
}
THIRD_PARTY = frozenset().union(*(entry.third_party for entry in ROOMS.values())) | {
    "pandas",
    "pydantic",
    "librosa",
    "scipy",
}
MODULES = [
    pytest.param(package, path, id=str(path.relative_to(ROOT)))
    for package, entry in ROOMS.items()
    for path in sorted((ROOT / entry.folder / package).rglob("*.py"))
]


def imported_names(source: str) -> set[str]:
    """Top-level names a module imports anywhere, also through ``import_module`` and ``"module:object"`` tables."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=aliases):
                names |= {alias.name for alias in aliases}
            case ast.ImportFrom(module=str(module), level=0):
                names.add(module)
            case ast.ImportFrom():
                names.add(".relative")
            case ast.Call(
                func=ast.Name(id="__import__") | ast.Name(id="import_module"), args=[ast.Constant(value=str(name)), *_]
            ):
                names.add(name)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(name)), *_]):
                names.add(name)
            case ast.Constant(value=str(text)) if text.startswith("edgeml_") and ":" in text and text.count(" ") == 0:
                names.add(text.partition(":")[0])
    return {name.split(".")[0] or name for name in names}


def forbidden(package: str, names: set[str]) -> set[str]:
    """Those of the imported names that the room may not import."""
    allowed = ROOMS[package].rooms | ROOMS[package].third_party | {package, "__future__"} | sys.stdlib_module_names
    return names - allowed


@pytest.mark.parametrize(("package", "path"), MODULES)
def test_room_imports_only_what_the_table_allows(package, path):
    assert forbidden(package, imported_names(path.read_text(encoding="utf-8"))) == set()


@pytest.mark.parametrize(
    ("package", "source", "found"),
    [
        ("edgeml_runtime", "import torch", {"torch"}),
        ("edgeml_runtime", "def f():\n    from edgeml_evaluate.metrics import decide", {"edgeml_evaluate"}),
        ("edgeml_runtime", "import edgeml_pages", {"edgeml_pages"}),
        ("edgeml_pages", "import numpy\nfrom edgeml_runtime import errors", {"numpy", "edgeml_runtime"}),
        ("edgeml_evaluate", "import importlib\nimportlib.import_module('edgeml_devices.bench')", {"edgeml_devices"}),
        ("edgeml_devices", "TABLE = {'a': 'edgeml_export.onnx:Class'}", {"edgeml_export"}),
        ("edgeml_export", "import edgeml_cli.main as m", {"edgeml_cli"}),
        ("edgeml_cli", "from . import session", {".relative"}),
        ("edgeml_train", "import torch, json\nfrom edgeml_export import x", set()),
    ],
)
def test_a_forbidden_import_is_seen(package, source, found):
    assert forbidden(package, imported_names(source)) == found


def test_arrows_go_down_only():
    floors = {
        "edgeml_runtime": 1, "edgeml_pages": 1, "edgeml_evaluate": 2, "edgeml_devices": 2, "edgeml_export": 3,
        "edgeml_train": 4, "edgeml_fleet": 4, "edgeml_cli": 5,
    }  # fmt: skip
    upward = [(name, below) for name, entry in ROOMS.items() for below in entry.rooms if floors[below] >= floors[name]]
    assert upward == []


def test_every_room_is_in_the_table():
    packages = {path.parent.name for path in ROOT.glob("*/edgeml_*/__init__.py")}
    assert packages == set(ROOMS)


@pytest.mark.parametrize("package", ROOMS)
def test_lint_bans_what_the_table_forbids(package):
    entry = ROOMS[package]
    config = tomllib.loads((ROOT / entry.folder / "ruff.toml").read_text(encoding="utf-8"))
    banned = set(config["lint"]["flake8-tidy-imports"]["banned-api"])
    assert banned == (set(ROOMS) | THIRD_PARTY) - entry.rooms - entry.third_party - {package}
    assert config["extend"] == "../pyproject.toml"
