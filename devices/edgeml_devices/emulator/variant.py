"""One variant under emulation: tested on the newest backend, tested and counted on the one that can be counted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeml_devices.emulator.counting import read_records
from edgeml_devices.emulator.found import EmulatedVariant, GoldenRun, LayerCounts
from edgeml_devices.emulator.guest_run import GuestFailure, GuestJob, GuestTimeout, run_guest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeml_devices.emulator.classes import ClassCounts
    from edgeml_devices.emulator.counting import Counted
    from edgeml_devices.emulator.identity import CpuIdentity
    from edgeml_devices.emulator.sysroot import Emulator, Site, Sysroot
    from edgeml_devices.model_file import VariantFile
    from edgeml_devices.profile import DeviceProfile

__all__ = ["Bay", "emulate_variant", "int8_warning", "pick_site", "unable"]

PACKAGES = {"litert": ("ai-edge-litert", "tflite-runtime"), "onnxruntime": ("onnxruntime",), "openvino": ("openvino",)}
"""Backend name → distributions that bring it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bay:
    """Everything that the variants of a bench have in common.

    Attributes:
        path: The bundle or bare model.
        profile: The device.
        sysroot: The set-up.
        identity: The CPU.
        plugin: The compiled plug-in, or None not to count.
        limit_s: Seconds after which a guest is killed.
        layers: Whether to count each layer as well.
    """

    path: str
    profile: DeviceProfile
    sysroot: Sysroot
    identity: CpuIdentity
    plugin: Path | None
    limit_s: float
    layers: bool


def pick_site(sysroot: Sysroot, backend: str, runtimes: tuple[str, ...], *, countable: bool) -> Site | None:
    """The first set of backends that has this one, and that the device can have.

    Args:
        sysroot: The set-up.
        backend: Name of the backend.
        runtimes: Distributions that the device profile names; none means that it does not say.
        countable: Whether it has to be one that can be counted.

    Returns:
        The site, or None.
    """
    for site in sysroot.sites:
        names = {name for name, _ in site.versions}.intersection(PACKAGES.get(backend, (backend,)))
        able = not site.versions or (names and (not runtimes or names.intersection(runtimes)))
        if able and (site.countable or not countable):
            return site
    return None


def unable(bay: Bay, variant: VariantFile, backend: str) -> str | None:
    """Why a variant cannot run on a device at all, whatever its file holds.

    Args:
        bay: Where.
        variant: Which.
        backend: What is to run it.

    Returns:
        A reason, or None where it can.
    """
    missing = sorted(set(variant.requires_isa) - bay.identity.features)
    if missing:
        return f"it needs a CPU with {', '.join(missing)}, which {bay.identity.cpu} has not"
    if pick_site(bay.sysroot, backend, bay.profile.runtimes, countable=False) is not None:
        return None
    packages = PACKAGES.get(backend, (backend,))
    needed = f"it needs {' or '.join(packages)}, and"
    if bay.profile.runtimes and not set(packages).intersection(bay.profile.runtimes):
        return f"{needed} the profile of {bay.profile.name} names {', '.join(bay.profile.runtimes)} as its runtimes"
    held = sorted({f"{name} {version}" for site in bay.sysroot.sites for name, version in site.versions})
    return f"{needed} the emulated {bay.sysroot.architecture} has {', '.join(held)}"


def emulate_variant(bay: Bay, variant: VariantFile, backend: str) -> EmulatedVariant:
    """Test and count one variant.

    Args:
        bay: Where.
        variant: Which; one that :func:`unable` says nothing against.
        backend: What runs it.

    Returns:
        What was found; a guest that crashes is a failure of its golden vectors, and one that hangs while it counts has
        no counts.

    Raises:
        GuestTimeout: The guest that only tests golden vectors hung.
        StorageError: The disk is full.
        TargetError: The plug-in's records are broken.
    """
    newest_site = pick_site(bay.sysroot, backend, bay.profile.runtimes, countable=False)
    countable = pick_site(bay.sysroot, backend, bay.profile.runtimes, countable=True)
    cpu = bay.identity.cpu
    assert newest_site is not None, "asked for a variant that cannot run there"
    newest, _ = _golden(bay, variant, backend, newest_site, bay.sysroot.newest)
    if countable is None or bay.plugin is None:
        return EmulatedVariant(cpu=cpu, newest=newest)
    try:
        counting, found = _golden(bay, variant, backend, countable, bay.sysroot.counting, plugin=bay.plugin)
    except GuestTimeout as error:
        return EmulatedVariant(cpu=cpu, newest=newest, uncounted=f"while counting, {error}")
    if found is None:
        return EmulatedVariant(cpu=cpu, newest=newest, counting=counting)
    answer, counted = found
    names = answer["layers"].get("names", [])
    told = len(names) == len(counted.layers)
    return EmulatedVariant(
        cpu=cpu,
        newest=newest,
        counting=counting,
        calls=counted.calls,
        counts=counted.median,
        layers=_named(names, counted) if told else (),
        layers_reason=None if not bay.layers else _reason(answer, told=told),
        warning=int8_warning(variant.id, counted.median, bay.identity.features),
    )


def _reason(answer: Mapping[str, Any], *, told: bool) -> str | None:
    error: str | None = answer["layers"].get("error")
    return error or (None if told else "its layers and the marks do not agree")


def _named(names: list[Mapping[str, str]], counted: Counted) -> tuple[LayerCounts, ...]:
    pairs = zip(names, counted.layers, strict=True)
    return tuple(LayerCounts(name=each["name"], type=each["type"], counts=counts) for each, counts in pairs)


def _golden(
    bay: Bay, variant: VariantFile, backend: str, site: Site, emulator: Emulator, plugin: Path | None = None
) -> tuple[GoldenRun, tuple[dict[str, Any], Counted] | None]:
    job = GuestJob(
        sysroot=bay.sysroot,
        site=site,
        emulator=emulator,
        identity=bay.identity,
        request={
            "path": bay.path,
            "variant": variant.id,
            "backend": None if backend == variant.backend else backend,
            "count": plugin is not None,
            "layers": plugin is not None and bay.layers,
        },
        plugin=plugin,
        limit_s=bay.limit_s,
    )
    try:
        answer, records = run_guest(job)
    except GuestTimeout:
        raise
    except GuestFailure as failure:
        known = dict(site.versions)
        version = next((known[name] for name in PACKAGES.get(backend, ()) if name in known), None)
        return GoldenRun(qemu=emulator.version, backend=backend, version=version, cases=0, failure=str(failure)), None
    tested = answer["self_test"]
    run = GoldenRun(
        qemu=emulator.version,
        backend=answer["backend"],
        version=answer["backend_version"],
        cases=0 if tested is None else len(tested["cases"]),
        failure=None if tested is None or tested["passed"] else _worst(tested),
    )
    return run, None if plugin is None else (answer, read_records(records))


def _worst(tested: Mapping[str, Any]) -> str:
    """The golden cases that failed, in words."""
    failed = [case for case in tested["cases"] if case["failure"] or not all(one["passed"] for one in case["outputs"])]
    first = failed[0]
    said = first["failure"] or "; ".join(
        f"output {one['name']!r} is off by {one['max_abs_difference']}, expected at most {one['tolerance']:.3g}"
        for one in first["outputs"]
        if not one["passed"]
    )
    return f"{len(failed)} of {len(tested['cases'])} golden cases fail, first {first['name']!r}: {said}"


def int8_warning(variant: str, counts: ClassCounts, features: frozenset[str]) -> str | None:
    """Whether an int8 variant leaves unused what the CPU has for products of bytes.

    Args:
        variant: Its id, which names the precision.
        counts: Its instructions.
        features: What the CPU has.

    Returns:
        A sentence, or None.
    """
    if "int8" not in variant or counts.int8_matrix:
        return None
    if "i8mm" in features:
        used = "dot products only" if counts.int8_dot else "neither those nor dot products"
        return f"{variant}: the CPU has matrix products of int8 (i8mm), and the backend uses {used}"
    if not counts.int8_dot and features & {"asimddp", "avx_vnni", "avx512_vnni"}:
        return f"{variant}: the CPU has dot products of int8, and the backend uses none: it runs as on an older CPU"
    return None
