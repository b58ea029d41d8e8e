"""A digest of what the peers' files came from, so that none is timed that would be made differently today."""

from __future__ import annotations

import ast
import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

__all__ = ["digest", "sources"]


def digest(paths: Iterable[Path]) -> str:
    """Hexadecimal SHA-256 of the names and contents of files, in their order."""
    whole = hashlib.sha256()
    for path in paths:
        whole.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return whole.hexdigest()


def sources(script: Path) -> tuple[Path, ...]:
    """A script and the modules beside it that it imports, directly or through one another."""
    found: set[Path] = set()
    left = [script]
    while left:
        path = left.pop()
        if path not in found:
            found.add(path)
            beside = (path.with_name(f"{name}.py") for name in _imported(path))
            left += [module for module in beside if module.is_file()]
    return tuple(sorted(found))


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module
