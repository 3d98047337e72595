"""Parameters that train in the first epochs only."""

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from viewfinder.training.ddp import rebuild_ddp


class Freezing(Callback):
    """Callback that freezes parameters after some epochs.

    Args:
        epochs: maps the name of a parameter to the number of epochs that train it.
    """

    def __init__(self, epochs: Mapping[str, int]):
        self.epochs = epochs

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        parameters, is_changed = dict(pl_module.network.named_parameters()), False
        for name, epochs in self.epochs.items():
            is_trained = trainer.current_epoch < epochs
            is_changed |= parameters[name].requires_grad != is_trained
            parameters[name].requires_grad_(is_trained)
        if is_changed:
            pl_module.loop.graph = None  # computes gradients of the parameters that trained before
            rebuild_ddp(trainer.strategy, pl_module)
