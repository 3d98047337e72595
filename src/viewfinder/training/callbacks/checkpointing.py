"""What is kept of a run as it goes on: a line on the terminal, a row of metrics.csv, the checkpoints."""

import functools
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn

import pandas as pd
import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import Checkpoint

from viewfinder.errors import Pruned, Stopped
from viewfinder.evaluation.metrics import METRICS
from viewfinder.reporting.tensorboard.writer import TensorBoard
from viewfinder.runs.atomic import copy_file, replace_file, replace_text
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.logging import log_wrapped
from viewfinder.training.callbacks.divergence import check_losses, check_row
from viewfinder.training.callbacks.signals import Signals
from viewfinder.training.phases import Phases

log = logging.getLogger("viewfinder")
AfterEpoch = Callable[[Sequence[Mapping[str, Any]]], bool]
"""Gets the rows of all epochs that are over; whether the run is to be given up."""
COLUMNS = ("train/loss", "train/accuracy", "val/loss", *(f"val/{name}" for name in METRICS), "lr")


class Recorder(Checkpoint):
    """Writes an epoch's row, events, line and checkpoints when it is over, and within it a checkpoint when one is due.

    Best is by val/accuracy, the earlier epoch on a tie. Lightning calls a Checkpoint after the Classifier has
    logged the metrics of the epoch.

    Args:
        folder: the run.
        board: its TensorBoard; None in a helper process.
        signals: those that ask the run to stop.
        every: between checkpoints within an epoch: steps, or minutes as in "10min"; None for none. Several processes
            make none, since each knows the metrics of its own batches alone.
        after_epoch: called when an epoch's checkpoint is saved, and with what was saved before when a run goes on.
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
        self.rows: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self.best_epoch, self.best_accuracy = 0, -1.0
        self.is_stopped_early = False
        self.started, self.elapsed, self.is_within = 0.0, 0.0, False
        """when the epoch was; how many of its seconds were before the run was continued; whether it goes on"""

    @property
    def state_key(self) -> str:
        return "Recorder"  # fixed in the checkpoint format

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.signals.listen()
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()
        if trainer.world_size == 1:
            pl_module.loop.between = functools.partial(self._between, trainer)
        phases = pl_module.phases
        if phases is not None and not phases.begins(trainer.current_epoch):  # where a run goes on within one
            self._say_phase(trainer, phases)
        self.hand_on(trainer, is_over=False)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        pl_module.loop.between = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.started, self.elapsed, self.is_within = time.perf_counter() - self.elapsed, 0.0, True
        phases, epoch = pl_module.phases, trainer.current_epoch
        if phases is not None and phases.begins(epoch):
            self._say_phase(trainer, phases)
            if self.board is not None:
                self.board.write_phase(phases.said(epoch), epoch + 1)

    def _say_phase(self, trainer: pl.Trainer, phases: Phases) -> None:
        if trainer.is_global_zero:
            log_wrapped(f"phase    {phases.said(trainer.current_epoch)}")

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if pl_module.device.type == "cpu" and pl_module.losses:
            last = pl_module.losses[-1]
            check_losses(trainer, last, sum(map(len, pl_module.losses)) - len(last))
        if trainer.world_size > 1 and self._is_asked(trainer):
            epoch = trainer.current_epoch
            saved = f"saved up to the end of epoch {epoch}" if epoch else "nothing is saved yet"
            self._stop(trainer, f"in epoch {epoch + 1} of {trainer.max_epochs}; {saved}")

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if trainer.state.fn == "fit":
            check_losses(trainer, pl_module.epoch_losses())

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        row = epoch_row(trainer, pl_module.loop.lr)
        check_row(row)
        better = row["val/accuracy"] > self.best_accuracy
        if better:
            self.best_epoch, self.best_accuracy = row["epoch"], row["val/accuracy"]
        self.rows.append(row)
        self.seconds.append(self._seconds())
        self.is_within = False
        self.is_stopped_early = trainer.should_stop
        if self.board is not None:  # before the checkpoint: of two, the events can be taken back
            self.board.write_epoch(row, pl_module.predictions["val"])
        self._save(trainer)  # every process takes part, one writes
        if trainer.is_global_zero:
            if better:
                copy_file(self.folder.last, self.folder.best)
            replace_text(self.folder.metrics, metrics_text(self.rows))
            self.seconds[-1] = self._seconds()
            self.folder.update_run(epoch_seconds=self.seconds)
            log.info(
                f"epoch {row['epoch']:3}/{trainer.max_epochs}  "
                f"loss {row['train/loss']:.4f} acc {row['train/accuracy']:.4f}  "
                f"val loss {row['val/loss']:.4f} acc {row['val/accuracy']:.4f}  "
                f"{self.seconds[-1]:5.1f} s{'  best' if better else ''}"
            )
        self.hand_on(trainer, is_over=self.is_stopped_early or row["epoch"] == trainer.max_epochs)
        if self._is_asked(trainer):
            self._stop(trainer, f"after epoch {row['epoch']} of {trainer.max_epochs}; all of it is saved")

    def hand_on(self, trainer: pl.Trainer, is_over: bool) -> None:
        """Show `after_epoch` the epochs so far.

        Args:
            is_over: the training, so that nothing is saved by giving it up.

        Raises:
            Pruned: if it is to be given up.
        """
        if self.after_epoch is None or not self.rows:
            return
        if self.after_epoch(self.rows) and not is_over:
            pruned = Pruned(f"pruned after epoch {self.rows[-1]['epoch']} of {trainer.max_epochs}")
            log.info(str(pruned))
            raise pruned

    def _between(self, trainer: pl.Trainer) -> None:
        """After a step, or a batch of validation: save if that is due, stop if that was asked for."""
        asked = self.signals.requested is not None
        due = self.every_steps is not None and trainer.global_step - self.saved_step >= self.every_steps
        if not (asked or due or time.monotonic() - self.saved_at >= self.every_seconds):
            return
        check_losses(trainer, trainer.lightning_module.epoch_losses())  # type: ignore[operator, union-attr]
        self._save(trainer)
        if asked:
            where = f"after step {trainer.global_step:,}, in epoch {trainer.current_epoch + 1} of {trainer.max_epochs}"
            self._stop(trainer, f"{where}; all of it is saved")

    def _save(self, trainer: pl.Trainer) -> None:
        is_writer = trainer.is_global_zero
        with replace_file(self.folder.last, is_writer) as beside:
            trainer.save_checkpoint(beside)
            if is_writer and self.folder.last.exists():
                self._keep_previous()
        self.saved_step, self.saved_at = trainer.global_step, time.monotonic()

    def _keep_previous(self) -> None:
        with replace_file(self.folder.previous) as beside:
            try:
                os.link(self.folder.last, beside)  # which is replaced next
            except OSError:  # of a file system without links
                shutil.copyfile(self.folder.last, beside)

    def _is_asked(self, trainer: pl.Trainer) -> bool:
        """Whether the run is to stop; several processes agree, or those that go on would wait for the others."""
        if trainer.world_size > 1:
            requested = torch.tensor(self.signals.requested or 0, device=trainer.strategy.root_device)
            torch.distributed.all_reduce(requested, torch.distributed.ReduceOp.MAX)
            if not int(requested):  # one that has arrived since waits for the next time
                return False
            self.signals.requested = int(requested)
        return self.signals.requested is not None

    def _stop(self, trainer: pl.Trainer, where: str) -> NoReturn:
        assert self.signals.requested is not None
        stopped = Stopped(self.signals.requested)
        stopped.is_logged = True
        if trainer.is_global_zero:
            log.info(f"{stopped} {where}")
            if self.rows:
                row = self.rows[self.best_epoch - 1]
                log.info(f"best     epoch {self.best_epoch}: val accuracy {row['val/accuracy']:.4f}")
        else:
            stopped.code = 0  # or Lightning would kill the first process for it
        raise stopped

    def _seconds(self) -> float:
        return round(time.perf_counter() - self.started, 3)

    def epochs(self) -> tuple[int, int]:
        """The best epoch and the last, from 1."""
        return self.best_epoch, self.rows[-1]["epoch"]

    def state_dict(self) -> dict[str, Any]:
        return {
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy,
            "rows": self.rows,
            "seconds": self.seconds,
            "elapsed": self._seconds() if self.is_within else 0.0,
            "is_stopped_early": self.is_stopped_early,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for name in self.state_dict():
            setattr(self, name, state_dict[name])


def epoch_row(trainer: pl.Trainer, lr: float) -> dict[str, Any]:
    """The epoch (from 1) and its metrics, as metrics.csv has them.

    Args:
        lr: the learning rate of the last step.
    """
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()} | {"lr": lr}
    return {"epoch": trainer.current_epoch + 1, **{name: metrics[name] for name in COLUMNS}}


def metrics_text(rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.7g")
