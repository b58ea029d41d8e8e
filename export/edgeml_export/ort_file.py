"""An .ort file: the graph as ONNX Runtime has optimized it, saved, so that loading it optimizes nothing.

It is saved by a session at full optimization, as a device would run it. ONNX Runtime's own converter to this format
(``onnxruntime.tools.convert_onnx_models_to_ort``) leaves the blocked layout of convolutions out unless told otherwise.

That layout belongs to the CPU. Float convolutions become operators of the domain ``com.microsoft.nchwc`` whose weights
are stored in blocks of channels: 16 where the CPU has AVX-512F, else 8 on x86; on ARM there are none, except in builds
with ``onnxruntime_USE_ARM_NEON_NCHWC``, where it is 16 (MLAS_PLATFORM in onnxruntime/core/mlas/lib/platform.cpp). A
session does not check which blocks a file was saved with: where the CPU's are others, ONNX Runtime 1.16 to 1.23 gave
wrong outputs without an error, and 1.32 does unless a number of channels happens to be no multiple of the block. So
such a file must be kept from other CPUs by the manifest. Integer operators carry no such trace: their weights are
packed when a session is created, and the same file came out of a CPU with AVX-512 VNNI and of one without AVX-512.
"""

from __future__ import annotations

import errno
import platform
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from onnx import TensorProto, helper

from edgeml_export.ort_canonical import canonical_ort
from edgeml_export.scratch import scratch_folder
from edgeml_runtime.errors import ProjectError

__all__ = ["OrtFile", "required_isa", "save_ort"]

_BLOCKED = "com.microsoft.nchwc"
# Architecture and channels in a block → a feature that no CPU with blocks of another size has.
_FEATURES = {
    ("x86_64", 16): "avx512f",
    ("amd64", 16): "avx512f",
    ("aarch64", 16): "asimd",
    ("arm64", 16): "asimd",
}
_LOG_ERRORS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class OrtFile:
    """A saved file.

    Attributes:
        content: The file; its inputs and outputs have the names they had before.
        requires_isa: CPU features without which its weights are read in the wrong order, by the names of
            :mod:`edgeml_runtime.isa`; those that the ONNX file needs come on top.
        min_onnxruntime: The release that saved it. Older ones may lack operators that its optimizations brought in.
    """

    content: bytes
    requires_isa: tuple[str, ...]
    min_onnxruntime: str


def save_ort(content: bytes) -> OrtFile:
    """Optimize an ONNX file for CPUs of this type, and save it in ONNX Runtime's own format.

    Args:
        content: The ONNX file.

    Returns:
        The file, the same bytes for the same model, release of ONNX Runtime and type of CPU.

    Raises:
        ProjectError: ONNX Runtime cannot load or save the model, or it has float convolutions and this CPU's blocks are
            too small to be shipped.
        StorageError: Temporary files cannot be written.
    """
    saved = canonical_ort(_optimized(content))
    blocked = any(domain == _BLOCKED for domain, _ in saved.operators)
    return OrtFile(
        content=saved.content,
        requires_isa=required_isa(platform.machine(), _channel_block()) if blocked else (),
        min_onnxruntime=".".join(onnxruntime.__version__.split(".")[:2]),
    )


def required_isa(machine: str, channel_block: int) -> tuple[str, ...]:
    """The features that only CPUs with the same channel blocks have.

    Args:
        machine: The architecture, as ``platform.machine()`` names it.
        channel_block: Channels in one block of the weights.

    Returns:
        Their names.

    Raises:
        ProjectError: No feature tells them apart: a CPU with AVX-512F has AVX2 too, and would take the file for its
            own.
    """
    if (machine.lower(), channel_block) in _FEATURES:
        return (_FEATURES[machine.lower(), channel_block],)
    raise ProjectError(
        f"an .ort file of this model stores weights in blocks of {channel_block} channels, as this CPU ({machine}) "
        "reads them; one with AVX-512F would read them in the wrong order and answer wrongly, and a manifest can only "
        "require features: export on a CPU with AVX-512F for devices that have it, and ship the ONNX variant to others"
    )


def _optimized(content: bytes) -> bytes:
    """What a session makes of a model at full optimization, as it saves it."""
    with scratch_folder() as folder:
        path = folder / "model.ort"
        options = _options(onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL)
        options.optimized_model_filepath = str(path)
        options.add_session_config_entry("session.save_model_format", "ORT")
        try:
            onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            return path.read_bytes()
        except OSError:
            raise
        except Exception as error:  # ONNX Runtime raises types of its own that derive from Exception alone
            if path.exists():  # it has come as far as writing
                raise OSError(errno.EIO, "onnxruntime failed to save a file") from error
            raise ProjectError(
                f"onnxruntime {onnxruntime.__version__} cannot save the model as an .ort file: {error}; leave the "
                "variant out of export.variants"
            ) from error


def _channel_block() -> int:
    """Ask ONNX Runtime for this CPU's blocks: channels are filled up to a whole one."""
    shapes = {"x": [1, 4, 1, 1], "y": None}
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items())
    graph = helper.make_graph([helper.make_node("ReorderInput", ["x"], ["y"], domain=_BLOCKED)], "block", [x], [y])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_BLOCKED, 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = _options(onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    (padded,) = session.run(None, {"x": np.zeros((1, 4, 1, 1), np.float32)})
    return int(padded.shape[1])


def _options(level: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = level
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = _LOG_ERRORS
    return options
