"""Fitting: the fitted features and the fresh network go in, the network with its best weights comes out."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import lightning.pytorch as pl
import torch
from torch import Tensor

from edgeml_runtime.errors import ProjectError
from edgeml_runtime.progress import Progress, silent
from edgeml_train.batches import train_batches, validation_batches
from edgeml_train.callbacks import BestWeights, Epoch, Interruption, StepProgress, early_stopping
from edgeml_train.checkpoint import AtomicCheckpointIO, readable
from edgeml_train.fused import FusedModel
from edgeml_train.module import TrainingModule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from torch.utils.data import DataLoader

    from edgeml_export.fakequant import SimulatedModel
    from edgeml_train.distil import Teacher
    from edgeml_train.settings import TrainSettings
    from edgeml_train.task import Splits, Task

__all__ = ["FitResult", "build_fused", "fit", "repeatable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitResult:
    """How a training went.

    Attributes:
        history: Every epoch, also those before an interruption.
        best_epoch: Index of the epoch whose weights were kept; -1 where there was none.
        resumed_at: Index of the first epoch run after an interruption, or None.
    """

    history: tuple[Epoch, ...]
    best_epoch: int
    resumed_at: int | None


def build_fused(task: Task, seed: int) -> FusedModel:
    """The task's features and network joined; the features are not fitted yet.

    Args:
        task: The task.
        seed: Seed of the initial weights.

    Returns:
        The model, in evaluation mode.
    """
    torch.manual_seed(seed)
    return FusedModel(task.contract, task.features(), task.network()).eval()


@contextmanager
def repeatable(threads: int) -> Iterator[None]:
    """Deterministic algorithms and a fixed number of threads, as before again afterwards.

    Args:
        threads: CPU threads of PyTorch.
    """
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    random_state = torch.get_rng_state()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.set_rng_state(random_state)


def fit(
    fused: FusedModel | SimulatedModel,
    task: Task,
    splits: Splits,
    settings: TrainSettings,
    *,
    teacher: Teacher | None = None,
    module_type: type[TrainingModule] = TrainingModule,
    checkpoint: Path | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: Progress = silent,
) -> FitResult:
    """Train, and leave the best weights in the model; without epochs, those it came with.

    Resuming from a checkpoint ends with the same weights as training without interruption: order, dropout and
    augmentation depend on seed and epoch only, everything else is in the checkpoint.

    Args:
        fused: The model; its features are fitted.
        task: Gives loss and augmentation.
        splits: The data; the test split is not read.
        settings: How to train.
        teacher: A trained model whose outputs are learned from as well, or None.
        module_type: What a step of training and of validation is.
        checkpoint: Written after every epoch, and resumed from when it is there; None for neither.
        on_epoch: Told about every epoch that is run.
        progress: Told about optimizer steps.

    Returns:
        How it went.

    Raises:
        ProjectError: When the validation loss was never finite.
        KeyboardInterrupt: On Ctrl-C; the checkpoint stays.
    """
    if settings.epochs == 0:
        return FitResult(history=(), best_epoch=-1, resumed_at=None)
    names = fused.input_names
    train = train_batches(splits.train, names, settings.batch_size, settings.seed)
    validation = validation_batches(splits.validation, names, max(settings.batch_size, 64))
    augmentation = task.augment() if settings.augment else None
    module = module_type(fused, task, augmentation, settings, task.contract, len(train), teacher)
    # Lightning keeps the mode it finds: left in evaluation, batch normalisation and dropout would never train.
    module.train()
    stopping = early_stopping(settings.patience)
    best = BestWeights(checkpoint, stopping, on_epoch)
    resume = checkpoint if checkpoint and readable(checkpoint) else None
    with repeatable(settings.threads), _quiet_lightning():
        trainer = _trainer(settings, [StepProgress(progress, settings.epochs), stopping, best])
        _run(trainer, module, train, validation, resume)
    if best.best_epoch < 0 or not torch.isfinite(torch.tensor(best.history[best.best_epoch].val_loss)):
        raise ProjectError(
            f"training gave no finite validation loss. Lower {module_type.rate_key}, or check the loss in task.py."
        )
    fused.cpu().load_state_dict(best.weights)
    fused.eval()
    return FitResult(history=tuple(best.history), best_epoch=best.best_epoch, resumed_at=best.resumed_at)


def _trainer(settings: TrainSettings, callbacks: list[pl.Callback]) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=settings.epochs,
        deterministic=True,
        callbacks=callbacks,
        plugins=[AtomicCheckpointIO()],
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def _run(
    trainer: pl.Trainer,
    module: TrainingModule,
    train: DataLoader[list[Tensor]],
    validation: DataLoader[list[Tensor]],
    resume: Path | None,
) -> None:
    """Run Lightning's loop, and give Ctrl-C back as ``KeyboardInterrupt``.

    Lightning ignores further SIGINTs after the first one and exits with ``SystemExit(1)``; a library may do neither.
    """
    interruption = Interruption()
    trainer.callbacks.append(interruption)  # type: ignore[attr-defined]
    on_main_thread = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if on_main_thread else None
    try:
        trainer.fit(module, train, validation, ckpt_path=resume, weights_only=True)
    except SystemExit as error:
        if isinstance(interruption.cause, KeyboardInterrupt):
            raise KeyboardInterrupt from error
        raise
    finally:
        if handler is not None:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Keep Lightning's announcements and hints off the terminal."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\..*")
            warnings.filterwarnings("ignore", message=r".*does not have many workers.*")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
