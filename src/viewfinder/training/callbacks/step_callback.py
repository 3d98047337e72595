"""Callback that acts after each optimizer step."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback


class StepCallback(Callback):
    """Callback whose `on_step_end` is called after each optimizer step; Lightning's hooks are called once per chunk."""

    def on_step_end(self, trainer: pl.Trainer, pl_module: Any, is_epoch_over: bool) -> None:
        """Act after an optimizer step, before a checkpoint of it is saved.

        Args:
            is_epoch_over: whether it is the last step of its epoch.
        """
        raise NotImplementedError
