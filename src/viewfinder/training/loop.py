"""The training loop: many steps in each call by Lightning, so that what Lightning does around a call costs little."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from viewfinder.data.batches import Batch, Chunk
from viewfinder.runs.logging import log_wrapped
from viewfinder.training.callbacks.progress import Progress
from viewfinder.training.cuda_graph import WARM, StepGraph, constants_of
from viewfinder.training.precision import EXACT, HALF, forward_context, step_context


class TrainingLoop(Callback):
    """Takes the optimizer's steps over a chunk of batches, exactly as Lightning would take them one by one.

    Lightning asks the Classifier for one training step a chunk, and the Classifier asks this loop. Precision, clipping,
    accumulation and schedules are kept here, since Lightning applies them to what it takes for a step.

    Args:
        precision: of training, or "auto" until `run_experiment` has chosen.
        gradient_clip_val: largest norm of all gradients together.
        accumulate_grad_batches: batches an optimizer step; the epoch's last step may have fewer.
        progress: is told of each batch that is done.
    """

    def __init__(
        self,
        precision: str = EXACT,
        gradient_clip_val: float | None = None,
        accumulate_grad_batches: int = 1,
        progress: Progress | None = None,
    ):
        self.precision = precision
        self.gradient_clip_val, self.accumulate_grad_batches = gradient_clip_val, accumulate_grad_batches
        self.progress = progress or Progress(False)
        self.scaler = torch.amp.GradScaler("cuda", enabled=precision == HALF)  # type: ignore[attr-defined]
        self.monitor = "val/loss"
        """what a ReduceLROnPlateau looks at"""
        self.lr = 0.0
        """of the last step"""
        self.batches = 0
        """of this process's in the epoch, those whose step is done"""
        self.between: Callable[[], None] | None = None
        """called after every step, and after every batch of validation"""
        self.is_shared = False
        """whether several processes train"""
        self.is_graphed = False
        """whether steps may be a CUDA graph"""
        self.graph: StepGraph | None = None
        self.warm: tuple[Optimizer, Any, int] | None = None
        """the optimizer, its constants when it was new, and how many steps it has been asked for since"""

    def steps_an_epoch(self, trainer: pl.Trainer) -> int:
        """The optimizer's."""
        batches = len(trainer.datamodule.training_order().batch_numbers)  # type: ignore[attr-defined]
        return -(-batches // self.accumulate_grad_batches)

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        pl_module.loop, self.is_shared = self, trainer.world_size > 1

    def train(self, module: "pl.LightningModule", chunk: Chunk) -> None:
        """A step for each batch: forward by `module.step(batch, "train")`, backward, update."""
        trainer = module.trainer
        (optimizer,) = trainer.optimizers
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs if config.interval == "step"]
        steps = trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        seed, epoch = module.seed, module.current_epoch
        with step_context(self.precision):
            for index, batch in enumerate(chunk, chunk.indices.first + 1):
                module.seed_step(seed, "step", epoch, batch.number)  # type: ignore[operator]
                graph = self._graph_for(module, optimizer, batch)
                is_due = index % self.accumulate_grad_batches == 0 or index == chunk.indices.total
                if graph is None:
                    self._backward(module, batch)
                if is_due:
                    steps.ready += 1
                    if graph is None:
                        self._update(optimizer)
                    else:
                        module.outputs["train"].append(graph.take(batch))  # type: ignore[index]
                    steps.completed += 1
                    self.lr = optimizer.param_groups[0]["lr"]
                    for scheduler in schedulers:
                        scheduler.step()  # type: ignore[call-arg]
                    self.batches = index
                    if self.between is not None:
                        self.between()
                self.progress.advance()

    def _graph_for(self, module: Any, optimizer: Optimizer, batch: Batch) -> StepGraph | None:
        """What takes a whole step with a batch; None where its operations are to be launched one by one."""
        if not self.is_graphed:
            return None
        if self.graph is not None and self.graph.optimizer is not optimizer:
            self.graph = None  # the memory of the phase before is free
        if self.graph is None:
            if self.warm is None or self.warm[0] is not optimizer:
                self.warm = (optimizer, constants_of(optimizer), 0)
            _, constants, taken = self.warm
            self.warm = (optimizer, constants, taken + 1)
            if taken < WARM:
                return None
        elif len(batch.labels) < len(self.graph.batch.labels):  # an epoch's last
            return None
        elif self.graph.fits(batch):
            return self.graph
        self.graph = None  # whose memory the next may need
        self.graph = self._captured(module, optimizer, batch)
        return self.graph

    def _captured(self, module: Any, optimizer: Optimizer, batch: Batch) -> StepGraph | None:
        outputs: list[Any] = module.outputs["train"]
        before = len(outputs)

        def backward(batch: Batch) -> Any:
            self._backward(module, batch)
            return outputs.pop()

        assert self.warm is not None
        try:
            return StepGraph(backward, self._update, optimizer, batch, self.warm[1])
        except RuntimeError as error:
            del outputs[before:]
            self.is_graphed = False
            log_wrapped(f"         no CUDA graph, since a step cannot be one: {error}")
            return None

    def _backward(self, module: Any, batch: Batch) -> None:
        with forward_context(self.precision, batch.pixels.device):
            loss = module.step(batch, "train")
        if self.accumulate_grad_batches > 1:
            loss = loss / self.accumulate_grad_batches
        if self.is_shared:
            module.manual_backward(self.scaler.scale(loss))
        else:
            self.scaler.scale(loss).backward()

    def _update(self, optimizer: Optimizer) -> None:
        if self.gradient_clip_val is not None:
            self.scaler.unscale_(optimizer)
            clip_grad_norm_(
                [each for group in optimizer.param_groups for each in group["params"]], self.gradient_clip_val
            )
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()

    def tick(self) -> None:
        """One more batch of an evaluation is done."""
        self.progress.advance()
        if self.between is not None:
            self.between()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.batches = 0
        for config in trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                if isinstance(config.scheduler, ReduceLROnPlateau):
                    config.scheduler.step(trainer.callback_metrics[self.monitor])
                else:
                    config.scheduler.step()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.graph = self.warm = None

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
        trainer.datamodule.resume_position = (state["epoch"], state["batches"])  # type: ignore[attr-defined]
