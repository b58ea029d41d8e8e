"""Writing a report: the format follows from the file's ending."""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from edgeml_runtime.errors import InputError, StorageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeml_devices.reports.record import BenchRecord

__all__ = ["FORMATS", "check_report_path", "json_report", "report_text", "write_report"]

FORMATS = {
    ".json": "edgeml_devices.reports.write:json_report",
    ".xml": "edgeml_devices.reports.junit:junit_text",
    ".md": "edgeml_devices.reports.markdown:markdown_text",
    ".html": "edgeml_devices.pages.page:bench_page",
}
"""The known endings, and what makes the text of such a file from a record."""


def json_report(record: BenchRecord) -> str:
    """Everything that was found, with every sample, as one JSON object.

    Args:
        record: What was measured.
    """
    return json.dumps(record.to_dict(), ensure_ascii=False, allow_nan=False) + "\n"


def check_report_path(path: Path) -> None:
    """Refuse a place that cannot be written to, before anything is measured for it.

    Args:
        path: The file.

    Raises:
        InputError: Its ending is not known, it is a folder, or its folder is missing.
    """
    if path.suffix.lower() not in FORMATS:
        known = ", ".join(FORMATS)
        raise InputError(f"{path}: expected a report that ends in one of {known}; found {path.suffix or 'no ending'}")
    if path.is_dir():
        raise InputError(f"{path}: expected a file to write the report to; found a folder")
    if not path.parent.is_dir():
        raise InputError(f"{path}: its folder does not exist; make {path.parent} or name another place")


def report_text(record: BenchRecord, ending: str) -> str:
    """The text of a report.

    Args:
        record: What was measured.
        ending: A key of ``FORMATS``.
    """
    module, _, name = FORMATS[ending].partition(":")
    write: Callable[[BenchRecord], str] = getattr(import_module(module), name)
    return write(record)


def write_report(record: BenchRecord, path: Path) -> None:
    """Write a report, whole or not at all.

    Args:
        record: What was measured.
        path: Where; what lies there is replaced.

    Raises:
        InputError: See :func:`check_report_path`.
        StorageError: The disk is full, or the folder is not writable.
    """
    check_report_path(path)
    text = report_text(record, path.suffix.lower())
    try:
        _replace(path, text)
    except OSError as error:
        raise StorageError(
            f"{path}: the report cannot be written: {error.strerror or error}; make room, or name another place"
        ) from error


def _replace(path: Path, text: str) -> None:
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.chmod(draft, 0o666 & ~_umask())
        os.replace(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise


def _umask() -> int:
    """The process's mask, which can be read only by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
