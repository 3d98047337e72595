"""The training loop: many steps in each call by Lightning, so that what Lightning does around a call costs little."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim.lr_scheduler import ReduceLROnPlateau
from tqdm import tqdm

from viewfinder.data.batches import Batch, Chunk
from viewfinder.seeds import seed_everything

AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def forward_context(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """Where a forward pass runs in a precision, as Lightning names it; the weights are float32."""
    # For one step: autocast keeps its copies of the weights until it ends, and a step changes the weights.
    dtype = AUTOCAST.get(precision)
    return contextlib.nullcontext() if dtype is None else torch.autocast(device.type, dtype)


class TrainingLoop(Callback):
    """Takes the optimizer's steps over a chunk of batches, exactly as Lightning would take them one by one.

    Lightning asks the Classifier for one training step a chunk, and the Classifier asks this loop. Precision, clipping,
    accumulation and schedules are kept here, since Lightning applies them to what it takes for a step.

    Args:
        precision: of the forward pass in training, as Lightning names it, or "auto" until `run_experiment` has chosen.
        gradient_clip_val: largest norm of all gradients together.
        accumulate_grad_batches: batches an optimizer step; the epoch's last step may have fewer.
        progress_bar: draw one, on a terminal.
    """

    def __init__(
        self,
        precision: str = "32-true",
        gradient_clip_val: float | None = None,
        accumulate_grad_batches: int = 1,
        progress_bar: bool = False,
    ):
        self.precision = precision
        self.gradient_clip_val, self.accumulate_grad_batches = gradient_clip_val, accumulate_grad_batches
        self.progress_bar = progress_bar
        self.scaler = torch.amp.GradScaler("cuda", enabled=precision == "16-mixed")  # type: ignore[attr-defined]
        self.bar: tqdm | None = None
        self.monitor = "val/loss"
        """what a ReduceLROnPlateau looks at"""
        self.lr = 0.0
        """of the last step"""
        self.batches = 0
        """of this process's in the epoch, those whose step is done"""
        self.between: Callable[[], None] | None = None
        """called after every step, and after every batch of validation"""

    def steps_an_epoch(self, trainer: pl.Trainer) -> int:
        """The optimizer's."""
        batches = len(trainer.datamodule.training_order().numbers)  # type: ignore[attr-defined]
        return -(-batches // self.accumulate_grad_batches)

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        pl_module.loop = self

    def train(self, module: "pl.LightningModule", chunk: Chunk) -> None:
        """A step for each batch: forward by `module.step(batch, "train")`, backward, update."""
        trainer = module.trainer
        (optimizer,) = trainer.optimizers
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs if config.interval == "step"]
        steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        for index, batch in enumerate(chunk, chunk.part.first + 1):
            loss = self._forward(module, batch)
            if self.accumulate_grad_batches > 1:
                loss = loss / self.accumulate_grad_batches
            if trainer.world_size > 1:
                module.manual_backward(self.scaler.scale(loss))
            else:
                self.scaler.scale(loss).backward()
            if index % self.accumulate_grad_batches == 0 or index == chunk.part.total:
                if self.gradient_clip_val is not None:
                    self.scaler.unscale_(optimizer)
                    clip_grad_norm_(parameters, self.gradient_clip_val)
                steps.ready += 1
                self.scaler.step(optimizer)
                self.scaler.update()
                steps.completed += 1
                optimizer.zero_grad()
                self.lr = optimizer.param_groups[0]["lr"]
                for scheduler in schedulers:
                    scheduler.step()  # type: ignore[call-arg]
                self.batches = index
                if self.between is not None:
                    self.between()
            self._advance()

    def _forward(self, module: Any, batch: Batch) -> Tensor:
        seed_everything(module.seed, "step", module.current_epoch, batch.number)
        with forward_context(self.precision, batch.pixels.device):
            return module.step(batch, "train")

    def tick(self) -> None:
        """One more batch of an evaluation is done."""
        self._advance()
        if self.between is not None:
            self.between()

    def _advance(self) -> None:
        if self.bar is not None:
            self.bar.update()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        done = self.batches
        self._open(f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}", trainer.train_dataloader, trainer, done)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._open("validation", trainer.val_dataloaders, trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._open("scoring", trainer.test_dataloaders, trainer)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._close()
        self.batches = 0
        for config in trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                if isinstance(config.scheduler, ReduceLROnPlateau):
                    config.scheduler.step(trainer.callback_metrics[self.monitor])
                else:
                    config.scheduler.step()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self._close()

    def _open(self, description: str, loader: Any, trainer: pl.Trainer, done: int = 0) -> None:
        """A bar for the batches of a loader; on a terminal only, and only where they take more than a second."""
        self._close()
        if self.progress_bar:
            off = None if trainer.is_global_zero else True
            count = len(loader.sampler.numbers)
            self.bar = tqdm(
                total=count, initial=done, desc=description, unit=" batches", leave=False, disable=off, delay=1
            )

    def _close(self) -> None:
        if self.bar is not None:
            self.bar.close()
            self.bar = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Where training stands takes the place of Lightning's own counts, which do not know of batches in a chunk."""
        del checkpoint["loops"]
        epochs: Any = trainer.fit_loop.epoch_progress.current
        checkpoint["loop"] = {
            "epoch": epochs.processed,
            "batches": self.batches,
            "steps": trainer.global_step,
            "lr": self.lr,
            "scaler": self.scaler.state_dict(),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """To Lightning an epoch begins; what was done of it are empty chunks."""
        state = checkpoint["loop"]
        self.batches, self.lr = state["batches"], state["lr"]
        self.scaler.load_state_dict(state["scaler"])
        epochs: Any = trainer.fit_loop.epoch_progress.current
        epochs.ready = epochs.started = epochs.processed = epochs.completed = state["epoch"]
        steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        steps.ready = steps.completed = state["steps"]
        trainer.datamodule.done = (state["epoch"], state["batches"])  # type: ignore[attr-defined]
