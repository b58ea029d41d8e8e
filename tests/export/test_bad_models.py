"""Models that cannot be exported: an error that names module, line and what to do, and nothing half-written."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from edgeml_runtime.errors import ProjectError

HERE = Path(__file__)


def line_of(marker):
    """``FILE:LINE`` of the line of this file that ends in a comment."""
    lines = HERE.read_text(encoding="utf-8").splitlines()
    (number,) = (index for index, line in enumerate(lines, start=1) if line.endswith(f"# {marker}"))
    return f"{HERE}:{number}"


class Layer(nn.Module):
    """A module that computes something with the logits."""

    def __init__(self, compute):
        super().__init__()
        self.compute = compute

    def forward(self, x):
        return self.compute(x)


class Other(nn.Module):
    """The tiny model with a post-processing of its own, or another network."""

    def __init__(self, model, after=None, network=None):
        super().__init__()
        self.features, self.network = model.features, network or model.network
        self.after = after or (lambda logits: {"logits": logits, "scores": torch.softmax(logits, dim=-1)})

    def forward(self, waveform):
        return self.after(self.network(self.features(waveform)))


def broken(model, change):
    """A copy of the model after a change."""
    copied = copy.deepcopy(model)
    change(copied)
    return copied


def ending_in(module):
    """Makes a copy of the model with one more module, ``network.10``, behind the logits."""
    return lambda model: broken(model, lambda copied: copied.network.append(module))


def with_nan_weight(model):
    model.network[3].weight.data[0, 0, 0, 0] = float("nan")


def with_infinite_buffer(model):
    model.features.mean[3] = float("inf")


def without(name):
    return lambda model: Other(model, lambda x: {key: x for key in ("logits", "scores") if key != name})


def outputs_of(logits):
    return {"logits": logits, "scores": torch.softmax(logits, dim=-1)}


UNUSABLE = {
    "a weight that is NaN": (
        lambda m: broken(m, with_nan_weight),
        "finite weights.*NaN or infinity in network.3.weight",
    ),
    "a buffer that is infinite": (lambda m: broken(m, with_infinite_buffer), "infinity in features.mean"),
    "an output is missing": (without("scores"), "no output 'scores', only logits"),
    "no mapping": (lambda m: Other(m, lambda x: x), "mapping from output name to tensor, found Tensor"),
    "another shape": (lambda m: Other(m, lambda x: outputs_of(x[:, :3])), r"float32\[1, 4\].*float32\[1, 3\]"),
    "another dtype": (lambda m: Other(m, lambda x: outputs_of(x.double())), "found float64"),
    "NaN from finite weights": (lambda m: Other(m, lambda x: outputs_of(x * float("inf") * 0)), "holds NaN"),
    "forward raises": (lambda m: Other(m, lambda x: x.no_such_method()), "fails on one item of waveform: int16.1, 256"),
}


@pytest.mark.parametrize(("make", "message"), UNUSABLE.values(), ids=UNUSABLE)
def test_unusable_model(trained, run_export, occupied, make, message):
    with pytest.raises(ProjectError, match=message):
        run_export(occupied.path, fused=make(trained))
    occupied.assert_untouched()


class StuckDropout(nn.Dropout):
    """Overrides train(), so that eval() does not reach it."""

    def train(self, mode=True):
        return super().train(mode=True)


class StuckNorm(nn.BatchNorm2d):
    """The same with running statistics."""

    def train(self, mode=True):
        return super().train(mode=True)


class Counting(nn.Module):
    """Keeps a number from one call to the next."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x):
        self.calls += 1
        return x


class Caching(nn.Module):
    """Makes a constant at its first call, which is no state."""

    def __init__(self):
        super().__init__()
        self.register_buffer("scale", None)

    def forward(self, x):
        if self.scale is None:
            self.scale = torch.ones(4)
        return x * self.scale


def seeded(x):
    torch.manual_seed(3)
    return x + torch.rand(4)


def with_stuck_norm(model):
    norm = StuckNorm(8)
    norm.load_state_dict(model.network[1].state_dict())
    model.network[1] = norm


def with_batch_statistics(model):
    model.network[1] = nn.BatchNorm2d(8, track_running_stats=False)


DRAWS = "module 'network.10' draws random numbers in evaluation mode"
UNSTEADY = {
    "torch.rand": (ending_in(Layer(lambda x: x + torch.rand(4))), f"{DRAWS}; take .*torch.rand"),
    "dropout whose training is left at True": (ending_in(Layer(F.dropout)), f"{DRAWS}; take .*self.training"),
    "dropout that eval() does not reach": (
        ending_in(StuckDropout()),
        rf"{DRAWS} \(module 'network.10' stays in training mode after eval\(\)",
    ),
    "in the fused model itself": (
        lambda m: Other(m, lambda x: outputs_of(x + torch.rand(4))),
        "the fused model itself draws random numbers",
    ),
    "numpy's generator": (
        ending_in(Layer(lambda x: x + float(np.random.default_rng().normal()))),
        "module 'network.10' gives another output for the same item when it is run again in evaluation mode",
    ),
    "batch normalisation that eval() does not reach": (
        lambda m: broken(m, with_stuck_norm),
        r"'network.1' changes its own '(running_mean|num_batches_tracked)' .*'network.1' stays in training mode",
    ),
    "a counter": (ending_in(Counting()), "module 'network.10' changes its own 'calls'.*as an input and an output"),
    "statistics of the batch": (
        lambda m: broken(m, with_batch_statistics),
        "module 'network.1' gives another output for an item when other items are in the batch",
    ),
    "what is done to the first item alone": (
        ending_in(Layer(lambda x: x.index_put((torch.tensor([0]), torch.tensor([1])), torch.tensor(5.0)))),
        "module 'network.10' gives another output for an item when other items are in the batch",
    ),
    "a sum over the batch": (
        ending_in(Layer(lambda x: x / x.abs().sum())),
        "module 'network.10' gives another output for an item when .*without a dimension",
    ),
}


@pytest.mark.parametrize(("make", "message"), UNSTEADY.values(), ids=UNSTEADY)
def test_model_that_does_not_give_the_same_answer(trained, run_export, occupied, make, message):
    """The module is named in which the difference begins, not those behind it."""
    with pytest.raises(ProjectError, match=message):
        run_export(occupied.path, fused=make(trained))
    occupied.assert_untouched()


class Normalising(nn.Module):
    """Batch normalisation by the statistics of the batch, in forward; one image has some too."""

    def forward(self, x):
        return F.batch_norm(x, None, None, training=True)  # batch norm


class Drawing(nn.Module):
    """Draws the same numbers at every call, so that running it again tells nothing."""

    def forward(self, x):
        torch.manual_seed(3)
        return x + torch.rand(4)  # draw


RANDOM_IN_THE_GRAPH = {
    "numbers that are seeded anew": (ending_in(Drawing()), "rand in module 'network.10'", "draw"),
    "batch norm by one item": (
        lambda m: broken(m, lambda copied: copied.network.__setitem__(1, Normalising())),
        "batch_norm in module 'network.1'",
        "batch norm",
    ),
}


@pytest.mark.parametrize(("make", "message", "marker"), RANDOM_IN_THE_GRAPH.values(), ids=RANDOM_IN_THE_GRAPH)
def test_random_operator_is_named_with_its_line(trained, run_export, items, occupied, make, message, marker):
    """With one item, no other of the batch can tell."""
    one = items.train.take(np.arange(1))
    with pytest.raises(ProjectError, match=message) as caught:
        run_export(occupied.path, fused=make(trained), calibration=one)
    assert line_of(marker) in str(caught.value)
    occupied.assert_untouched()


class Branching(nn.Module):
    def forward(self, x):
        if x.sum() > 0:  # branch
            return x
        return -x


class Looping(nn.Module):
    def forward(self, x):
        for _ in range(int(x[0, 0].abs())):  # loop
            x = x * 2
        return x


class Asserting(nn.Module):
    def forward(self, x):
        assert x.abs().max() < 1e9  # assertion
        return x


class InNumpy(nn.Module):
    def forward(self, x):
        return x * torch.from_numpy(np.sign(x.numpy()))  # numpy


class Comparing(nn.Module):
    def forward(self, x):
        return same_or_negated(x)


def same_or_negated(x):
    return x if torch.allclose(x, x) else -x  # helper


DYNAMIC = {
    "a branch": (Branching, "branch", "decides by the values of tensors.*torch.where"),
    "a loop": (Looping, "loop", "decides by the values of tensors.*a loop with a fixed count"),
    "an assertion": (Asserting, "assertion", "decides by the values of tensors"),
    "a function that the module calls": (Comparing, "helper", "decides by the values of tensors"),
    "numpy": (InNumpy, "numpy", "compute with operators of torch alone"),
}


@pytest.mark.parametrize(("kind", "marker", "message"), DYNAMIC.values(), ids=DYNAMIC)
def test_dynamic_control_flow_names_module_and_line(trained, run_export, items, occupied, kind, marker, message):
    """With one item, so that nothing else is said of it before."""
    one = items.train.take(np.arange(1))
    with pytest.raises(ProjectError, match=message) as caught:
        run_export(occupied.path, fused=ending_in(kind())(trained), calibration=one)
    assert "module 'network.10'" in str(caught.value)
    assert line_of(marker) in str(caught.value)
    occupied.assert_untouched()


class Decomposing(nn.Module):
    """An operator that neither format's converter knows."""

    def forward(self, x):
        return x + torch.linalg.svdvals(x.reshape(-1, 2, 2)).sum(-1, keepdim=True)  # svd


class Complementing(nn.Module):
    """The converter's message names the operator."""

    def forward(self, x):
        return torch.erfc(x)  # complement


class Multiplying(nn.Module):
    """ONNX's exporter names what it made of this operator, and not the operator."""

    def forward(self, x):
        return torch.cumprod(torch.sigmoid(x), 1)  # product


class Turning(nn.Module):
    """The converter's message names an operator on complex numbers, behind the one that made them."""

    def forward(self, x):
        spectrum = torch.fft.fft(x)  # transform
        return x + torch.view_as_real(spectrum)[..., 0]


class Sorting(nn.Module):
    """The converter leaves an operator that no runtime computes, and raises nothing."""

    def forward(self, x):
        return torch.sort(x, 1).values  # sort


class Halved(nn.Module):
    """ONNX Runtime has no kernel for it."""

    def forward(self, x):
        return (x.to(torch.bfloat16) * 1.5).to(torch.float32)  # half


LONG = pytest.mark.long
PRODUCT = ("product", "cumprod", "torch.exp(torch.cumsum(torch.log(x), 1))")
SVD = ("svd", "linalg_svdvals", "x @ matrix")
MISSING = [
    pytest.param("tflite-fp32", Complementing, "complement", "erfc", "1 - torch.erf(x)", id="named by litert-torch"),
    pytest.param("onnx-fp32", Multiplying, *PRODUCT, id="named by halving the graph"),
    pytest.param("onnx-fp32", Decomposing, *SVD, id="named by torch.onnx", marks=LONG),
    pytest.param("tflite-fp32", Decomposing, *SVD, id="tflite: svd", marks=LONG),
    pytest.param("tflite-fp32", Multiplying, *PRODUCT, id="tflite: a product", marks=LONG),
    pytest.param(
        "tflite-fp32", Turning, "transform", "fft_fft", "torch.fft.rfft(x).abs()", id="complex numbers", marks=LONG
    ),
    pytest.param("tflite-fp32", Sorting, "sort", "sort", "x.amax(1)", id="left in the file", marks=LONG),
    pytest.param("onnx-fp32", Halved, "half", "mul", "x.to(torch.float32)", id="no kernel", marks=LONG),
]


@pytest.mark.parametrize(("variant_id", "kind", "marker", "operator", "instead"), MISSING)
def test_missing_operator_names_module_line_and_replacement(
    trained, run_export, make_contract, occupied, variant_id, kind, marker, operator, instead
):
    contract = make_contract(variants=[variant_id], required=[])
    with pytest.raises(ProjectError) as caught:
        run_export(occupied.path, fused=ending_in(kind())(trained), contract=contract)
    message = str(caught.value)
    assert message.startswith(f"export: {variant_id}: the model cannot be converted to ")
    assert f"no counterpart for {operator} as used in module 'network.10' ({line_of(marker)})" in message
    assert instead in message.partition("; instead: ")[2]
    assert "export.variants" in message
    occupied.assert_untouched()


@LONG
def test_missing_operator_inside_a_module_of_torch_names_the_users_line(trained, run_export, make_contract, occupied):
    """The line is the one that called the network, for the one inside torch tells nobody anything."""
    model = broken(trained, lambda copied: copied.network.__setitem__(6, nn.AdaptiveMaxPool2d(1)))
    contract = make_contract(variants=["tflite-fp32"], required=[])
    with pytest.raises(ProjectError, match=r"adaptive_max_pool2d as used in module 'network.6'") as caught:
        run_export(occupied.path, fused=model, contract=contract)
    tiny_model = HERE.with_name("tiny_model.py")
    lines = tiny_model.read_text(encoding="utf-8").splitlines()
    number = next(index for index, line in enumerate(lines, start=1) if "self.network(self.features" in line)
    assert f"{tiny_model}:{number}" in str(caught.value)
    occupied.assert_untouched()


class OwnEval(nn.Dropout):
    """Overrides eval(), which a model's own eval() does not call: train(False) does the work."""

    def eval(self):
        return self


def test_a_module_with_its_own_eval_is_in_evaluation_mode(trained, items, make_contract):
    from edgeml_export.prepared import prepare

    prepared = prepare(ending_in(OwnEval())(trained), make_contract(), items.train, items.test)
    assert not any(module.training for module in prepared.module.modules())


@pytest.mark.parametrize(
    "make", [lambda m: broken(m, with_nan_weight), ending_in(Branching()), ending_in(Complementing())]
)
def test_nothing_is_left_where_nothing_was(trained, run_export, make_contract, items, tmp_path, make):
    """In any of the steps: before the model is traced, while it is, and while it is converted."""
    folder = tmp_path / "out"
    folder.mkdir()
    contract = make_contract(variants=["onnx-fp32", "tflite-fp32"], required=[])
    with pytest.raises(ProjectError):
        run_export(folder / "tiny.edgeml", fused=make(trained), contract=contract)
    assert list(folder.iterdir()) == []


def test_a_constant_made_at_the_first_call_is_no_state(trained, items, make_contract):
    """Of the model's own doing, and the same ever after."""
    from edgeml_export.prepared import prepare

    prepared = prepare(ending_in(Caching())(trained), make_contract(), items.train, items.test)
    assert prepared.batch > 1


def test_a_model_written_for_a_batch_of_one_is_exported(trained, items, make_contract):
    """Items are handed to it one by one."""
    from edgeml_export.prepared import prepare, run_eager

    fixed = Other(trained, network=nn.Sequential(trained.network, Layer(lambda x: x.reshape(1, 4))))
    prepared = prepare(fixed, make_contract(), items.train, items.test)
    assert prepared.batch == 1
    few = {"waveform": items.test.inputs["waveform"][:5]}
    expected = trained.eval()(torch.from_numpy(few["waveform"]))["logits"].detach().numpy()
    trained.train()
    assert run_eager(prepared, few)["logits"] == pytest.approx(expected, abs=1e-5)


def test_nan_for_a_test_item_names_the_item(trained, items, make_contract, run_export, occupied):
    """The square root of a level that no training item reaches."""
    loudest = int(np.abs(items.train.inputs["waveform"].astype(int)).max())
    test = items.test.take(np.arange(9))
    waveforms = test.inputs["waveform"].copy()
    waveforms[4, 7] = 32767
    assert loudest < 32767

    class Rooted(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = trained

        def forward(self, waveform):
            peak = waveform.to(torch.float32).amax(1, keepdim=True)
            logits = self.inner(waveform)["logits"] + 0 * torch.sqrt(32766.5 - peak)
            return outputs_of(logits)

    from edgeml_evaluate import LabelledData

    test = LabelledData(inputs={"waveform": waveforms}, targets=test.targets, attributes=test.attributes)
    contract = make_contract(variants=["onnx-fp32"], required=[], float_scopes=[])
    with pytest.raises(ProjectError, match=r"NaN or infinity in output 'logits' for the test item 4"):
        run_export(occupied.path, fused=Rooted(), contract=contract, test=test, golden_files={})
    occupied.assert_untouched()
