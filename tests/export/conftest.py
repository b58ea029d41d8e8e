"""One small model, trained and exported once in all four variants, and a converter that replays it."""

from __future__ import annotations

import importlib.util
import wave
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from edgeml_export import export_bundle
from edgeml_runtime.contract_parse import parse_contract


@pytest.fixture(scope="session")
def tiny():
    """The module with the tiny model, its contract and its data; its file can also be run as a program."""
    spec = importlib.util.spec_from_file_location("tiny_model", Path(__file__).with_name("tiny_model.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """Sums depend on the number of threads, and the export in another process is compared byte for byte."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def make_contract(tiny):
    """A contract of the tiny model, with other export rules."""

    def make(**export):
        data = tiny.contract_data()
        data["export"] |= export
        return parse_contract(data, source="test")

    return make


@pytest.fixture(scope="session")
def items(tiny):
    """Training and test split: [n, 256] int16, four classes."""
    return SimpleNamespace(train=tiny.make_items(160, seed=1), test=tiny.make_items(101, seed=2))


@pytest.fixture(scope="session")
def trained(tiny, items):
    """The tiny model after a few steps, left in training mode, as users forget it."""
    torch.manual_seed(0)
    model = tiny.TinyFused()
    waveforms = torch.from_numpy(items.train.inputs["waveform"])
    targets = torch.from_numpy(items.train.targets)
    model.features.fit(waveforms)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(60):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(model(waveforms)["logits"], targets).backward()
        optimizer.step()
    return model.train()


@pytest.fixture(scope="session")
def wav_file(items, tmp_path_factory):
    """Test item 7 as a WAV file."""
    path = tmp_path_factory.mktemp("recordings") / "seven.wav"
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(items.test.inputs["waveform"][7].astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def exported(trained, make_contract, items, wav_file, tmp_path_factory):
    """The whole export, with what it reported on its way, and what was traced and converted."""
    from edgeml_export import export, variant_maker

    converted, traces, events = {}, [], []
    load, trace = variant_maker.load_converter, export.trace

    def recording_converter(format_):
        class Recording(load(format_)):
            def convert(self, plan, *args):
                converted[plan.spec.id] = super().convert(plan, *args)
                return converted[plan.spec.id]

        return Recording

    def recording_trace(*args, **named):
        traces.append(trace(*args, **named))
        return traces[-1]

    before = {name: tensor.clone() for name, tensor in trained.state_dict().items()}
    out = tmp_path_factory.mktemp("export") / "tiny-1.0.0.edgeml"
    contract = make_contract()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(variant_maker, "load_converter", recording_converter)
        patch.setattr(export, "trace", recording_trace)
        report = export_bundle(
            trained,
            contract=contract,
            calibration=items.train,
            test=items.test,
            out=out,
            golden_files={7: str(wav_file)},
            card="# tiny\n",
            progress=events.append,
        )
    return SimpleNamespace(
        report=report,
        out=out,
        contract=contract,
        events=events,
        converted=converted,
        traced=traces[0],
        model=trained,
        state_before=before,
    )


@pytest.fixture
def occupied(tmp_path):
    """A path at which a bundle lies already, and a check that it still does, alone."""
    path = tmp_path / "there" / "tiny.edgeml"
    path.parent.mkdir()
    path.write_bytes(b"the bundle of yesterday")

    def assert_untouched():
        assert path.read_bytes() == b"the bundle of yesterday"
        assert [other.name for other in path.parent.iterdir()] == [path.name]

    return SimpleNamespace(path=path, assert_untouched=assert_untouched)


@pytest.fixture
def no_emulator(monkeypatch):
    """A machine on which nothing can be run as if without VNNI, which takes seconds."""
    from edgeml_export import vnni_check

    monkeypatch.setattr(vnni_check, "emulator", lambda: None)


@pytest.fixture
def replay(exported, no_emulator, monkeypatch):
    """Export again from what was converted before, so that only what follows conversion is done; takes replacements."""
    from edgeml_export import export, variant_maker

    def install(**replacements):
        known = exported.converted | {name.replace("_", "-"): value for name, value in replacements.items()}

        def load(format_):
            return lambda prepared, traced: SimpleNamespace(convert=lambda plan, *args: known[plan.spec.id])

        monkeypatch.setattr(variant_maker, "load_converter", load)
        monkeypatch.setattr(export, "trace", lambda prepared, **named: exported.traced)

    return install


@pytest.fixture
def run_export(trained, make_contract, items, wav_file):
    """Call export_bundle as the session's export does, with other arguments where given."""

    def run(out, **changes):
        arguments = {
            "contract": make_contract(),
            "calibration": items.train,
            "test": items.test,
            "golden_files": {7: str(wav_file)},
            "card": "# tiny\n",
        } | changes
        return export_bundle(arguments.pop("fused", trained), out=out, **arguments)

    return run
