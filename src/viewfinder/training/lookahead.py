"""Lookahead: slow weights that follow the optimizer's every few steps."""

from typing import Annotated, Any

import pytorch_lightning as pl
from pydantic import Field
from torch.optim.swa_utils import get_ema_multi_avg_fn

from viewfinder.config.validate import Count, NotNegative
from viewfinder.training.evaluated_weights import EvaluatedWeights, copy_values


class Lookahead(EvaluatedWeights):
    """Lookahead around any optimizer (Zhang et al. 2019, arXiv 1907.08610).

    Every `steps` steps, the slow weights move by a share alpha of the way to the trained weights, which then start anew
    from there. Batch-norm statistics move with them. The slow weights are evaluated, unless an average of the trained
    weights is.

    Args:
        steps: steps of the optimizer for each of the slow weights.
        alpha: share of the way; with a ramp, the share at the end of the training.
        ramp: after a share t of the training, the share of the way is 1 - (1 - alpha) * t ** ramp. 0 is a constant.
    """

    name = "Lookahead"

    def __init__(self, steps: Count = 5, alpha: Annotated[float, Field(gt=0, le=1)] = 0.5, ramp: NotNegative = 0.0):
        super().__init__()
        self.steps, self.alpha, self.ramp = steps, alpha, ramp
        self.total_steps = 0
        """number of steps of the whole training"""

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        assert trainer.max_epochs is not None
        self.total_steps = pl_module.loop.steps_per_epoch(trainer) * trainer.max_epochs

    def on_step_end(self, trainer: pl.Trainer, pl_module: Any, is_epoch_over: bool) -> None:
        if trainer.global_step % self.steps:
            return
        alpha = 1 - (1 - self.alpha) * (trainer.global_step / self.total_steps) ** self.ramp
        get_ema_multi_avg_fn(1 - alpha)(list(self.weights.values()), list(self.trained.values()), self.updates)  # type: ignore[arg-type]
        copy_values(self.weights, self.trained)
        self.updates += 1
