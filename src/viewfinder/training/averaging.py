"""Averages of the weights over the training: exponential moving average, and stochastic weight averaging.

Lightning's callbacks of these names act after each of its batches, which here are chunks of many steps, and in training
loops of Lightning alone; the formulas are torch's.
"""

from typing import Any, Literal

import pytorch_lightning as pl
from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn, get_swa_multi_avg_fn

from viewfinder.config.validate import Share
from viewfinder.training.batch_norm import recompute_batch_norm
from viewfinder.training.evaluated_weights import EvaluatedWeights

Interval = Literal["step", "epoch"]


class Averaging(EvaluatedWeights):
    """Average of the trained weights, updated after each step or after the last step of each epoch.

    Args:
        every: "step" or "epoch".
    """

    name = "Averaging"

    def __init__(self, every: Interval):
        super().__init__()
        self.every = every

    def on_step_end(self, trainer: pl.Trainer, pl_module: Any, is_epoch_over: bool) -> None:
        self.recomputed = {}
        if (is_epoch_over or self.every == "step") and self.has_started(trainer):
            self.update(list(self.weights.values()), list(self.trained.values()))
            self.updates += 1

    def has_started(self, trainer: pl.Trainer) -> bool:
        """Return whether the weights of the current epoch are averaged."""
        return True

    def update(self, average: list[Tensor], trained: list[Tensor]) -> None:
        """Update the average in place; the first update makes it equal to the trained weights."""
        raise NotImplementedError


class EMA(Averaging):
    """Exponential moving average (Polyak and Juditsky 1992): average = decay * average + (1 - decay) * trained.

    Args:
        decay: share of the average that stays at each update.
        warmup: limit the decay to (1 + n) / (10 + n) after n updates, as TensorFlow's ExponentialMovingAverage does.
        every: "step" or "epoch".
    """

    def __init__(self, decay: Share = 0.999, warmup: bool = True, every: Interval = "step"):
        super().__init__(every)
        self.decay, self.warmup = decay, warmup

    def update(self, average: list[Tensor], trained: list[Tensor]) -> None:
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates)) if self.warmup else self.decay
        get_ema_multi_avg_fn(decay if self.updates else 0.0)(average, trained, self.updates)  # type: ignore[arg-type]


class SWA(Averaging):
    """Stochastic weight averaging (Izmailov et al. 2018, arXiv 1803.05407): the mean of the weights after some epochs.

    Args:
        start: share of the epochs before the first one that is averaged; until then, the trained weights are evaluated.
        every: "epoch" or "step".
        batch_norm: "recompute" computes the batch-norm statistics of the average from the training images, without
            augmentation, before each validation; "average" averages them as the weights.
    """

    def __init__(
        self, start: Share = 0.75, every: Interval = "epoch", batch_norm: Literal["recompute", "average"] = "recompute"
    ):
        super().__init__(every)
        self.start, self.batch_norm = start, batch_norm

    def has_started(self, trainer: pl.Trainer) -> bool:
        assert trainer.max_epochs is not None
        return trainer.current_epoch >= int(self.start * trainer.max_epochs + 1e-9)

    def update(self, average: list[Tensor], trained: list[Tensor]) -> None:
        get_swa_multi_avg_fn()(average, trained, self.updates)  # type: ignore[arg-type]

    def recompute_buffers(self, trainer: pl.Trainer, pl_module: Any) -> dict[str, Tensor]:
        return recompute_batch_norm(trainer, pl_module) if self.batch_norm == "recompute" else {}
