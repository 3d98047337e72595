"""Undocumented parts of Lightning that training uses, checked with pytorch-lightning 2.6."""

from typing import Any

import pytorch_lightning as pl


def count_optimizer_step(trainer: pl.Trainer, is_completed: bool) -> None:
    """Tell Lightning that an optimizer step begins, or that it has ended (`is_completed`); call this both times."""
    steps = _optimizer_steps(trainer)
    if is_completed:
        steps.completed += 1
    else:
        steps.ready += 1


def get_finished_epochs(trainer: pl.Trainer) -> int:
    """Return the number of epochs whose training batches are finished, even if callbacks still run."""
    return _epochs(trainer).processed


def restore_progress(trainer: pl.Trainer, epochs: int, steps: int) -> None:
    """Let `fit` continue after a number of finished epochs and optimizer steps."""
    current = _epochs(trainer)
    current.ready = current.started = current.processed = current.completed = epochs
    total = _optimizer_steps(trainer)
    total.ready = total.completed = steps


def train_without_end(trainer: pl.Trainer) -> None:
    """Train until a callback sets `trainer.should_stop`, without validation."""
    trainer.limit_val_batches = 0
    trainer.fit_loop.max_epochs = -1


def reload_data_loaders(trainer: pl.Trainer, is_due: bool) -> None:
    """Ask the data module for new loaders before the next epoch, or keep the present ones."""
    trainer.reload_dataloaders_every_n_epochs = int(is_due)  # type: ignore[attr-defined]


def _optimizer_steps(trainer: pl.Trainer) -> Any:
    return trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total


def _epochs(trainer: pl.Trainer) -> Any:
    return trainer.fit_loop.epoch_progress.current
