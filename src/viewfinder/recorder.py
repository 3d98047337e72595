"""What is kept of each epoch: a line on the terminal, a row of metrics.csv, the two checkpoints."""

import logging
import math
import os
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Checkpoint

from viewfinder.errors import Problem, ViewfinderError
from viewfinder.run_folder import RunFolder, replace_text, replacing
from viewfinder.tensorboard import TensorBoard

log = logging.getLogger("viewfinder")
COLUMNS = (
    "train/loss", "train/accuracy", "val/loss", "val/accuracy", "val/f1", "val/precision", "val/recall", "lr"
)  # fmt: skip


class Recorder(Checkpoint):
    """Writes an epoch's row, events, line and checkpoints when the epoch is over.

    Best is by val/accuracy, the earlier epoch on a tie. Lightning calls a Checkpoint after the Classifier has
    logged the metrics of the epoch.
    """

    def __init__(self, folder: RunFolder, board: TensorBoard | None):
        self.folder, self.board = folder, board
        self.rows: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self.best_epoch = 0
        self.best_accuracy = -1.0
        self.started = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        row = epoch_row(trainer, pl_module.loop.lr)  # type: ignore[union-attr]
        if not math.isfinite(row["train/loss"]):
            rule = f"is {row['train/loss']} after epoch {row['epoch']}: training has come apart"
            remedy = "Try a smaller optimizer.lr, or trainer.gradient_clip_val=1."
            raise ViewfinderError("the training", [Problem("train/loss", rule, remedy=remedy)])
        better = row["val/accuracy"] > self.best_accuracy
        if better:
            self.best_epoch, self.best_accuracy = row["epoch"], row["val/accuracy"]
        self.rows.append(row)
        self._save(trainer, better)  # every process takes part, one writes
        if not trainer.is_global_zero:
            return
        replace_text(self.folder.metrics, pd.DataFrame(self.rows).to_csv(index=False, float_format="%.7g"))
        if self.board is not None:
            self.board.epoch(row, pl_module.predictions["val"])  # type: ignore[index]
        self.seconds.append(round(time.perf_counter() - self.started, 3))
        self.folder.update_run(epoch_seconds=self.seconds)
        log.info(
            f"epoch {row['epoch']:3}/{trainer.max_epochs}  "
            f"train loss {row['train/loss']:.4f} acc {row['train/accuracy']:.4f}  "
            f"val loss {row['val/loss']:.4f} acc {row['val/accuracy']:.4f}  "
            f"{self.seconds[-1]:5.1f} s{'  best' if better else ''}"
        )

    def _save(self, trainer: pl.Trainer, better: bool) -> None:
        with replacing(self.folder.last, is_writer=trainer.is_global_zero) as last:
            trainer.save_checkpoint(last)
        if better and trainer.is_global_zero:
            with replacing(self.folder.best) as best:
                _link(self.folder.last, best)

    def epochs(self) -> tuple[int, int]:
        """The best epoch and the last, from 1."""
        return self.best_epoch, self.rows[-1]["epoch"]

    def finish(self, scores: Mapping[str, Any]) -> None:
        """Give TensorBoard the final scores."""
        if self.board is not None:
            self.board.finish(scores["best"])

    def state_dict(self) -> dict[str, Any]:
        return {"best_epoch": self.best_epoch, "best_accuracy": self.best_accuracy, "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best_epoch, self.best_accuracy = state_dict["best_epoch"], state_dict["best_accuracy"]
        self.rows = state_dict["rows"]


def epoch_row(trainer: pl.Trainer, lr: float) -> dict[str, Any]:
    """The epoch (from 1) and its metrics, as metrics.csv has them.

    Args:
        lr: the learning rate of the last step.
    """
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()} | {"lr": lr}
    return {"epoch": trainer.current_epoch + 1, **{name: metrics[name] for name in COLUMNS}}


def _link(source: Path, target: Path) -> None:
    """The same file under a second name; a copy where the file system knows no links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
