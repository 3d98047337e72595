"""Progress bar that counts batches."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from tqdm import tqdm


class Progress(Callback):
    """Progress bar that counts batches by calls of `advance`; Lightning's own bar counts chunks of batches.

    Args:
        is_enabled: draw the bar, if the output is a terminal.
    """

    def __init__(self, is_enabled: bool):
        self.is_enabled = is_enabled
        self.bar: tqdm | None = None

    def advance(self) -> None:
        """Count one more batch."""
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        title = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._open(title, trainer.train_dataloader, trainer, pl_module.loop.batches)

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

    def _open(self, title: str, loader: Any, trainer: pl.Trainer, finished: int = 0) -> None:
        """Open a bar for a loader's batches; it appears if they take more than a second."""
        self._close()
        if self.is_enabled:
            is_off = None if trainer.is_global_zero else True
            count = len(loader.sampler.batch_numbers)
            self.bar = tqdm(
                total=count, initial=finished, desc=title, unit=" batches", leave=False, disable=is_off, delay=1
            )

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None
