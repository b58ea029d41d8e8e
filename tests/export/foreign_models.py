"""Small models that were made elsewhere: 8 numbers in, 3 classes out, as other tools write them."""

from __future__ import annotations

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from onnx import TensorProto, helper, numpy_helper

from edgeml_export.tflite_file import write_tflite
from edgeml_runtime.contract_parse import parse_contract

FEATURES, CLASSES = 8, 3
LABELS = ["low", "middle", "high"]
INPUT_SCALE = 1 / 32
_RNG = np.random.default_rng(3)
WEIGHTS = _RNG.normal(0, 0.6, (CLASSES, FEATURES)).astype(np.float32)
BIAS = np.array([0.1, -0.2, 0.05], np.float32)


def contract(*, dtype="float32", span=(-4.0, 4.0), shape=(FEATURES,), name="features", logits=False, **tables):
    """A contract of a classifier of three labels."""
    outputs = [{"name": "scores", "role": "scores", "shape": [CLASSES], "labels": LABELS}]
    if logits:
        outputs.insert(0, {"name": "logits", "role": "logits", "shape": [CLASSES]})
    table = {
        "model": {"name": "foreign", "version": "1.0.0", "description": "Tells three levels apart."},
        "inputs": [
            {
                "name": name,
                "dtype": dtype,
                "shape": list(shape),
                "range": list(span),
                "unit": "kPa",
                "source": "pressure sensor",
            }
        ],
        "outputs": outputs,
        "target": {"name": "level", "kind": "classification"},
        "metric": {"primary": "accuracy", "floor": 0.5},
        "slices": {"by": ["label"], "min_items": 5},
    }
    return parse_contract(table | tables, source="test")


def items(count=40, *, seed=1):
    """Items and the class that the model itself would give most of them."""
    rng = np.random.default_rng(seed)
    features = rng.uniform(-3.5, 3.5, (count, FEATURES)).astype(np.float32)
    targets = (features @ WEIGHTS.T + BIAS).argmax(axis=1)
    targets[::10] = (targets[::10] + 1) % CLASSES
    return features, targets


class Tflite:
    """A TFLite file, operator by operator."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version, self.model.operatorCodes = 3, []
        self.model.buffers = [schema.BufferT()]
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name, kind, shape, data=None, scale=None, zero_point=0, signature=None):
        tensor = schema.TensorT()
        tensor.name, tensor.type = name.encode(), getattr(schema.TensorType, kind)
        tensor.shape, tensor.hasRank, tensor.buffer = np.array(shape, np.int32), True, 0
        if signature is not None:
            tensor.shapeSignature = np.array(signature, np.int32)
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.atleast_1d(np.array(scale, np.float32))
            tensor.quantization.zeroPoint = np.full(len(tensor.quantization.scale), zero_point, np.int64)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def operator(self, name, inputs, outputs, options=None, *, version=1, custom=None, custom_options=None):
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
        code.customCode = custom
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        if custom_options is not None:
            operator.customOptions = np.frombuffer(custom_options, np.uint8)
        self.graph.operators.append(operator)

    def note(self, name, text):
        """An entry of the metadata."""
        buffer, entry = schema.BufferT(), schema.MetadataT()
        buffer.data = np.frombuffer(text.ljust(16, b"\0"), np.uint8)
        self.model.buffers.append(buffer)
        entry.name, entry.buffer = name, len(self.model.buffers) - 1
        self.model.metadata = [*(self.model.metadata or []), entry]

    def finish(self, inputs, outputs):
        self.graph.inputs, self.graph.outputs = np.array(inputs, np.int32), np.array(outputs, np.int32)
        return write_tflite(self.model)


def softmax_options():
    options = schema.SoftmaxOptionsT()
    options.beta = 1.0
    return options


def int8_weights():
    scale = float(np.abs(WEIGHTS).max() / 127)
    return np.rint(WEIGHTS / scale).astype(np.int8), scale


def tflite_float(*, weights="FLOAT32", per_channel=False, names=("serving_x", "StatefulPartitionedCall"), batch=1):
    """Float in and out; weights as they are, as float16, as int8 turned back, or as int8 for a hybrid kernel."""
    file = Tflite()
    x = file.tensor(names[0], "FLOAT32", [batch, FEATURES], signature=[-1, FEATURES])
    hidden = file.tensor("hidden", "FLOAT32", [batch, CLASSES], signature=[-1, CLASSES])
    y = file.tensor(names[1], "FLOAT32", [batch, CLASSES], signature=[-1, CLASSES])
    learned, version = _weights(file, weights, per_channel=per_channel)
    bias = file.tensor("bias", "FLOAT32", [CLASSES], BIAS)
    file.operator("FULLY_CONNECTED", [x, learned, bias], [hidden], schema.FullyConnectedOptionsT(), version=version)
    file.operator("SOFTMAX", [hidden], [y], softmax_options())
    return file.finish([x], [y])


def _weights(file, kind, *, per_channel):
    if kind == "FLOAT32":
        return file.tensor("weights", "FLOAT32", WEIGHTS.shape, WEIGHTS), 1
    quantized, scale = int8_weights()
    if per_channel:
        scale = (np.abs(WEIGHTS).max(axis=1) / 127).astype(np.float32)
        quantized = np.rint(WEIGHTS / scale[:, None]).astype(np.int8)
    if kind == "hybrid":
        return file.tensor("weights", "INT8", WEIGHTS.shape, quantized, scale), 12 if per_channel else 3
    floats = file.tensor("weights_float", "FLOAT32", WEIGHTS.shape)
    if kind == "FLOAT16":
        stored = file.tensor("weights", "FLOAT16", WEIGHTS.shape, WEIGHTS.astype(np.float16))
    else:
        stored = file.tensor("weights", "INT8", WEIGHTS.shape, quantized, scale)
    file.operator("DEQUANTIZE", [stored], [floats], schema.DequantizeOptionsT(), version=3)
    return floats, 1


def tflite_int8(*, kind="INT8", zero_point=0, output_scale=1 / 256, scores=True):
    """Integers in and out: 8 bits throughout, or 16-bit activations by 8-bit weights."""
    file = Tflite()
    wide = kind == "INT16"
    x = file.tensor("x", kind, [1, FEATURES], scale=4 / 32768 if wide else INPUT_SCALE, zero_point=zero_point)
    hidden = file.tensor("hidden", kind, [1, CLASSES], scale=24 / 32768 if wide else 24 / 256)
    limits = {"INT8": -128, "INT16": 0}
    y = file.tensor("y", kind, [1, CLASSES], scale=1 / 32768 if wide else output_scale, zero_point=limits[kind])
    quantized, scale = int8_weights()
    weights = file.tensor("weights", "INT8", WEIGHTS.shape, quantized, scale)
    step = scale * (4 / 32768 if wide else INPUT_SCALE)
    wanted = np.int64 if wide else np.int32
    bias = file.tensor("bias", "INT64" if wide else "INT32", [CLASSES], np.rint(BIAS / step).astype(wanted), step)
    result = hidden if scores else y
    version = 7 if wide else 4
    file.operator("FULLY_CONNECTED", [x, weights, bias], [hidden], schema.FullyConnectedOptionsT(), version=version)
    if scores:
        file.operator("SOFTMAX", [hidden], [y], softmax_options(), version=3 if wide else 2)
        result = y
    file.note(b"min_runtime_version", b"2.3.0")
    return file.finish([x], [result])


def onnx_model(*, batch="batch", names=("features", "scores"), logits=False, features=FEATURES, opset=17, ir_version=8):
    """Gemm and Softmax in float, with an open batch dimension unless told otherwise."""
    nodes = [
        helper.make_node("Gemm", [names[0], "weights", "bias"], ["logits"], transB=1, name="gemm"),
        helper.make_node("Softmax", ["logits"], [names[1]], axis=-1, name="softmax"),
    ]
    outputs = [helper.make_tensor_value_info(names[1], TensorProto.FLOAT, [batch, CLASSES])]
    if logits:
        outputs.insert(0, helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, CLASSES]))
    graph = helper.make_graph(
        nodes,
        "foreign",
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, [batch, features])],
        outputs,
        [numpy_helper.from_array(WEIGHTS, "weights"), numpy_helper.from_array(BIAS, "bias")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = ir_version
    return model


def onnx_file(**named):
    return onnx_model(**named).SerializeToString()
