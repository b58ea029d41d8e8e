"""The peers as a careful application would call them: one thread, models and memory set up once.

Each function loads the file that ``peer_files.py`` made of a network. OpenVINO is held to float32, where it would take
bfloat16 by itself; ncnn to float32 storage.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = ["LOADERS", "Peer", "PeerMissingError"]

CONVERTER = "openvino.tools.ovc"


class PeerMissingError(Exception):
    """A peer has no such file; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A loaded network.

    Attributes:
        prepare: float32 values of one item → what :attr:`run` takes.
        run: The bare call.
        finish: What it gave → float32.
        channels_last: Whether images are [1, height, width, channels].
    """

    prepare: Callable[[Array], Any]
    run: Callable[[Any], Any]
    finish: Callable[[Any], Array]
    channels_last: bool = False


def same(values: Array) -> Array:
    """Leave values as they are."""
    return values


def onnxruntime(folder: Path, precision: str) -> Peer:
    """ONNX Runtime with bound memory on both sides."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    path = str(folder / f"{precision}.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (source,), (result,) = session.get_inputs(), session.get_outputs()
    memory, out = np.zeros(source.shape, np.float32), np.zeros(result.shape, np.float32)
    binding = session.io_binding()
    binding.bind_input(source.name, "cpu", 0, np.float32, source.shape, memory.ctypes.data)
    binding.bind_output(result.name, "cpu", 0, np.float32, result.shape, out.ctypes.data)
    run_bound = session.run_with_iobinding

    def run(values: Array) -> Array:
        memory[...] = values
        run_bound(binding)
        return out

    return Peer(prepare=same, run=run, finish=same)


def litert(folder: Path, precision: str) -> Peer:
    """LiteRT; an int8 file takes and gives int8."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=(folder / f"{precision}.tflite").read_bytes(), num_threads=1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()
    into, out_of = source["index"], result["index"]
    set_tensor, invoke, get_tensor = interpreter.set_tensor, interpreter.invoke, interpreter.get_tensor

    def run(values: Array) -> Array:
        set_tensor(into, values)
        invoke()
        found: Array = get_tensor(out_of)
        return found

    if source["dtype"] != np.int8:
        return Peer(prepare=same, run=run, finish=same, channels_last=True)
    scale, zero = (np.float32(number) for number in source["quantization"])
    scale_out, zero_out = (np.float32(number) for number in result["quantization"])
    per_unit = np.float32(1) / scale

    def prepare(values: Array) -> Array:
        scaled = values * per_unit
        scaled += zero
        np.rint(scaled, out=scaled)
        np.clip(scaled, -128, 127, out=scaled)
        return scaled.astype(np.int8)

    def finish(values: Array) -> Array:
        return (values.astype(np.float32) - zero_out) * scale_out

    return Peer(prepare=prepare, run=run, finish=finish, channels_last=True)


def openvino_library() -> Any:
    """OpenVINO without its model converter, which on import reports to its maker and writes into the home folder."""
    if "openvino" in sys.modules or CONVERTER in sys.modules:
        import openvino

        return openvino
    sys.modules[CONVERTER] = None  # type: ignore[assignment] # the import system's word for a module not to be found
    try:
        import openvino
    finally:
        del sys.modules[CONVERTER]
    return openvino


def openvino(folder: Path, precision: str) -> Peer:
    """OpenVINO in float32 on the same ONNX files as ONNX Runtime."""
    library = openvino_library()
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        # It would pin this process, and with it every other side of the comparison.
        "ENABLE_CPU_PINNING": False,
    }
    request = library.Core().compile_model(folder / f"{precision}.onnx", "CPU", options).create_infer_request()
    memory, out = request.get_input_tensor().data, request.get_output_tensor().data
    infer = request.infer

    def run(values: Array) -> Array:
        memory[...] = values
        infer(share_outputs=True)
        return out

    return Peer(prepare=same, run=run, finish=same)


def ncnn(folder: Path, precision: str) -> Peer:
    """The network in ncnn, from pnnx's files."""
    import ncnn

    parameters = folder / f"{precision}.param"
    if not parameters.exists():
        raise PeerMissingError("its tools for int8, ncnn2table and ncnn2int8, are not in its wheels")
    net = ncnn.Net()
    net.opt.num_threads = 1
    net.opt.use_vulkan_compute = False
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    if net.load_param(str(parameters)) or net.load_model(str(parameters.with_suffix(".bin"))):
        raise PeerMissingError(f"ncnn cannot load {parameters}")
    make_mat, extractor = ncnn.Mat, net.create_extractor

    def run(values: Array) -> Any:
        once = extractor()
        once.input("in0", make_mat(values))
        return once.extract("out0")[1]

    return Peer(prepare=lambda values: values[0], run=run, finish=lambda mat: np.array(mat)[np.newaxis])


def executorch(folder: Path, precision: str) -> Peer:
    """ExecuTorch with its XNNPACK delegate; it is called with tensors of PyTorch."""
    import torch
    from executorch.extension.pybindings.portable_lib import _unsafe_reset_threadpool
    from executorch.runtime import Runtime

    torch.set_num_threads(1)
    _unsafe_reset_threadpool(1)
    program = Runtime.get().load_program((folder / f"{precision}.pte").read_bytes())
    execute = program.load_method("forward").execute

    # The method alone does not keep the program's bytes alive, and crashes without them.
    def run(tensor: Any, _program: Any = program) -> Any:
        return execute((tensor,))[0]

    def prepare(values: Array) -> Any:
        tensor = torch.from_numpy(values)
        # The program was made from channels-last examples, and reads any other layout wrongly, without an error.
        return tensor.permute(0, 3, 1, 2) if tensor.dim() == 4 else tensor

    return Peer(prepare=prepare, run=run, finish=lambda tensor: tensor.numpy(), channels_last=True)


LOADERS: dict[str, Callable[[Path, str], Peer]] = {
    "ONNX Runtime": onnxruntime,
    "LiteRT": litert,
    "OpenVINO": openvino,
    "ncnn": ncnn,
    "ExecuTorch": executorch,
}
"""Peer → what loads it, in the order of the table."""
