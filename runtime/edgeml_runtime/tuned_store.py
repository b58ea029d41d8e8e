"""Where tuned choices are remembered: a JSON file beside the bundle (docs/runtime.md specifies it)."""

from __future__ import annotations

import json
import logging
import os
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_runtime.backends.table import BACKEND_FORMATS, BACKENDS
from edgeml_runtime.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.machine import Machine
    from edgeml_runtime.manifest import Manifest

__all__ = [
    "FILE_SUFFIX",
    "Asked",
    "Choice",
    "Situation",
    "all_choices",
    "read_choice",
    "remember",
    "situation_of",
    "thread_counts",
    "tuned_file",
]

FILE_SUFFIX = ".tuned.json"
_FORMAT, _FORMAT_VERSION = "edgeml-tuned", 1
_MAX_BYTES = 1 << 20
_MAX_ENTRIES = 16

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A way to run a bundle.

    Attributes:
        variant: Variant id.
        backend: What runs it, a key of :data:`edgeml_runtime.backends.BACKENDS`.
        threads: Threads for one prediction.
    """

    variant: str
    backend: str
    threads: int

    def __str__(self) -> str:
        return f"{self.variant}/{self.backend}/{self.threads}"

    @classmethod
    def parse(cls, text: str) -> Choice:
        """The inverse of ``str()``.

        Args:
            text: Such as ``onnx-int8/openvino/2``.

        Raises:
            ValueError: It is something else.
        """
        variant, backend, threads = text.split("/")
        return cls(variant=variant, backend=backend, threads=int(threads))

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        return {"variant": self.variant, "backend": self.backend, "threads": self.threads}


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What whoever asks leaves no choice about; None where it does.

    Attributes:
        threads: Threads for one prediction.
        backend: What is to run the model.
    """

    threads: int | None = None
    backend: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """Where a choice holds: it is measured again as soon as any of this is another.

    Attributes:
        bundle: Name, version, and the digest of ``manifest.json``, which holds those of every other member.
        machine: Architecture, CPU, board, cores this process may use and CPU features.
        backends: Name → installed release, or None; those that run none of the bundle's formats are left out.
        asked: What was left no choice about.
    """

    bundle: Mapping[str, Any]
    machine: Mapping[str, Any]
    backends: Mapping[str, str | None]
    asked: Asked

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON values."""
        asked = {"threads": self.asked.threads, "backend": self.asked.backend}
        return {
            "bundle": dict(self.bundle),
            "machine": dict(self.machine),
            "backends": dict(self.backends),
            "asked": asked,
        }


def thread_counts(cores: int) -> tuple[int, ...]:
    """Numbers of threads worth trying: 1, 2, 4 … and all cores.

    Args:
        cores: Logical CPUs, at least 1.
    """
    return tuple(sorted({cores, *(1 << bit for bit in range(cores.bit_length()) if 1 << bit <= cores)}))


def all_choices(manifest: Manifest, threads: Sequence[int], backends: Sequence[str]) -> tuple[Choice, ...]:
    """Every way to run a bundle: variants in the manifest's order, the manifest's own backend first.

    Args:
        manifest: Of the bundle.
        threads: Numbers of threads to try.
        backends: Names of backends to try.

    Returns:
        The choices. Those with few threads come first, so that what is left out for lack of time has many.
    """
    pairs = [
        (variant.id, backend)
        for variant in manifest.variants
        for backend in sorted(backends, key=lambda name: name != variant.backend)
        if variant.format in BACKEND_FORMATS.get(backend, ())
    ]
    return tuple(Choice(variant=one, backend=two, threads=count) for count in threads for one, two in pairs)


def situation_of(bundle: Bundle, machine: Machine, backends: Mapping[str, str | None], asked: Asked) -> Situation:
    """Put together where a choice holds.

    Args:
        bundle: An open bundle.
        machine: Where it runs.
        backends: Name → installed release there, or None.
        asked: What is left no choice about.
    """
    manifest, found = bundle.manifest, machine.to_dict()
    formats = {variant.format for variant in manifest.variants}
    return Situation(
        bundle={"name": manifest.name, "version": manifest.version, "manifest_sha256": bundle.manifest_digest()},
        machine={key: found[key] for key in ("arch", "cpu", "board", "cores", "isa")},
        backends={name: backends.get(name) for name in BACKENDS if formats.intersection(BACKEND_FORMATS[name])},
        asked=asked,
    )


def tuned_file(path: str | os.PathLike[str], stored: str | os.PathLike[str] | None = None) -> str:
    """Where the choice for a bundle is remembered.

    Args:
        path: The bundle.
        stored: A file, or an existing folder for files of several bundles; None for beside the bundle.

    Returns:
        The file's path.
    """
    if stored is None:
        return os.fspath(path) + FILE_SUFFIX
    stored = os.fspath(stored)
    return os.path.join(stored, os.path.basename(path) + FILE_SUFFIX) if os.path.isdir(stored) else stored


def _entries(file: str, level: int = logging.WARNING) -> list[dict[str, Any]]:
    """Everything a file remembers; nothing where it is missing, torn, too large or of another kind, which is logged."""
    try:
        with open(file, "rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
        if len(content) > _MAX_BYTES:
            raise ValueError(f"larger than {_MAX_BYTES} bytes")
        document = json.loads(content)
        if document["format"] != _FORMAT or document["format_version"] != _FORMAT_VERSION:
            raise ValueError(f"expected format {_FORMAT} {_FORMAT_VERSION}")
        return [entry for entry in document["entries"] if isinstance(entry, dict)]
    except FileNotFoundError:
        return []
    except OSError as error:
        logger.log(level, "%s: cannot be read, and is not used: %s", file, error.strerror or error)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        reason = str(error)[:200] or type(error).__name__
        logger.log(level, "%s: holds no tuned choice, and is not used: %s", file, reason)
    return []


def read_choice(file: str, situation: Situation) -> Choice | None:
    """What a file remembers for a situation.

    Args:
        file: Its path; it need not exist.
        situation: Where the choice is to hold.

    Returns:
        The choice, or None where the file has none that fits.
    """
    wanted = situation.to_dict()
    for entry in _entries(file):
        if any(entry.get(key) != value for key, value in wanted.items()):
            continue
        try:
            choice = Choice(**entry["choice"])
        except (KeyError, TypeError):
            continue
        if [type(value) for value in choice.to_dict().values()] != [str, str, int]:
            continue
        most = situation.asked.threads or situation.machine["cores"]
        if 1 <= choice.threads <= most and choice.backend in BACKENDS:
            return choice
    return None


def remember(file: str, situation: Situation, choice: Choice, measured: Mapping[str, Any]) -> None:
    """Add a choice to a file, in place of an older one for the same bundle, machine and question.

    Readers find the old content or the new one, never a part. Of two processes that write at the same time, one may
    lose its entry, which is then measured again.

    Args:
        file: Its path.
        situation: Where the choice holds.
        choice: The choice.
        measured: JSON values that say how it was found: ``at``, ``by``, ``figures``.

    Raises:
        StorageError: It cannot be written; nothing was changed.
    """
    entry = {**situation.to_dict(), "choice": choice.to_dict(), "measured": dict(measured)}
    same = ("bundle", "machine", "asked")
    known = _entries(file, logging.DEBUG)  # whoever looked for a choice before has said what is wrong with it
    others = [old for old in known if any(old.get(key) != entry[key] for key in same)]
    document = {"format": _FORMAT, "format_version": _FORMAT_VERSION, "entries": [entry, *others][:_MAX_ENTRIES]}
    folder = os.path.dirname(os.path.abspath(file))
    temporary = os.path.join(folder, f".edgeml-{os.urandom(8).hex()}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, file)
        with suppress(OSError):  # Windows and some network file systems cannot; the file is in place all the same
            descriptor = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise StorageError(f"{file}: cannot be written: {error.strerror or error}; nothing was changed") from error
        raise
