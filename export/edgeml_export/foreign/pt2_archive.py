"""A ``.pt2`` archive without what could run code when it is loaded.

``torch.export.load`` (PyTorch 2.13) trusts its file. It unpickles sample inputs, old weights, and tensors and objects
that the archive marks as pickled, and falls back to ``weights_only=False`` where the safe way fails; evaluates symbolic
sizes with ``sympy.sympify``, which is ``eval``; executes ``guards_code``; finds operators by following attributes from
``torch``, ``math`` and ``operator``; writes names of nodes into source code that it executes; and loads compiled
libraries. So the archive is not handed to it. A new one is written from what a program of plain operators needs, every
part checked: the graph as JSON, with names that are names, operators of ``aten``, sizes that are arithmetic, and
weights as plain bytes.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import zipfile
from typing import TYPE_CHECKING, Any

from edgeml_runtime.errors import ProjectError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeml_export.foreign.file import ForeignLimits

__all__ = ["clean_pt2"]

_MODEL = "models/model.json"
_PAYLOADS = {
    "data/weights/model_weights_config.json": re.compile(r"weight_\d+"),
    "data/constants/model_constants_config.json": re.compile(r"tensor_\d+"),
}
_SAMPLE_INPUTS = "data/sample_inputs/model.pt"
_FIXED = {"archive_format": b"pt2", "archive_version": b"0", "byteorder": b"little", ".data/version": b"6\n"}
_COMPILED = ("data/aotinductor/", "data/executorch/")
_PICKLED = ("data/weights/model.pt", "data/constants/model.pt")

_NAME = re.compile(r"[A-Za-z0-9_]*")
_DOTTED = re.compile(r"[A-Za-z0-9_.]*")
_PATH = re.compile(r"[A-Za-z0-9_.@]*")
_CLASS = re.compile(r"[A-Za-z0-9_.<>]*")
_DOTTED_KEYS = frozenset({"parameter_name", "buffer_name", "tensor_constant_name", "fqn"})
_OPERATOR = re.compile(r"torch\.ops\.aten\.(?P<name>[a-z0-9_]+)\.[A-Za-z0-9_]+")
# Arithmetic of sizes (torch._export.serde.serialize, _SYM_OPS).
_SIZE_OPERATOR = re.compile(r"_operator\.(add|sub|mul|floordiv|mod|neg|eq|ne|ge|gt|le|lt)")
_OF_FILES = frozenset({"from_file"})
# Kinds of arguments and inputs that are no tensors, numbers or words.
_FOREIGN_KINDS = frozenset({"as_graph", "as_operator", "as_custom_obj", "as_string_to_argument", "custom_obj", "token"})
_CONTAINERS = frozenset({"builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"})
_SYMPY = frozenset(
    ("Symbol", "Integer", "Add", "Mul", "Max", "Min", "FloorDiv", "CeilDiv", "CleanDiv", "Mod", "PythonMod")
)
_SYMBOL = re.compile(r"[a-z]{1,3}\d+")
_ARITHMETIC = (
    ast.Expression,
    ast.keyword,
    ast.BinOp,
    ast.UnaryOp,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.FloorDiv,
    ast.Mod,
    ast.USub,
    ast.Load,
)
_LETTERS = 400
# Texts under these keys have rules of their own, and were held against them before.
_CHECKED_BEFORE = frozenset({"target", "in_spec", "out_spec", "nn_module_stack"})
_UNUSUAL_FLOATS = frozenset({"Infinity", "-Infinity", "NaN"})


def clean_pt2(content: bytes, limits: ForeignLimits) -> bytes:
    """Write an archive anew from the parts that are safe to load.

    Args:
        content: An archive of ``torch.export.save``.
        limits: How large it may be unpacked.

    Returns:
        An archive with the same program and weights: without sample inputs, guards, stack traces and further files.

    Raises:
        ProjectError: It is damaged, of another kind, or needs something that cannot be loaded safely.
    """
    try:
        members = _members(content, limits)
        program = _program(json.loads(members[_MODEL]), limits)
        kept = {**_FIXED, _MODEL: json.dumps(program).encode(), _SAMPLE_INPUTS: b""}
        for config, pattern in _PAYLOADS.items():
            kept |= _payloads(members, config, pattern, limits)
    except ProjectError:
        raise
    except Exception as error:  # JSON of another form raises whatever it lacks
        raise ProjectError(
            f"expected an archive of torch.export.save, found one of another form ({type(error).__name__}: {error}); "
            "save the program again with a current PyTorch"
        ) from error
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, data in kept.items():
            archive.writestr(zipfile.ZipInfo(f"model/{name}"), data)
    return written.getvalue()


def _members(content: bytes, limits: ForeignLimits) -> dict[str, bytes]:
    """The files of the archive, without the folder that all of them lie in."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            names = [entry.filename.partition("/")[2] for entry in entries]
            _check_kind([entry.filename for entry in entries], names)
            size = sum(entry.file_size for entry in entries)
            if size > limits.max_unpacked_bytes:
                raise ProjectError(f"expected at most {limits.max_unpacked_bytes} bytes unpacked, found {size}")
            return {name: archive.read(entry) for name, entry in zip(names, entries, strict=True)}
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise ProjectError(
            f"expected a whole archive, found a damaged one ({error}); fetch or save it again"
        ) from error


def _check_kind(paths: list[str], names: list[str]) -> None:
    if _MODEL in names:
        if bad := [name for name in names if name.startswith(_COMPILED)]:
            raise ProjectError(f"found compiled code ({bad[0]}), which is not loaded; save the program without it")
        if bad := [name for name in names if name in _PICKLED]:
            raise ProjectError(f"found pickled weights ({bad[0]}), which are never loaded; save with a current PyTorch")
        return
    if "serialized_exported_program.json" in paths:
        raise ProjectError(
            "found a program in the form of PyTorch 2.7 and older, whose weights are pickled, which is never loaded; "
            "save it again with a current PyTorch"
        )
    if any(name in ("data.pkl", "constants.pkl") for name in names):
        raise ProjectError(
            "found a checkpoint or a TorchScript archive: a pickle, which can run any code and is never loaded; export "
            "the model with torch.export.export and save it with torch.export.save"
        )
    raise ProjectError(f"expected {_MODEL} of torch.export.save in the archive, found {', '.join(paths[:5])}")


def _payloads(
    members: Mapping[str, bytes], config: str, pattern: re.Pattern[str], limits: ForeignLimits
) -> dict[str, bytes]:
    """The tensors that a list names, as plain bytes."""
    listed = json.loads(members[config])["config"]
    kept = {}
    for name, entry in listed.items():
        if not _DOTTED.fullmatch(name):
            raise ProjectError(f"expected the name of a tensor, found {name!r:.60}")
        if entry["use_pickle"] or not pattern.fullmatch(entry["path_name"]):
            raise ProjectError(
                f"the tensor {name!r} is pickled or no tensor ({entry['path_name']!r:.60}), which is never loaded; "
                "export the model with plain tensors alone"
            )
        _check_meta(name, entry["tensor_meta"], limits)
        path = f"{config.rpartition('/')[0]}/{entry['path_name']}"
        kept[path] = members[path]
    kept[config] = json.dumps({"config": listed}).encode()
    return kept


def _check_meta(name: str, meta: Mapping[str, Any], limits: ForeignLimits) -> None:
    sizes = [size["as_int"] for size in meta["sizes"]]
    numbers = [*sizes, *(stride["as_int"] for stride in meta["strides"]), meta["storage_offset"]["as_int"]]
    whole = all(type(number) is int and number >= 0 for number in numbers)
    if not whole or math.prod(sizes) > limits.max_tensor_elements:
        raise ProjectError(
            f"the tensor {name!r}: expected at most {limits.max_tensor_elements} elements, found the shape {sizes}"
        )
    if meta["device"]["type"] != "cpu":
        raise ProjectError(f"the tensor {name!r}: expected one on the CPU, found {meta['device']['type']!r:.20}")


def _program(document: dict[str, Any], limits: ForeignLimits) -> dict[str, Any]:
    """The program's JSON with every text checked, and without what is not needed to run it."""
    module = document["graph_module"]
    nodes = module["graph"]["nodes"]
    if len(nodes) > limits.max_operators:
        raise ProjectError(f"expected at most {limits.max_operators} operators, found {len(nodes)}")
    for node in nodes:
        _check_operator(node["target"])
        node["metadata"] = _metadata(node["metadata"])
    for entry in module["module_call_graph"]:
        for spec in ("in_spec", "out_spec") if entry["signature"] else ():
            _check_treespec(json.loads(entry["signature"][spec])[1])
    document |= {
        "guards_code": [],
        "torch_version": "",
        "verifiers": ["TRAINING"],
        "opset_version": {"aten": _aten(document)},
    }
    module |= {"metadata": {}, "treespec_namedtuple_fields": {}}
    _check_texts(document, "")
    return document


def _aten(document: Mapping[str, Any]) -> int:
    version = document["opset_version"].get("aten", 0)
    return int(version)


def _check_operator(target: str) -> None:
    found = _OPERATOR.fullmatch(target)
    if (found and found["name"] not in _OF_FILES) or _SIZE_OPERATOR.fullmatch(target):
        return
    if "higher_order" in target:
        raise ProjectError(
            f"expected a program without control flow, found the operator {target:.100}; export the model with "
            "branches decided and loops unrolled"
        )
    raise ProjectError(
        f"expected operators of aten, which converters know, found {target:.100}; export the model in float, without "
        "custom operators"
    )


def _metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The chain of modules that were being called, as ``KEY,PATH,CLASS;…``, and nothing else."""
    stack = metadata.get("nn_module_stack", "")
    patterns = (_PATH, _PATH, _CLASS)
    for link in stack.split(";") if stack else ():
        parts = link.split(",")
        if len(parts) != 3 or not all(rule.fullmatch(part) for rule, part in zip(patterns, parts, strict=True)):
            return {}
    return {"nn_module_stack": stack} if stack else {}


def _check_treespec(spec: Mapping[str, Any]) -> None:
    """A nest of tuples, lists and dictionaries whose keys are names."""
    if spec["type"] is not None:
        keys = json.loads(spec["context"])
        plain = keys is None or (isinstance(keys, list) and all(_is_name(key) for key in keys))
        if spec["type"] not in _CONTAINERS or not plain:
            raise ProjectError(
                f"expected inputs and outputs in tuples, lists and dictionaries, found {spec['type']!r:.60} with "
                f"{spec['context']!r:.60}; let the model take and give those"
            )
    for child in spec["children_spec"]:
        _check_treespec(child)


def _is_name(value: object) -> bool:
    return isinstance(value, str) and _NAME.fullmatch(value) is not None


def _check_texts(value: Any, key: str) -> None:
    """Every text is what the loader may take for it: a name, unless its key says more."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in _FOREIGN_KINDS:
                raise ProjectError(f"expected tensors, numbers and words as arguments, found {name!r}")
            _require(_NAME.fullmatch(name) is not None, "a name", name)
            _check_texts(inner, name)
    elif isinstance(value, list):
        for inner in value:
            _check_texts(inner, key)
    elif isinstance(value, str) and key not in _CHECKED_BEFORE:
        _check_text(value, key)


def _check_text(text: str, key: str) -> None:
    if key == "expr_str":
        _check_size(text)
    elif key in ("as_float", "as_floats"):
        _require(text in _UNUSUAL_FLOATS, "a number", text)
    elif key == "as_string":
        _require(len(text) < _LETTERS and text.isascii() and text.isprintable(), "a short ASCII word", text)
    else:
        rule = _DOTTED if key in _DOTTED_KEYS else _NAME
        _require(rule.fullmatch(text) is not None, "a name", text)


def _check_size(text: str) -> None:
    """A size is sums, products and quotients of whole numbers and symbols, as sympy writes them."""
    _require(len(text) < _LETTERS, "the size of a dimension", text)
    for node in ast.walk(ast.parse(text, mode="eval")):
        if isinstance(node, ast.Call):
            plain = isinstance(node.func, ast.Name) and node.func.id in _SYMPY
        elif isinstance(node, ast.Name):
            plain = node.id in _SYMPY or _SYMBOL.fullmatch(node.id) is not None
        elif isinstance(node, ast.Constant):
            plain = isinstance(node.value, bool | int) or _SYMBOL.fullmatch(str(node.value)) is not None
        else:
            plain = isinstance(node, _ARITHMETIC)
        _require(plain, "the size of a dimension", text)


def _require(kept: bool, expected: str, found: str) -> None:
    if not kept:
        raise ProjectError(
            f"the program's graph: expected {expected}, found {found!r:.100}; the file is damaged or hostile"
        )
