"""``variant="tuned"``: the fastest way to run a bundle on this machine, as remembered, else measured.

Whatever is wrong with the file that remembers, with its folder or with the measuring is logged, and never keeps a model
from being loaded: the last resort is what ``variant="auto"`` picks. Nothing of this module, or of the measuring, is
imported unless a tuned model is asked for.
"""

from __future__ import annotations

import logging
import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgeml_runtime.backends.table import BACKENDS, installed_backend_version, load_backend
from edgeml_runtime.bundle import Bundle
from edgeml_runtime.errors import BackendError, InputError, StorageError
from edgeml_runtime.machine import probe_machine
from edgeml_runtime.model import Model
from edgeml_runtime.tuned_store import (
    Asked,
    Choice,
    Situation,
    all_choices,
    read_choice,
    remember,
    situation_of,
    thread_counts,
    tuned_file,
)

if TYPE_CHECKING:
    from edgeml_runtime.bundle import Limits
    from edgeml_runtime.manifest import Manifest

__all__ = ["installed_backends", "load_tuned"]

MOST_THREADS = 8
"""While a model is being loaded, no more are tried: a server's 64 cores would leave each choice no time."""

_PACKAGES = {"litert": ("ai-edge-litert", "tflite-runtime", "tensorflow")}
_INSIDE = "EDGEML_TUNING"

logger = logging.getLogger(__name__)


def _installed(name: str) -> str | None:
    """A backend's release, without importing its library where the package says it."""
    from importlib import metadata

    for package in _PACKAGES.get(name) or (load_backend(name).package,):
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(package)
    return installed_backend_version(name)


def installed_backends() -> dict[str, str | None]:
    """Every backend of this runtime with its installed release, or None."""
    return {name: _installed(name) for name in BACKENDS}


def _measure(
    path: str, manifest: Manifest, situation: Situation, seconds: float
) -> tuple[Choice, dict[str, Any]] | None:
    """The fastest choice and how it was found, or None where nothing could be measured."""
    if getattr(sys, "frozen", False) or not sys.executable or os.environ.get(_INSIDE):
        logger.warning("%s: not tuned: no Python here that a process for measuring could be started with", path)
        return None
    from edgeml_runtime.measure.choices import choose, measure_choices

    asked, backends = situation.asked, [name for name, version in situation.backends.items() if version]
    threads = [count for count in thread_counts(situation.machine["cores"]) if count <= MOST_THREADS]
    choices = all_choices(
        manifest,
        threads=[asked.threads] if asked.threads else threads,
        backends=[asked.backend] if asked.backend else backends,
    )
    folders = os.pathsep.join(entry for entry in sys.path if entry)  # it must find what this process finds
    environment = {**os.environ, "PYTHONPATH": folders, _INSIDE: "1"}
    timed = measure_choices(path, choices, seconds=seconds, environment=environment)
    chosen = choose(timed)
    if chosen is None:
        reasons = "; ".join(f"{one.choice}: {one.reason}" for one in timed) or "no installed backend runs a variant"
        logger.warning("%s: not tuned: %s", path, reasons[:2000])
        return None
    from time import gmtime, strftime

    when = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    return chosen, {"at": when, "by": "Model.load", "figures": [one.to_dict() for one in timed]}


def _tune(
    path: str, asked: Asked, limits: Limits | None, seconds: float, stored: str | os.PathLike[str] | None
) -> Choice | None:
    with Bundle.open(path, limits=limits) as bundle:
        manifest = bundle.manifest
        situation = situation_of(bundle, probe_machine(), installed_backends(), asked)
    places = [tuned_file(path, stored)] if stored is None else [tuned_file(path, stored), tuned_file(path)]
    for place in places:
        choice = read_choice(place, situation)
        if choice is not None:
            return choice
    found = _measure(path, manifest, situation, seconds)
    if found is None:
        return None
    try:
        remember(places[0], situation, *found)
    except StorageError as error:
        logger.warning("%s; it is measured again at the next load, unless tuned_path names another place", error)
    return found[0]


def load_tuned(
    path: str | os.PathLike[str],
    *,
    asked: Asked,
    limits: Limits | None,
    seconds: float,
    stored: str | os.PathLike[str] | None,
) -> Model:
    """Load a bundle the fastest way; see :meth:`edgeml_runtime.model.Model.load`.

    Args:
        path: A ``.edgeml`` file.
        asked: What is left no choice about.
        limits: What to refuse as too large, or None for the defaults.
        seconds: How long to measure where no choice is remembered.
        stored: Where choices are remembered, or None for beside the bundle.

    Returns:
        The model; the caller closes it.

    Raises:
        EdgemlError: What ``Model.load(path)`` raises.
    """
    if not (isinstance(seconds, int | float) and seconds > 0):
        raise InputError(f"tune_seconds: expected a number above 0, found {seconds!r:.60}")
    if asked.threads is not None and (type(asked.threads) is not int or asked.threads < 1):
        raise InputError(f"threads: expected an integer of at least 1 or None, found {asked.threads!r:.60}")
    if asked.backend is not None and asked.backend not in BACKENDS:
        load_backend(asked.backend)
    choice = _tune(os.fspath(path), asked, limits, seconds, stored)
    if choice is not None:
        try:
            return Model.load(
                path, variant=choice.variant, backend=choice.backend, threads=choice.threads, limits=limits
            )
        except (BackendError, InputError) as error:
            logger.warning("%s: the tuned choice %s cannot be loaded: %s", path, choice, error)
    return Model.load(path, threads=asked.threads, backend=asked.backend, limits=limits)
