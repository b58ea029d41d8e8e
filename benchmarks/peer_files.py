"""Write one network of the zoo as every peer's own tools make it, beside our bundle of it.

``python benchmarks/peer_files.py NETWORK FOLDER`` fills the folder. The peers get the bare network with batch
normalisation folded in, and the same weights and calibration items as the bundle. Their own ways to int8: ONNX
Runtime's ``quantize_static`` (QDQ, uint8 activations, int8 weights per channel), which OpenVINO reads too; the static
recipe of ai-edge-quantizer with int8 in and out; PT2E with the XNNPACK quantizer for ExecuTorch. ncnn's need programs
(``ncnn2table``, ``ncnn2int8``) that its wheels leave out.

The libraries beside .venv are those of ``make peers``.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from peer_fronts import FRONT_FILE, front_of, save_front
from peer_table import BUNDLE, FP32, INT8, ITEMS_FILE, SITE
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval, fuse_linear_bn_eval
from zoo import ZOO, ZooEntry

from edgeml_export import export_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeml_train.fused import FusedModel

    Array = NDArray[Any]

VARIANTS = ("onnx-fp32", "onnx-int8", "tflite-fp32", "tflite-int8")
CALIBRATION_ITEMS = 128
ITEMS = 64


class ChannelsLast(nn.Module):
    """The network fed [b, height, width, channels], as TFLite's kernels want it; other shapes as they are."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, values: Tensor) -> Tensor:
        """Permute images, and run."""
        out: Tensor = self.network(values.permute(0, 3, 1, 2) if values.dim() == 4 else values)
        return out


def main() -> int:
    """Write the files of one network."""
    options = parse_arguments()
    sys.path.append(str(SITE))
    torch.set_num_threads(1)
    folder: Path = options.folder
    entry = next(entry for entry in ZOO if entry.name == options.network)
    fused = entry.build()
    network = folded(entry.bare())
    calibration = features_of(fused, entry.items(CALIBRATION_ITEMS, 1).inputs)
    write_items(entry, fused, network, folder / ITEMS_FILE)
    save_front(front_of(fused.features), folder / FRONT_FILE)
    write_bundle(entry, fused, folder / BUNDLE)
    write_onnx(network, calibration, folder)
    write_tflite(network, calibration, folder)
    write_executorch(network, calibration, folder)
    write_ncnn(network, calibration[:1], folder)
    return 0


def parse_arguments() -> argparse.Namespace:
    """The script's arguments."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("network", choices=[entry.name for entry in ZOO], help="a network of the zoo")
    parser.add_argument("folder", type=Path, help="an existing folder for the files")
    return parser.parse_args()


def folded(network: nn.Module) -> nn.Module:
    """A network in evaluation mode, the same without its batch normalisation."""
    network.eval()
    for chain in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        names = list(chain._modules)
        for first, second in pairwise(names):
            layer, norm = chain._modules[first], chain._modules[second]
            if isinstance(norm, nn.BatchNorm2d) and isinstance(layer, nn.Conv2d):
                chain._modules[first] = fuse_conv_bn_eval(layer, norm)
                chain._modules[second] = nn.Identity()
            elif isinstance(norm, nn.BatchNorm1d) and isinstance(layer, nn.Linear):
                chain._modules[first] = fuse_linear_bn_eval(layer, norm)
                chain._modules[second] = nn.Identity()
    left = [name for name, module in network.named_modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)]
    if left:
        raise SystemExit(f"batch normalisation is left at {', '.join(left)}; fold it too")
    return network


def features_of(fused: FusedModel, inputs: dict[str, Array]) -> Tensor:
    """What the bare network takes: float32 [items, *shape]."""
    (raw,) = inputs.values()
    with torch.no_grad():
        values: Tensor = fused.features(torch.from_numpy(raw))
    # The zoo's autoencoder flattens inside its wrapper.
    return values.flatten(1) if values.shape[1] == 1 and not has_convolution(fused.network) else values


def has_convolution(network: nn.Module) -> bool:
    """Whether a network has a two-dimensional convolution."""
    return any(isinstance(module, nn.Conv2d) for module in network.modules())


def write_items(entry: ZooEntry, fused: FusedModel, network: nn.Module, path: Path) -> None:
    """Raw items, what the bare network takes of them, and what PyTorch makes of that, both bare and in full."""
    items = entry.items(ITEMS, 3)
    (raw,) = items.inputs.values()
    values = features_of(fused, dict(items.inputs))
    with torch.no_grad():
        bare = network(values)
        full = fused.logits(torch.from_numpy(raw))
    np.savez(path, raw=raw, values=values.numpy(), bare=bare.numpy(), full=full.numpy())


def write_bundle(entry: ZooEntry, fused: FusedModel, path: Path) -> None:
    """Our bundle, from raw inputs, as `edgeml export` makes it."""
    # Whether int8 decides well enough is asked of all sides alike before they are timed.
    rules = replace(entry.contract.export, variants=VARIANTS, required=VARIANTS, max_metric_drop=0.2)
    contract = replace(entry.contract, export=rules)
    calibration, test = entry.items(CALIBRATION_ITEMS, 1), entry.items(CALIBRATION_ITEMS, 2)
    report = export_bundle(fused, contract=contract, calibration=calibration, test=test, out=path)
    if not report.ok:
        raise SystemExit("\n".join(f"{variant.id}: {variant.reason}" for variant in report.variants if variant.reason))


def write_onnx(network: nn.Module, calibration: Tensor, folder: Path) -> None:
    """The network for ONNX Runtime and OpenVINO, in fp32 and in int8 as ONNX Runtime's tools make it."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    plain, prepared = folder / f"{FP32}.onnx", folder / "prepared.onnx"
    names = {"input_names": ["values"], "output_names": ["out"]}
    torch.onnx.export(network, (calibration[:1],), dynamo=True, external_data=False, verbose=False, **names).save(plain)

    class Reader(CalibrationDataReader):
        """One item after another."""

        def __init__(self) -> None:
            self.left = iter(calibration.numpy())

        def get_next(self) -> dict[str, Array] | None:
            item = next(self.left, None)
            return None if item is None else {"values": item[np.newaxis]}

    quant_pre_process(str(plain), str(prepared))
    quantize_static(
        str(prepared),
        str(folder / f"{INT8}.onnx"),
        Reader(),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
    )


def write_tflite(network: nn.Module, calibration: Tensor, folder: Path) -> None:
    """The network for LiteRT, in fp32 and in int8 with int8 in and out."""
    import litert_torch
    from ai_edge_quantizer import calibrator, quantizer, recipe
    from ai_edge_quantizer.utils import qsv_utils

    values = calibration.permute(0, 2, 3, 1).contiguous() if calibration.dim() == 4 else calibration
    plain = folder / f"{FP32}.tflite"
    litert_torch.convert(ChannelsLast(network).eval(), (values[:1],)).export(str(plain))
    made = quantizer.Quantizer(str(plain), recipe.static_wi8_ai8())
    data = {"serving_default": [{"args_0": item[np.newaxis]} for item in values.numpy()]}
    # The default, a moving average, clips: RMS errors are several times as large.
    ranges = calibrator.Calibrator(str(plain), num_threads=1, qsv_update_func=qsv_utils.min_max_update)
    ranges.calibrate(data, made._recipe_manager)
    (folder / f"{INT8}.tflite").write_bytes(made.quantize(ranges.get_model_qsvs()).quantized_model)


def write_executorch(network: nn.Module, calibration: Tensor, folder: Path) -> None:
    """The network for ExecuTorch with XNNPACK, in fp32 and in int8 by PT2E."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
        XNNPACKQuantizer,
        get_symmetric_quantization_config,
    )
    from executorch.exir import to_edge_transform_and_lower
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    example = (calibration[:1],)

    def lower(module: nn.Module, path: Path) -> None:
        edge = to_edge_transform_and_lower(torch.export.export(module, example), partitioner=[XnnpackPartitioner()])
        path.write_bytes(edge.to_executorch().buffer)

    lower(network, folder / f"{FP32}.pte")
    choice = XNNPACKQuantizer()
    choice.set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(torch.export.export(network, example).module(), choice)
    with torch.no_grad():
        for item in calibration:
            prepared(item[None])
    lower(convert_pt2e(prepared), folder / f"{INT8}.pte")


def write_ncnn(network: nn.Module, example: Tensor, folder: Path) -> None:
    """The network for ncnn by pnnx, with weights in float32."""
    import pnnx

    # A name in front of the layers' numbers: pnnx also writes Python code, and reads it.
    named = nn.Sequential(OrderedDict(network=network)).eval()
    with within(folder), torch.no_grad():
        pnnx.export(
            named,
            "traced.pt",
            inputs=(example,),
            ncnnparam=f"{FP32}.param",
            ncnnbin=f"{FP32}.bin",
            fp16=False,
        )


@contextmanager
def within(folder: Path) -> Iterator[None]:
    """Work in another folder: pnnx leaves its files in the current one."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


if __name__ == "__main__":
    sys.exit(main())
