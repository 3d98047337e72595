"""Metrics of the epochs so far, in metrics.csv and on the terminal."""

import logging
import time
from typing import Any

import pandas as pd
import pytorch_lightning as pl

from viewfinder.evaluation.metrics import METRICS
from viewfinder.runs.atomic import replace_text
from viewfinder.runs.folder import RunFolder

log = logging.getLogger("viewfinder")
COLUMNS = ("train/loss", "train/accuracy", "val/loss", *(f"val/{name}" for name in METRICS), "lr")


class EpochLog:
    """Rows of metrics.csv, the seconds of each epoch, and the best epoch by val/accuracy (the earlier on a tie)."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.seconds: list[float] = []
        self.best_epoch, self.best_accuracy = 0, -1.0
        self.is_stopped_early = False
        self.started = 0.0
        """start of the current epoch, moved back by the seconds it had before the run was resumed"""
        self.resumed_seconds = 0.0
        """seconds that the current epoch had before the run was resumed"""
        self.is_in_epoch = False

    def start_epoch(self) -> None:
        self.started = time.perf_counter() - self.resumed_seconds
        self.resumed_seconds, self.is_in_epoch = 0.0, True

    def end_epoch(self, row: dict[str, Any], is_stopped_early: bool) -> bool:
        """Add an epoch's row; return whether it is the best so far."""
        is_best = row["val/accuracy"] > self.best_accuracy
        if is_best:
            self.best_epoch, self.best_accuracy = row["epoch"], row["val/accuracy"]
        self.rows.append(row)
        self.seconds.append(self.elapsed_seconds())
        self.is_in_epoch, self.is_stopped_early = False, is_stopped_early
        return is_best

    def write(self, run: RunFolder, max_epochs: int | None, is_best: bool) -> None:
        """Write the last epoch to metrics.csv and run.json, and log it."""
        replace_text(run.metrics, format_metrics(self.rows))
        self.seconds[-1] = self.elapsed_seconds()
        run.update_run(epoch_seconds=self.seconds)
        row = self.rows[-1]
        log.info(
            f"epoch {row['epoch']:3}/{max_epochs}  "
            f"loss {row['train/loss']:.4f} acc {row['train/accuracy']:.4f}  "
            f"val loss {row['val/loss']:.4f} acc {row['val/accuracy']:.4f}  "
            f"{self.seconds[-1]:5.1f} s{'  best' if is_best else ''}"
        )

    def elapsed_seconds(self) -> float:
        return round(time.perf_counter() - self.started, 3)

    def state_dict(self) -> dict[str, Any]:
        """Return the state for a checkpoint; its keys are part of the checkpoint's format."""
        return {
            "best_epoch": self.best_epoch,
            "best_accuracy": self.best_accuracy,
            "rows": self.rows,
            "seconds": self.seconds,
            "elapsed": self.elapsed_seconds() if self.is_in_epoch else 0.0,
            "is_stopped_early": self.is_stopped_early,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_epoch, self.best_accuracy = state["best_epoch"], state["best_accuracy"]
        self.rows, self.seconds = state["rows"], state["seconds"]
        self.resumed_seconds, self.is_stopped_early = state["elapsed"], state["is_stopped_early"]


def collect_epoch_row(trainer: pl.Trainer, lr: float) -> dict[str, Any]:
    """Return the epoch (from 1) and its metrics, in the order of metrics.csv.

    Args:
        lr: learning rate of the epoch's last step.
    """
    metrics = {name: value.item() for name, value in trainer.callback_metrics.items()} | {"lr": lr}
    return {"epoch": trainer.current_epoch + 1, **{name: metrics[name] for name in COLUMNS}}


def format_metrics(rows: list[dict[str, Any]]) -> str:
    return pd.DataFrame(rows).to_csv(index=False, float_format="%.7g")
