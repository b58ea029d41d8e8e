"""The modules that are sent to a device: the runtime, and what looks at the machine and profiles models there."""

from __future__ import annotations

import io
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import edgeml_runtime
from edgeml_devices import ceilings_child, ceilings_model, conditions, memory, profilers
from edgeml_devices.remote import agent, channel, estate

if TYPE_CHECKING:
    from types import ModuleType

__all__ = ["agent_source", "module_archive"]

UNPACKED = 4
"""Unpacked and compiled, the modules take at most this many times the size of their text."""


def _runtime_files() -> dict[str, bytes]:
    root = Path(edgeml_runtime.__file__).parent
    return {f"edgeml_runtime/{path.relative_to(root).as_posix()}": path.read_bytes() for path in root.rglob("*.py")}


@cache
def module_archive() -> tuple[bytes, int]:
    """The runtime of this interpreter and the modules the agent imports, as a ZIP file.

    Returns:
        The ZIP file, and the bytes that it takes on the device.
    """
    files = {
        **_runtime_files(),
        "edgeml_devices/__init__.py": b"",
        **{
            f"edgeml_devices/{Path(str(m.__file__)).name}": Path(str(m.__file__)).read_bytes()
            for m in (ceilings_child, ceilings_model, conditions, memory)
        },
        **{
            f"edgeml_devices/profilers/{path.name}": path.read_bytes()
            for path in Path(str(profilers.__file__)).parent.glob("*.py")
        },
    }
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as modules:
        for name, content in sorted(files.items()):
            modules.writestr(name, content)
    return archive.getvalue(), UNPACKED * sum(map(len, files.values()))


@cache
def agent_source() -> bytes:
    """The text that runs on the device first: the agent, after the modules that it imports.

    Nothing was sent yet, and no folder is there to import from; so the text makes the modules.

    Returns:
        Python, as ASCII.
    """
    parts = ["import sys, types\n"]
    for module in (channel, estate):
        parts.append(f"module = sys.modules[{module.__name__!r}] = types.ModuleType({module.__name__!r})\n")
        parts.append(_execution(module, "module.__dict__"))
    parts.append(_execution(agent, '{"__name__": "__main__"}'))
    return "".join(parts).encode("ascii")


def _execution(module: ModuleType, names: str) -> str:
    path = Path(str(module.__file__))
    return f"exec(compile({path.read_text(encoding='utf-8')!a}, {path.name!r}, 'exec'), {names})\n"
