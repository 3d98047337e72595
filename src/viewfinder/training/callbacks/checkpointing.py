"""Checkpoints of a run: after each epoch, at intervals within it, and when a signal stops the run."""

import functools
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from viewfinder.errors import Pruned, Stopped
from viewfinder.reporting.tensorboard.writer import TensorBoard
from viewfinder.runs.atomic import copy_file, replace_file
from viewfinder.runs.folder import RunFolder
from viewfinder.training.callbacks.divergence import check_losses, check_row
from viewfinder.training.callbacks.epoch_log import EpochLog, collect_epoch_row
from viewfinder.training.callbacks.signals import Signals
from viewfinder.training.exchange import find_highest

log = logging.getLogger("viewfinder")
AfterEpoch = Callable[[Sequence[Mapping[str, Any]]], bool]
"""Receives the rows of all finished epochs; returns whether to prune the run."""


class Checkpointing(Checkpoint):
    """Callback that saves last.ckpt and best.ckpt, and records each epoch with them.

    Lightning calls a Checkpoint after the Classifier has logged the epoch's metrics.

    Args:
        folder: run folder.
        board: the run's TensorBoard; None in a process other than rank 0.
        signals: requests to stop the run.
        every: interval of checkpoints within an epoch: steps, or minutes as in "10min"; None for no such
            checkpoints. Several processes save only between calls by Lightning, where they agree to.
        after_epoch: called after each epoch's checkpoint, and once when a run is resumed.
    """

    def __init__(
        self,
        folder: RunFolder,
        board: TensorBoard | None,
        signals: Signals,
        every: int | str | None = None,
        after_epoch: AfterEpoch | None = None,
    ):
        self.folder, self.board, self.signals = folder, board, signals
        self.every_steps = every if isinstance(every, int) else None
        self.every_seconds = 60 * float(every.removesuffix("min")) if isinstance(every, str) else math.inf
        self.saved_step, self.saved_at = 0, time.monotonic()
        self.after_epoch = after_epoch
        self.epochs = EpochLog()

    @property
    def state_key(self) -> str:
        return "Recorder"  # fixed in the checkpoint format

    def state_dict(self) -> dict[str, Any]:
        return self.epochs.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.epochs.load_state_dict(state_dict)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.signals.listen()
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        if trainer.world_size == 1:
            pl_module.loop.after_step = functools.partial(self._after_step, trainer)
        self.report_epoch(trainer, is_over=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.loop.after_step = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.epochs.start_epoch()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.device.type == "cpu" and pl_module.losses:
            last = pl_module.losses[-1]
            check_losses(trainer, last, sum(map(len, pl_module.losses)) - len(last))
        if trainer.world_size > 1:
            self._after_step(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            check_losses(trainer, pl_module.epoch_losses())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        row = collect_epoch_row(trainer, pl_module.loop.lr)
        check_row(row)
        is_best = self.epochs.end_epoch(row, trainer.should_stop)
        if self.board is not None:  # before the checkpoint, because events can be truncated and a checkpoint cannot
            self.board.write_epoch(row, pl_module.predictions["val"])
        self._save(trainer)  # all processes take part; one writes
        if trainer.is_global_zero:
            if is_best:
                copy_file(self.folder.last, self.folder.best)
            self.epochs.write(self.folder, trainer.max_epochs, is_best)
        self.report_epoch(trainer, is_over=trainer.should_stop or row["epoch"] == trainer.max_epochs)
        if self._is_stop_requested(trainer):
            self._stop(trainer, f"after epoch {row['epoch']} of {trainer.max_epochs}; all of it is saved")

    def report_epoch(self, trainer: pl.Trainer, is_over: bool) -> None:
        """Pass the finished epochs to `after_epoch`.

        Args:
            is_over: whether training has ended, so that pruning would save nothing.

        Raises:
            Pruned: if `after_epoch` prunes the run.
        """
        rows = self.epochs.rows
        if self.after_epoch is None or not rows:
            return
        if self.after_epoch(rows) and not is_over:
            pruned = Pruned(f"pruned after epoch {rows[-1]['epoch']} of {trainer.max_epochs}")
            log.info(str(pruned))
            raise pruned

    def _after_step(self, trainer: pl.Trainer) -> None:
        """Save a checkpoint if one is due after an optimizer step or a validation batch, and stop if requested."""
        is_due = self.every_steps is not None and trainer.global_step - self.saved_step >= self.every_steps
        is_due = is_due or time.monotonic() - self.saved_at >= self.every_seconds
        is_requested = self._is_stop_requested(trainer)
        if trainer.world_size > 1:
            is_due = bool(find_highest(is_due, trainer.strategy.root_device))
        if not (is_requested or is_due):
            return
        check_losses(trainer, trainer.lightning_module.epoch_losses())  # type: ignore[operator, union-attr]
        self._save(trainer)
        if is_requested:
            step, epoch = trainer.global_step, trainer.current_epoch + 1
            self._stop(trainer, f"after step {step:,}, in epoch {epoch} of {trainer.max_epochs}; all of it is saved")

    def _save(self, trainer: pl.Trainer) -> None:
        is_writer = trainer.is_global_zero
        with replace_file(self.folder.last, is_writer) as temporary:
            trainer.save_checkpoint(temporary)
            if is_writer and self.folder.last.exists():
                self._save_previous()
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def _save_previous(self) -> None:
        with replace_file(self.folder.previous) as temporary:
            try:
                os.link(self.folder.last, temporary)
            except OSError:  # a file system without hard links
                shutil.copyfile(self.folder.last, temporary)

    def _is_stop_requested(self, trainer: pl.Trainer) -> bool:
        """Return whether to stop; all processes agree, because one that continued would wait for the others."""
        if trainer.world_size > 1:
            requested = find_highest(self.signals.requested or 0, trainer.strategy.root_device)
            if not requested:  # a later signal waits for the next call
                return False
            self.signals.requested = requested
        return self.signals.requested is not None

    def _stop(self, trainer: pl.Trainer, progress: str) -> NoReturn:
        assert self.signals.requested is not None
        stopped = Stopped(self.signals.requested)
        stopped.is_logged = True
        if trainer.is_global_zero:
            log.info(f"{stopped} {progress}")
            if self.epochs.rows:
                best = self.epochs.rows[self.epochs.best_epoch - 1]
                log.info(f"best     epoch {best['epoch']}: val accuracy {best['val/accuracy']:.4f}")
        else:
            stopped.code = 0  # or Lightning would kill rank 0 for it
        raise stopped

    def best_and_last_epoch(self) -> tuple[int, int]:
        """Return the best epoch and the last epoch, counted from 1."""
        return self.epochs.best_epoch, self.epochs.rows[-1]["epoch"]
