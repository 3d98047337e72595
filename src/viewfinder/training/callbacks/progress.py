"""A bar on the terminal while batches are trained on and evaluated."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm


class Progress(Callback):
    """Counts batches, which `advance` is told of: Lightning's own bar knows of chunks alone.

    Args:
        is_drawn: on a terminal.
    """

    def __init__(self, is_drawn: bool):
        self.is_drawn = is_drawn
        self.bar: tqdm | None = None

    def advance(self) -> None:
        """By a batch."""
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        what = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._open(what, trainer.train_dataloader, trainer, pl_module.loop.batches)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._open("validation", trainer.val_dataloaders, trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._open("scoring", trainer.test_dataloaders, trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._close()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._close()

    def on_exception(self, trainer: pl.Trainer, pl_module: Any, exception: BaseException) -> None:
        self._close()

    def _open(self, description: str, loader: Any, trainer: pl.Trainer, done: int = 0) -> None:
        """A bar for the batches of a loader; only where they take more than a second."""
        self._close()
        if self.is_drawn:
            off = None if trainer.is_global_zero else True
            count = len(loader.sampler.batch_numbers)
            self.bar = tqdm(
                total=count, initial=done, desc=description, unit=" batches", leave=False, disable=off, delay=1
            )

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
