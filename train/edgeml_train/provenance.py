"""Where a run comes from: code version and the command that reproduces it."""

from __future__ import annotations

import hashlib
import json
import platform
import shlex
import subprocess
from importlib import metadata
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from pathlib import Path

    from edgeml_train.lineage import Lineage
    from edgeml_train.project import Project

__all__ = ["code_tags", "command", "model_contract_sha256", "run_key"]


def code_tags(project: Project, lineage: Lineage | None = None) -> dict[str, str]:
    """The versions a run was made with.

    Args:
        project: The project.
        lineage: The runs it builds on.

    Returns:
        MLflow tags: digests of task.py and edgeml.toml, package versions, and the git commit where there is one.
    """
    toml = (project.folder / "edgeml.toml").read_bytes()
    tags = {
        "edgeml.task_sha256": project.task_sha256,
        "edgeml.toml_sha256": hashlib.sha256(toml).hexdigest(),
        "edgeml.model_contract_sha256": model_contract_sha256(project),
        "edgeml.version": _version("edgeml-toolkit"),
        "edgeml.torch": torch.__version__,
        "edgeml.lightning": _version("lightning"),
        "edgeml.python": platform.python_version(),
        "edgeml.command": command(project, lineage),
    }
    if project.fast:
        tags["edgeml.fast"] = "true"
    commit = _git(project.folder, "rev-parse", "HEAD")
    if commit:
        changed = _git(project.folder, "status", "--porcelain", "--", ".")
        tags["mlflow.source.git.commit"] = commit
        tags["edgeml.git_dirty"] = str(bool(changed)).lower()
    return tags


def command(project: Project, lineage: Lineage | None = None) -> str:
    """The command line that reproduces the run, run in the project's parent folder."""
    parts = ["edgeml", "train", project.folder.name]
    given = project.overrides
    if project.fast:
        parts.append("--fast")
        given = given[len(project.fast.overrides) :]
    for override in given:
        parts += ["--set", override]
    if lineage is not None:
        parts += lineage.words(project.folder)
    return shlex.join(parts)


def model_contract_sha256(project: Project) -> str:
    """Digest of what in the contract shapes the model: inputs, outputs and target.

    Budgets, tolerances and descriptions may change after training; these may not.
    """
    contract = project.contract
    shaping = repr((contract.inputs, contract.outputs, contract.target))
    return hashlib.sha256(shaping.encode()).hexdigest()


def run_key(project: Project, data_sha256: str, lineage: Lineage | None = None) -> str:
    """Digest of everything that shapes the trained weights: a training resumes one with the same key only.

    Args:
        project: The project.
        data_sha256: Digest of the splits.
        lineage: The runs it builds on.

    Returns:
        Hex digest.
    """
    parts: dict[str, Any] = {
        "data": data_sha256,
        "settings": project.settings.to_dict(),
        "task": project.task_sha256,
        "data_settings": project.data,
        "contract": model_contract_sha256(project),
        "lineage": lineage.key() if lineage else {},
        "versions": [_version(name) for name in ("edgeml-toolkit", "torch", "lightning")],
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


def _version(distribution: str) -> str:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "not installed"


def _git(folder: Path, *arguments: str) -> str | None:
    """What git answers, or None where there is no git or no repository."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
