"""Starting a project from a template."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from edgeml_runtime.errors import InputError, ProjectError, StorageError
from edgeml_train.contract_schema import contract_json_schema
from edgeml_train.settings import train_schema

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TEMPLATES", "Template", "init_project"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """One template.

    Attributes:
        folder: Its folder beside this module.
        summary: What it is, in a line.
        needs_data: Whether a data folder has to be given.
        example: Name of the data file that the template writes when no data are given, and the function
            ``"module:object"`` that writes it; None where it takes no data file.
    """

    folder: str
    summary: str
    needs_data: bool
    example: tuple[str, str] | None = None


TEMPLATES: Mapping[str, Template] = {
    "handwritten-digits": Template(
        folder="handwritten_digits",
        summary="8×8 scans of handwritten digits, bundled with scikit-learn: no download",
        needs_data=False,
    ),
    "spoken-digits": Template(
        folder="spoken_digits",
        summary="spoken digits at 8 kHz, from a folder of the Free Spoken Digit Dataset",
        needs_data=True,
    ),
    "sensor-table": Template(
        folder="sensor_table",
        summary="columns of a CSV or Parquet file; without one, a table of breast-cancer diagnoses from scikit-learn",
        needs_data=False,
        example=("breast-cancer.csv", "edgeml_train.templates.breast_cancer:write_breast_cancer"),
    ),
    "machine-temperature": Template(
        folder="machine_temperature",
        summary="alarms from time series, from a folder of the Numenta Anomaly Benchmark",
        needs_data=True,
    ),
    "sign-digits": Template(
        folder="sign_digits",
        summary="hand signs of digits in photographs, from a folder of the Sign Language Digits Dataset",
        needs_data=True,
    ),
    "blank": Template(
        folder="blank",
        summary="a model of your own: the fewest lines, to be filled in",
        needs_data=False,
    ),
}


def init_project(folder: str | Path, template: str, data_path: str | Path | None = None) -> Path:
    """Write a new project.

    The model is named after the folder.

    Args:
        folder: The new folder; it must not hold anything yet.
        template: A key of :data:`TEMPLATES`.
        data_path: Folder of the data, for templates that need one, or the data file, for those with an example.

    Returns:
        The project's folder, absolute.

    Raises:
        InputError: When the template is unknown, or a data folder is given without need or missing.
        ProjectError: When the folder is not empty or not usable as a name; nothing has been written.
        StorageError: When it cannot be written; nothing is left behind.
    """
    chosen = TEMPLATES.get(template)
    if chosen is None:
        raise InputError(f"expected a template of {', '.join(TEMPLATES)}, found {template!r}")
    target = Path(folder).resolve()
    name = _model_name(target.name)
    data = _data_folder(template, chosen, data_path)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise ProjectError(f"{target}: expected a new or an empty folder, found something in it. Choose another name.")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(chosen, target, name, data)
    except OSError as error:
        raise StorageError(f"{target}: cannot write the project: {error}. Nothing was written.") from error
    return target


def _write(template: Template, target: Path, name: str, data: str | None) -> None:
    """Write into a folder beside the target first, so that the project appears whole or not at all."""
    source = Path(__file__).parent / template.folder
    example, writer = template.example or ("", "")
    values = {"__NAME__": name, "__DATA__": json.dumps(data or example)}
    with tempfile.TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as scratch:
        staged = Path(scratch) / "project"
        (staged / ".edgeml").mkdir(parents=True)
        toml = (source / "edgeml.toml").read_text("utf-8")
        for mark, value in values.items():
            toml = toml.replace(mark, value)
        (staged / "edgeml.toml").write_text(toml, "utf-8")
        shutil.copyfile(source / "task.py", staged / "task.py")
        if writer and data is None:
            module, _, function = writer.partition(":")
            getattr(import_module(module), function)(staged / example)
        (staged / ".gitignore").write_text(".edgeml/\n*.edgeml\n", "utf-8")
        schema = json.dumps(contract_json_schema(train=train_schema()), indent=1)
        (staged / ".edgeml" / "edgeml.schema.json").write_text(schema + "\n", "utf-8")
        os.replace(staged, target)


def _model_name(folder_name: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", folder_name.lower()).strip("-")
    if not name or not name[0].isalpha():
        raise ProjectError(
            "expected a folder name that begins with a letter, because the model is named after it; "
            f"found {folder_name!r}"
        )
    return name


def _data_folder(name: str, template: Template, data_path: str | Path | None) -> str | None:
    if template.example is not None:
        return _data_file(data_path)
    if not template.needs_data:
        if data_path is not None:
            raise InputError(
                f"the template {name} brings its data or takes none: expected no data folder, found {str(data_path)!r}"
            )
        return None
    if data_path is None:
        raise InputError(f"the template {name} needs a data folder: pass --data PATH")
    path = Path(data_path).expanduser().resolve()
    if not path.is_dir():
        found = "a file" if path.exists() else "nothing"
        raise InputError(f"--data {data_path}: expected a folder, found {found} there")
    return str(path)


def _data_file(data_path: str | Path | None) -> str | None:
    if data_path is None:
        return None
    path = Path(data_path).expanduser().resolve()
    if not path.is_file() or path.suffix.lower() not in (".csv", ".parquet"):
        found = "another file" if path.is_file() else "a folder" if path.exists() else "nothing"
        raise InputError(f"--data {data_path}: expected a file *.csv or *.parquet, found {found} there")
    return str(path)
