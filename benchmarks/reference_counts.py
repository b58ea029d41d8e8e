"""Count the instructions of the networks whose latency is published, on the cores of the boards it was measured on.

``python benchmarks/reference_counts.py`` builds MobileNetV1 to V3 (``reference_networks.py``) and counts them with
LiteRT under ``edgeml devices setup-emulator aarch64``, which has to be there. It writes
``devices/edgeml_devices/reference_counts.toml``, what estimates are calibrated with; what stands there already is
counted again only with ``--again``. A network and core take a minute or two.

Cores that QEMU has no model of are named in ``/proc/cpuinfo``, where XNNPACK reads which kernels to take, and executed
by one with the same instruction sets.
"""

from __future__ import annotations

import argparse
import re
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reference_networks import PUBLISHED, network_file

from edgeml_devices.emulator import open_sysroot
from edgeml_devices.emulator.counting import read_records
from edgeml_devices.emulator.guest_run import GuestJob, run_guest
from edgeml_devices.emulator.identity import CpuIdentity, ask_cpu
from edgeml_devices.emulator.layout import Layout
from edgeml_devices.emulator.plugin_build import build_plugin
from edgeml_devices.emulator.variant import pick_site

if TYPE_CHECKING:
    from edgeml_devices.emulator.sysroot import Sysroot

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "devices/edgeml_devices/reference_counts.toml"
WORK = ROOT / ".build/reference"
LIMIT_S = 1800.0
RUNTIME = "litert"
KEY = ("cpu", "runtime", "model", "precision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """A core that networks are counted for.

    Attributes:
        name: As device profiles call it.
        emulated_by: QEMU's model that executes it.
        implementer: What ``/proc/cpuinfo`` says of it, or None where that is QEMU's own.
        part: Likewise.
        fp32_only: Whether nothing else was published for boards with it.
    """

    name: str
    emulated_by: str
    implementer: str | None = None
    part: str | None = None
    fp32_only: bool = False

    def identity(self, sysroot: Sysroot) -> CpuIdentity:
        """What the guest is told."""
        told = ask_cpu(sysroot, self.emulated_by)
        if self.part is None:
            return told
        text = re.sub(r"(?m)^(CPU implementer\s*: ).*$", rf"\g<1>{self.implementer}", told.cpuinfo)
        return CpuIdentity(told.cpu, re.sub(r"(?m)^(CPU part\s*: ).*$", rf"\g<1>{self.part}", text))


# Implementer and part: arch/arm64/include/asm/cputype.h of Linux; which of Qualcomm's is which core of Arm's:
# src/arm/uarch.c of cpuinfo, by which XNNPACK goes.
CORES = (
    Core(name="cortex-a72", emulated_by="cortex-a72"),
    Core(name="cortex-a53", emulated_by="cortex-a53"),
    Core(name="kryo", emulated_by="cortex-a72", implementer="0x51", part="0x205", fp32_only=True),
    Core(name="cortex-a73", emulated_by="cortex-a72", implementer="0x51", part="0x800", fp32_only=True),
    Core(name="cortex-a75", emulated_by="cortex-a72", implementer="0x51", part="0x802", fp32_only=True),
)


def main() -> int:
    """Count what is missing."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--work", type=Path, default=WORK, help="where the networks are kept (%(default)s)")
    parser.add_argument("--out", type=Path, default=OUT, help="where the counts are written (%(default)s)")
    parser.add_argument("--again", action="store_true", help="count again what stands there")
    options = parser.parse_args()
    entries = [] if options.again or not options.out.is_file() else tomllib.loads(options.out.read_text())["counts"]
    sysroot = open_sysroot("aarch64")
    networks = [(name, precision) for name, precisions in PUBLISHED.items() for precision in precisions]
    for core in CORES:
        for name, precision in networks:
            there = {tuple(entry[key] for key in KEY) for entry in entries}
            if (core.name, RUNTIME, name, precision) in there or (core.fp32_only and precision != "fp32"):
                continue
            entries.append(count(sysroot, core, name, precision, options.work))
            write(options.out, entries)
            print(core.name, name, precision, flush=True)
    return 0


def count(sysroot: Sysroot, core: Core, name: str, precision: str, work: Path) -> dict[str, Any]:
    """Count one network on one core."""
    path = network_file(name, precision, work)
    site = pick_site(sysroot, RUNTIME, (), countable=True)
    if site is None:
        raise SystemExit(f"the emulator has no {RUNTIME} that can be counted: edgeml devices setup-emulator aarch64")
    job = GuestJob(
        sysroot=sysroot,
        site=site,
        emulator=sysroot.counting,
        identity=core.identity(sysroot),
        request={"path": str(path), "variant": path.name, "backend": None, "count": True, "layers": False},
        plugin=build_plugin(Layout.default()),
        limit_s=LIMIT_S,
    )
    answer, records = run_guest(job)
    return {
        "cpu": core.name,
        "emulated_by": core.emulated_by,
        "runtime": RUNTIME,
        "runtime_version": answer["backend_version"],
        "qemu": sysroot.counting.version,
        "model": name,
        "precision": precision,
        "file_bytes": path.stat().st_size,
        "instructions": read_records(records).median.to_dict(),
    }


def write(out: Path, entries: list[dict[str, Any]]) -> None:
    """Write the file anew, in the order of the keys."""
    lines = ["# Made by benchmarks/reference_counts.py: instructions of one inference with one thread, by class."]
    for entry in sorted(entries, key=lambda entry: tuple(entry[key] for key in KEY)):
        lines += ["", "[[counts]]"]
        lines += [f"{key} = {_toml(value)}" for key, value in entry.items()]
    out.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _toml(value: str | int | dict[str, int]) -> str:
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{key} = {number}' for key, number in value.items())} }}"
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    sys.exit(main())
