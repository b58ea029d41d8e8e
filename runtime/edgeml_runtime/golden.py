"""Golden vectors: inputs with the outputs expected of every variant, for the self-test on the device.

Stored as ``golden/index.json``, which says what lies where, ``golden/data.bin``, which holds the tensors, and
``golden/files/``, which holds encoded files (docs/bundle.md is the specification). Expected outputs are those of the
very variant on the machine that exported it; the tolerance covers other CPUs and backend releases.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeml_runtime.canonical import canonical_json, parse_json, require_canonical, take
from edgeml_runtime.errors import BundleFormatError, BundleLimitError, InputError
from edgeml_runtime.tensors import DType
from edgeml_runtime.zip_reader import name_fault

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeml_runtime.bundle import Bundle
    from edgeml_runtime.manifest import Manifest
    from edgeml_runtime.tensors import InputSpec, OutputSpec

    Tensor = NDArray[Any]
    Tensors = Mapping[str, Tensor]

__all__ = [
    "GOLDEN_DATA",
    "GOLDEN_FILES",
    "GOLDEN_INDEX",
    "GOLDEN_VERSION",
    "GoldenCase",
    "GoldenSet",
    "golden_members",
    "read_golden",
]

GOLDEN_INDEX = "golden/index.json"
GOLDEN_DATA = "golden/data.bin"
GOLDEN_FILES = "golden/files/"
GOLDEN_VERSION = 1

_DTYPES = frozenset(item.value for item in DType)
_PLACE_KINDS: dict[str, type] = {"dtype": str, "shape": list, "offset": int, "size_bytes": int}
_FILE_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
_FILE_NAME_LETTERS = 100


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenCase:
    """One input with what every variant makes of it.

    Attributes:
        name: Unique within the set, such as ``"case-03-label-7"``.
        inputs: Contract input name → tensor of the contract's dtype and shape, without the batch dimension.
        expected: Variant id → contract output name → tensor of the contract's dtype and shape.
        file: Name under ``golden/files/`` of an encoded file that decodes to exactly ``inputs[file_input]``, or None.
            Writing replaces letters that a member's name cannot hold.
        file_input: The input that the file decodes to; None where there is no file.
    """

    name: str
    inputs: Tensors
    expected: Mapping[str, Tensors]
    file: str | None = None
    file_input: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenSet:
    """The golden vectors of a bundle.

    Attributes:
        cases: At least one.
        tolerances: Variant id → contract output name → largest absolute difference allowed, in the output's unit.
    """

    cases: tuple[GoldenCase, ...]
    tolerances: Mapping[str, Mapping[str, float]]


def golden_members(golden: GoldenSet, files: Mapping[str, bytes]) -> dict[str, bytes]:
    """Encode golden vectors as members of a bundle.

    Args:
        golden: The vectors; every case names the same inputs, variants and outputs.
        files: Content of the encoded files, by :attr:`GoldenCase.file`.

    Returns:
        Member name → content, deterministic.

    Raises:
        InputError: Cases contradict each other, a value is not finite where it must be, or a file is missing or
            unused.
    """
    names = _file_names(files)
    data = bytearray()
    cases = []
    for case in golden.cases:
        _check_case(case, golden, files)
        cases.append(
            {
                "name": case.name,
                "inputs": _append_tensors(case.inputs, data),
                "expected": {id_: _append_tensors(case.expected[id_], data) for id_ in sorted(case.expected)},
                "file": None if case.file is None else {"name": names[case.file], "input": case.file_input},
            }
        )
    if not cases or len({case.name for case in golden.cases}) != len(cases):
        raise InputError("golden vectors: expected at least one case, each with a name of its own")
    if unused := sorted(set(files) - {case.file for case in golden.cases}):
        raise InputError(f"golden vectors: no case uses the files {', '.join(unused)}")
    index = {
        "version": GOLDEN_VERSION,
        "cases": cases,
        "tolerances": {variant: _plain_tolerances(variant, row) for variant, row in golden.tolerances.items()},
        "data_bytes": len(data),
    }
    return {
        GOLDEN_INDEX: canonical_json(index),
        GOLDEN_DATA: bytes(data),
        **{GOLDEN_FILES + names[file]: files[file] for file in sorted(files)},
    }


def read_golden(bundle: Bundle) -> GoldenSet:
    """Read the golden vectors of a bundle and check them against its contract.

    Args:
        bundle: An open bundle.

    Returns:
        The vectors; their tensors are read-only copies. A case's file is read with
        ``bundle.read(GOLDEN_FILES + case.file)``.

    Raises:
        BundleFormatError: There are none, or they contradict the specification or the contract.
        BundleIntegrityError: They were altered.
        BundleLimitError: They are larger than the bundle's limits.
    """
    limits = bundle.limits
    where = f"{bundle.path}: {GOLDEN_INDEX}"
    text = bundle.read(GOLDEN_INDEX, max_bytes=limits.max_json_bytes)
    index = parse_json(text, where)
    require_canonical(index, text, where)
    if (version := take(index, "version", int, where)) != GOLDEN_VERSION:
        raise BundleFormatError(f"{where}: version: expected {GOLDEN_VERSION}, found {version}")
    items = take(index, "cases", list, where)
    if not 0 < len(items) <= limits.max_golden_cases:
        raise BundleLimitError(f"{where}: {len(items)} cases; expected 1 to {limits.max_golden_cases}")
    tape = _Tape(bundle.read(GOLDEN_DATA, max_bytes=limits.max_golden_bytes), where)
    cases = tuple(_parse_case(item, bundle, tape, f"{where}: cases[{number}]") for number, item in enumerate(items))
    if take(index, "data_bytes", int, where) != tape.position or tape.position != len(tape.data):
        raise BundleFormatError(f"{where}: the tensors take {tape.position} bytes, {GOLDEN_DATA} has {len(tape.data)}")
    if len({case.name for case in cases}) != len(cases):
        raise BundleFormatError(f"{where}: the names of the cases must differ")
    tolerances = _parse_tolerances(take(index, "tolerances", dict, where), bundle.manifest, f"{where}: tolerances")
    return GoldenSet(cases=cases, tolerances=tolerances)


class _Tape:
    """``golden/data.bin`` while it is read from front to back."""

    __slots__ = ("data", "position", "where")

    def __init__(self, data: bytes, where: str) -> None:
        self.data = data
        self.position = 0
        self.where = where


def _check_case(case: GoldenCase, golden: GoldenSet, files: Mapping[str, bytes]) -> None:
    where = f"golden case {case.name!r}"
    if case.inputs.keys() != golden.cases[0].inputs.keys():
        raise InputError(f"{where}: expected the inputs {sorted(golden.cases[0].inputs)}, found {sorted(case.inputs)}")
    found = {variant: sorted(outputs) for variant, outputs in case.expected.items()}
    expected = {variant: sorted(outputs) for variant, outputs in golden.tolerances.items()}
    if found != expected:
        raise InputError(f"{where}: expected the outputs of the tolerances, {expected}, found {found}")
    for variant, outputs in case.expected.items():
        for name, tensor in outputs.items():
            if not np.all(np.isfinite(tensor)):
                raise InputError(f"{where}: {variant}: output {name!r} holds NaN or an infinity")
    if (case.file is None) != (case.file_input is None):
        raise InputError(f"{where}: file and file_input must be given together")
    if case.file is not None and (case.file not in files or case.file_input not in case.inputs):
        raise InputError(f"{where}: the content of {case.file!r} or the input {case.file_input!r} is missing")


def _plain_tolerances(variant: str, row: Mapping[str, float]) -> dict[str, float]:
    for output, tolerance in row.items():
        if not 0 <= tolerance < math.inf:
            raise InputError(
                f"golden vectors: the tolerance of {variant} for {output!r} is {tolerance}, expected 0 or more"
            )
    return {output: float(tolerance) for output, tolerance in row.items()}


def _file_names(files: Mapping[str, bytes]) -> dict[str, str]:
    """Map file names to names that a bundle can hold, each to another one."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for number, file in enumerate(sorted(files)):
        name = "".join(letter if letter in _FILE_LETTERS else "_" for letter in file)[-_FILE_NAME_LETTERS:]
        while name_fault(name.encode("ascii")) or name.lower() in taken:
            name = f"{number}_{name.strip('.')}"
        taken.add(name.lower())
        names[file] = name
    return names


def _append_tensors(tensors: Tensors, data: bytearray) -> dict[str, Any]:
    """Append tensors in the order of their names; returns where each one lies."""
    places = {}
    for name in sorted(tensors):
        tensor = tensors[name]
        if tensor.dtype.name not in _DTYPES:
            known = ", ".join(sorted(_DTYPES))
            raise InputError(f"golden vectors: {name!r} is {tensor.dtype.name}, expected one of {known}")
        content = tensor.astype(tensor.dtype.newbyteorder("<"), order="C", copy=False).tobytes()
        places[name] = {
            "dtype": tensor.dtype.name,
            "shape": list(tensor.shape),
            "offset": len(data),
            "size_bytes": len(content),
        }
        data += content
    return places


def _parse_case(item: object, bundle: Bundle, tape: _Tape, where: str) -> GoldenCase:
    manifest = bundle.manifest
    inputs = _parse_tensors(take(item, "inputs", dict, where), manifest.inputs, tape, f"{where}: inputs")
    per_variant = take(item, "expected", dict, where)
    if per_variant.keys() != (ids := {variant.id for variant in manifest.variants}):
        raise BundleFormatError(f"{where}: expected: one entry for each of {sorted(ids)}, found {sorted(per_variant)}")
    expected = {
        variant: _parse_tensors(per_variant[variant], manifest.outputs, tape, f"{where}: expected: {variant}")
        for variant in sorted(per_variant)
    }
    file, file_input = _parse_file(item, bundle, where)
    return GoldenCase(
        name=take(item, "name", str, where), inputs=inputs, expected=expected, file=file, file_input=file_input
    )


def _parse_file(item: Any, bundle: Bundle, where: str) -> tuple[str | None, str | None]:
    if "file" in item and item["file"] is None:
        return None, None
    entry = take(item, "file", dict, where)
    name: str = take(entry, "name", str, f"{where}: file")
    input_name: str = take(entry, "input", str, f"{where}: file")
    bundle.member(GOLDEN_FILES + name)
    if not any(spec.name == input_name and spec.loader is not None for spec in bundle.manifest.inputs):
        raise BundleFormatError(f"{where}: file: input: expected an input with a loader, found {input_name!r:.60}")
    return name, input_name


def _parse_tensors(
    places: object, specs: Sequence[InputSpec] | Sequence[OutputSpec], tape: _Tape, where: str
) -> dict[str, Tensor]:
    by_name = {spec.name: spec for spec in specs}
    if not isinstance(places, dict) or places.keys() != by_name.keys():
        raise BundleFormatError(f"{where}: expected an object with the keys {sorted(by_name)}, found {places!r:.80}")
    return {name: _parse_tensor(places[name], by_name[name], tape, f"{where}: {name}") for name in sorted(by_name)}


def _parse_tensor(place: object, spec: InputSpec | OutputSpec, tape: _Tape, where: str) -> Tensor:
    """Take the next tensor off the tape: of the contract's dtype and shape, and where the index says."""
    dtype = np.dtype(spec.dtype.value)
    size_bytes = math.prod(spec.shape) * dtype.itemsize
    expected = {"dtype": dtype.name, "shape": list(spec.shape), "offset": tape.position, "size_bytes": size_bytes}
    found = {key: take(place, key, kind, where) for key, kind in _PLACE_KINDS.items()}
    if found != expected:
        raise BundleFormatError(f"{where}: expected {expected}, found {found!r:.200}")
    if tape.position + size_bytes > len(tape.data):
        raise BundleFormatError(f"{where}: reaches beyond the {len(tape.data)} bytes of {GOLDEN_DATA}")
    flat = np.frombuffer(tape.data, dtype.newbyteorder("<"), math.prod(spec.shape), tape.position)
    tape.position += size_bytes
    tensor = flat.reshape(spec.shape).astype(dtype)
    if dtype.kind == "f" and not getattr(spec, "allow_missing", False) and not np.all(np.isfinite(tensor)):
        raise BundleFormatError(f"{where}: holds NaN or an infinity, which the contract does not allow")
    tensor.setflags(write=False)
    return tensor


def _parse_tolerances(rows: dict[str, Any], manifest: Manifest, where: str) -> dict[str, dict[str, float]]:
    outputs = {spec.name for spec in manifest.outputs}
    if rows.keys() != (ids := {variant.id for variant in manifest.variants}):
        raise BundleFormatError(f"{where}: expected an entry for each of {sorted(ids)}, found {sorted(rows)}")
    tolerances = {}
    for variant in rows:
        row = take(rows, variant, dict, where)
        if row.keys() != outputs:
            raise BundleFormatError(f"{where}: {variant}: expected the keys {sorted(outputs)}, found {sorted(row)}")
        tolerances[variant] = {name: float(take(row, name, float, f"{where}: {variant}")) for name in row}
        if any(tolerance < 0 for tolerance in tolerances[variant].values()):
            raise BundleFormatError(f"{where}: {variant}: tolerances must not be negative")
    return tolerances
