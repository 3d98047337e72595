"""Losses of a learning-rate range test, step by step."""

from typing import Any

import numpy as np
import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from tqdm import tqdm

from viewfinder.errors import Problem, Stopped, UserError
from viewfinder.evaluation.lr_curve import Curve, is_diverged, smooth_losses
from viewfinder.training.callbacks.signals import Signals
from viewfinder.training.schedulers import Schedule


class RangeRecorder(Callback):
    """Callback that records the loss of each step, and stops training after the last rate or when the loss diverges.

    Args:
        rates: (n,) learning rates, one per step.
        signals: signals that stop the test.
        show_progress: show a progress bar on a terminal.
    """

    def __init__(self, rates: np.ndarray, signals: Signals, show_progress: bool):
        self.rates, self.signals = rates, signals
        self.losses: list[float] = []
        self.batch_losses: list[float] = []
        """losses of the batches whose gradients are being accumulated"""
        is_off = None if show_progress else True
        self.bar = tqdm(total=len(rates), desc="range test", unit=" steps", leave=False, disable=is_off, delay=1)

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.signals.listen()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.signals.requested is not None:  # the exception was swallowed where the signal arrived
            raise Stopped(self.signals.requested)
        ((_, positions),) = batch.indices.batches
        self.batch_losses.append(pl_module.losses[-1].item() / len(positions))
        if trainer.global_step == len(self.losses):  # the step has further batches
            return
        self.losses.append(float(np.mean(self.batch_losses)))
        self.batch_losses = []
        self.bar.update()
        trainer.should_stop = len(self.losses) == len(self.rates) or is_diverged(self.losses, len(self.rates))

    def compute_curve(self) -> Curve:
        """Return the losses over the learning rates.

        Raises:
            UserError: if the first loss is NaN or infinite.
        """
        count = int(np.isfinite(self.losses).sum())  # all, or all but the last
        if not count:
            rule = f"is {self.losses[0]} at the first step, before any weight has changed"
            remedy = (
                "Check the loss and the network, or try trainer.precision=32-true; the learning rate is not the cause."
            )
            raise UserError("the training", [Problem("train/loss", rule, remedy=remedy)])
        planned, losses = len(self.rates), np.array(self.losses[:count])
        diverged = float(self.rates[len(self.losses) - 1]) if is_diverged(self.losses, planned) else None
        return Curve(self.rates[:count], losses, smooth_losses(losses, planned), planned, diverged)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self.bar.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self.bar.close()


def scale_rates(optimizer: Optimizer, factors: np.ndarray) -> Schedule:
    """Return a schedule that multiplies the learning rate of each parameter group by a factor per step, (n,)."""
    # LambdaLR also evaluates the step after the last.
    schedule = LambdaLR(optimizer, lambda step: float(factors[min(step, len(factors) - 1)]))
    return {"scheduler": schedule, "interval": "step"}
