"""Log lines and TensorBoard text for the phases of a training run."""

from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback

from viewfinder.reporting.tensorboard.writer import TensorBoard
from viewfinder.runs.logging import log_wrapped


class PhaseLog(Callback):
    """Callback that logs each phase when it begins, or when a run is resumed within it.

    Args:
        board: the run's TensorBoard; None in a helper process.
    """

    def __init__(self, board: TensorBoard | None):
        self.board = board

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        phases = pl_module.phases
        if phases is not None and not phases.is_phase_start(trainer.current_epoch):
            self._log(trainer, phases.describe(trainer.current_epoch))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        phases, epoch = pl_module.phases, trainer.current_epoch
        if phases is not None and phases.is_phase_start(epoch):
            self._log(trainer, phases.describe(epoch))
            if self.board is not None:
                self.board.write_phase(phases.describe(epoch), epoch + 1)

    def _log(self, trainer: pl.Trainer, description: str) -> None:
        if trainer.is_global_zero:
            log_wrapped(f"phase    {description}")
