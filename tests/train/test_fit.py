from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch

from edgeml_runtime.errors import ProjectError
from edgeml_train.batches import BatchSampler, validation_batches
from edgeml_train.checkpoint import AtomicCheckpointIO, readable
from edgeml_train.fit import build_fused, fit, repeatable
from edgeml_train.fused import predict_array
from edgeml_train.module import schedule
from edgeml_train.settings import TrainSettings

SETTINGS = TrainSettings(epochs=6, batch_size=16, patience=6, threads=1, seed=1)


def trained(project, settings=SETTINGS, **arguments):
    splits = arguments.pop("splits", None) or project.task.splits()
    with repeatable(settings.threads):
        fused = build_fused(project.task, settings.seed)
        fused.features.fit(splits.train.inputs)
    result = fit(fused, project.task, splits, settings, **arguments)
    return fused, result


def same(first, second):
    pairs = zip(first.state_dict().values(), second.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


@pytest.fixture(scope="module")
def uninterrupted():
    """Weights of an uninterrupted training, made once."""
    return {}


@pytest.fixture
def reference(project, uninterrupted):
    if not uninterrupted:
        uninterrupted["fused"], uninterrupted["result"] = trained(project)
    return uninterrupted["fused"], uninterrupted["result"]


def test_training_learns(project, reference):
    fused, result = reference
    data = project.task.splits().validation
    accuracy = np.mean(predict_array(fused, data.inputs).argmax(axis=1) == data.targets)

    assert accuracy > 0.6  # chance is a third
    assert result.history[-1].val_loss < result.history[0].val_loss
    assert not fused.training


def test_batch_normalisation_learns(reference):
    fused, _ = reference

    assert float(fused.network[1].running_mean.abs().max()) > 0


def test_the_same_seed_gives_the_same_weights_whatever_happened_before(project, reference):
    torch.manual_seed(987)
    torch.rand(3)
    again, _ = trained(project)

    assert same(again, reference[0])


@pytest.mark.parametrize("change", [{"seed": 2}, {"augment": False}, {"learning_rate": 1e-3}])
def test_other_settings_give_other_weights(project, reference, change):
    other, _ = trained(project, replace(SETTINGS, **change))

    assert not same(other, reference[0])


class Stop(Exception):
    """Stands for whatever ends the process."""


@pytest.mark.parametrize("after", [0, 2, 5])
def test_resuming_ends_with_the_weights_of_an_uninterrupted_training(project, reference, tmp_path, after):
    checkpoint = tmp_path / "last.ckpt"

    def stop(event):
        # In the middle of the epoch that follows.
        if event.done > (after + 1) * 9 + 3:
            raise Stop

    epochs = []
    if after < 5:
        with pytest.raises(Stop):
            trained(project, checkpoint=checkpoint, progress=stop)
    else:
        trained(project, checkpoint=checkpoint)
    again, result = trained(project, checkpoint=checkpoint, on_epoch=epochs.append)

    assert result.resumed_at == after + 1
    assert [epoch.index for epoch in epochs] == list(range(after + 1, 6))
    assert result.history == reference[1].history
    assert result.best_epoch == reference[1].best_epoch
    assert same(again, reference[0])


def test_a_torn_checkpoint_is_as_good_as_none(project, reference, tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    checkpoint.write_bytes(b"PK\x03\x04 torn")

    again, result = trained(project, checkpoint=checkpoint)

    assert result.resumed_at is None
    assert same(again, reference[0])


def test_checkpoints_hold_no_objects(project, tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    trained(project, checkpoint=checkpoint)

    assert readable(checkpoint)
    assert "state_dict" in torch.load(checkpoint, weights_only=True)
    assert not list(tmp_path.glob("*.partial"))


def test_a_checkpoint_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"epoch": 1}, path)

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        AtomicCheckpointIO().save_checkpoint({"epoch": 2}, path)

    assert AtomicCheckpointIO().load_checkpoint(path) == {"epoch": 1}


def test_checkpoints_of_foreign_objects_are_not_loaded(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"epoch": Stop()}, path)

    assert not readable(path)


def test_early_stopping_keeps_the_best_weights(project):
    settings = replace(SETTINGS, epochs=40, patience=2, learning_rate=1.0)
    seen = {}

    def keep(epoch):
        seen[epoch.index] = epoch.val_loss

    fused, result = trained(project, settings, on_epoch=keep)

    assert len(result.history) < 40
    assert result.best_epoch == min(seen, key=seen.get) == len(result.history) - 1 - 2
    data = project.task.splits().validation
    logits = torch.from_numpy(predict_array(fused, data.inputs))
    loss = float(project.task.loss(logits, torch.from_numpy(data.targets)))
    assert loss == pytest.approx(seen[result.best_epoch], rel=1e-5)


def test_stopping_early_is_not_forgotten_by_an_interruption(project, tmp_path):
    settings, checkpoint = replace(SETTINGS, epochs=40, patience=2, learning_rate=1.0), tmp_path / "last.ckpt"
    first, result = trained(project, settings, checkpoint=checkpoint)
    again, resumed = trained(project, settings, checkpoint=checkpoint)

    assert resumed.history == result.history
    assert same(first, again)


def test_the_test_split_is_not_read(project, reference):
    splits = project.task.splits()
    poisoned = replace(splits, test=replace(splits.test, inputs={"x": np.full((60, 6), np.nan, np.float32)}))

    assert same(trained(project, splits=poisoned)[0], reference[0])


# In a process of its own: a signal that comes a moment late would end the tests' process.
INTERRUPTED = """
import os, signal, sys
from pathlib import Path
from edgeml_train import Project
from edgeml_train.fit import build_fused, fit
from edgeml_train.settings import TrainSettings

def interrupt(event):
    if event.done == 13:
        os.kill(os.getpid(), signal.SIGINT)

folder, checkpoint = map(Path, sys.argv[1:])
handler, task = signal.getsignal(signal.SIGINT), Project.open(folder).task
splits, fused = task.splits(), build_fused(task, 1)
fused.features.fit(splits.train.inputs)
try:
    fit(fused, task, splits, TrainSettings(epochs=6, batch_size=16), checkpoint=checkpoint, progress=interrupt)
except KeyboardInterrupt:
    print("interrupted,", "its" if signal.getsignal(signal.SIGINT) is handler else "another", "handler")
"""


def test_ctrl_c_comes_through_and_the_handler_stays(make_project, tmp_path):
    checkpoint = tmp_path / "last.ckpt"
    command = [sys.executable, "-c", INTERRUPTED, str(make_project()), str(checkpoint)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, "interrupted, its handler\n"), done.stderr
    assert readable(checkpoint)


def test_progress_counts_steps_and_ends_full(project):
    events = []
    trained(project, progress=events.append)

    done = [event.done for event in events]
    assert done == sorted(done)
    assert {event.total for event in events} == {54}
    assert events[-1].done == 54
    assert "validation" in events[-1].message


def test_nothing_is_printed(project, capfd):
    trained(project)

    assert capfd.readouterr() == ("", "")


def test_thread_settings_and_random_state_are_put_back(project):
    torch.manual_seed(5)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.get_rng_state()
    trained(project)

    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()) == before[:2]
    assert torch.equal(torch.get_rng_state(), before[2])


def test_a_loss_that_is_never_finite_is_refused(project, monkeypatch):
    monkeypatch.setattr(project.task, "loss", lambda logits, targets: logits.sum() * float("nan"))
    with pytest.raises(ProjectError, match="no finite validation loss"):
        trained(project)


def test_every_item_comes_once_an_epoch_in_an_order_of_its_own():
    sampler = BatchSampler(10, 3, seed=1)
    orders = []
    for epoch in (0, 1, 0):
        sampler.set_epoch(epoch)
        orders.append([tuple(batch) for batch in sampler])

    assert orders[0] == orders[2] != orders[1]
    assert [len(batch) for batch in orders[0]] == [3, 3, 3]
    assert len(set(sum(orders[0], ()))) == 9
    assert len(list(BatchSampler(2, 16, seed=1))) == 1


def test_read_only_and_strided_arrays_can_be_trained_on(project, reference):
    splits = project.task.splits()
    odd = np.asfortranarray(splits.train.inputs["x"])
    odd.flags.writeable = False

    assert same(
        trained(project, splits=replace(splits, train=replace(splits.train, inputs={"x": odd})))[0], reference[0]
    )


def test_validation_batches_cover_every_item_in_order(project):
    data = project.task.splits().validation
    batches = list(validation_batches(data, ("x",), 25))

    assert [len(batch[-1]) for batch in batches] == [25, 25, 10]
    assert torch.cat([batch[-1] for batch in batches]).tolist() == data.targets.tolist()


def test_schedule():
    assert schedule(0, 100) == 0.1
    assert schedule(9, 100) == schedule(10, 100) == 1.0
    assert schedule(55, 100) == pytest.approx(0.5)
    assert schedule(99, 100) < 0.001
    assert schedule(0, 1) == 1.0
