"""Training loop: many optimizer steps per Lightning call, which amortises the cost of that call."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from torch.nn.utils import clip_grad_norm_, clip_grad_value_
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from viewfinder.data.batches import Batch, Chunk
from viewfinder.runs.logging import log_wrapped
from viewfinder.training.callbacks.progress import Progress
from viewfinder.training.callbacks.step_callback import StepCallback
from viewfinder.training.cuda_graph import WARM_UP_STEPS, StepGraph, get_fixed_hyperparameters
from viewfinder.training.lightning_internals import count_optimizer_step, get_finished_epochs, restore_progress
from viewfinder.training.precision import FP16, FP32, forward_context, step_context


class TrainingLoop(Callback):
    """Optimizer steps over a chunk of batches, bit-identical to Lightning's loop with one batch per call.

    Lightning calls the Classifier's `training_step` once per chunk, and the Classifier calls this loop. Precision,
    clipping, accumulation and schedules are applied here, because Lightning would apply them to a whole chunk.

    Args:
        precision: precision of training, or "auto" until `configure_hardware` has chosen one.
        gradient_clip_val: maximum norm of all gradients together, or maximum of each element.
        accumulate_grad_batches: batches per optimizer step; the epoch's last step may have fewer.
        progress: progress bar, advanced once per batch.
        gradient_clip_algorithm: "norm" or "value".
    """

    def __init__(
        self,
        precision: str = FP32,
        gradient_clip_val: float | None = None,
        accumulate_grad_batches: int = 1,
        progress: Progress | None = None,
        gradient_clip_algorithm: str = "norm",
    ):
        self.precision = precision
        self.gradient_clip_val, self.accumulate_grad_batches = gradient_clip_val, accumulate_grad_batches
        self.clip = clip_grad_norm_ if gradient_clip_algorithm == "norm" else clip_grad_value_
        self.progress = progress or Progress(False)
        self.scaler = torch.amp.GradScaler("cuda", enabled=precision == FP16)  # type: ignore[attr-defined]
        self.monitor = "val/loss"
        """metric that ReduceLROnPlateau follows"""
        self.lr = 0.0
        """learning rate of the last step"""
        self.batches = 0
        """number of this process's batches in the epoch that completed optimizer steps cover"""
        self.after_step: Callable[[], None] | None = None
        """called after every optimizer step and every validation batch"""
        self.is_distributed = False
        """whether several processes train together"""
        self.is_graphed = False
        """whether steps run as a CUDA graph where possible"""
        self.graph: StepGraph | None = None
        self.warm_up: tuple[Optimizer, Any, int] | None = None
        """the optimizer, its constants when it was new, and its number of steps since"""

    def steps_per_epoch(self, trainer: pl.Trainer) -> int:
        """Return the number of optimizer steps in an epoch."""
        batches = len(trainer.datamodule.training_order().batch_numbers)  # type: ignore[attr-defined]
        return -(-batches // self.accumulate_grad_batches)

    def setup(self, trainer: pl.Trainer, pl_module: Any, stage: str) -> None:
        pl_module.loop, self.is_distributed = self, trainer.world_size > 1

    def train(self, module: "pl.LightningModule", chunk: Chunk) -> None:
        """Run forward (`module.step(batch, "train")`), backward and update for each batch of a chunk."""
        trainer = module.trainer
        (optimizer,) = trainer.optimizers
        schedulers = [config.scheduler for config in trainer.lr_scheduler_configs if config.interval == "step"]
        callbacks = [callback for callback in trainer.callbacks if isinstance(callback, StepCallback)]  # type: ignore[attr-defined]
        seed, epoch = module.seed, module.current_epoch
        with step_context(self.precision):
            for index, batch in enumerate(chunk, chunk.indices.first + 1):
                module.seed_step(seed, "step", epoch, batch.number)  # type: ignore[operator]
                graph = self._graph_for(module, optimizer, batch)
                is_due = index % self.accumulate_grad_batches == 0 or index == chunk.indices.total
                if graph is None:
                    self._backward(module, batch, is_last=index == chunk.indices.total)
                if is_due:
                    count_optimizer_step(trainer, is_completed=False)
                    if graph is None:
                        self._update(optimizer)
                    else:
                        module.outputs["train"].append(graph.replay(batch))  # type: ignore[index]
                    count_optimizer_step(trainer, is_completed=True)
                    self.lr = optimizer.param_groups[0]["lr"]
                    for scheduler in schedulers:
                        scheduler.step()  # type: ignore[call-arg]
                    for callback in callbacks:
                        callback.on_step_end(trainer, module, is_epoch_over=index == chunk.indices.total)
                    self.batches = index
                    if self.after_step is not None:
                        self.after_step()
                self.progress.advance()

    def _graph_for(self, module: Any, optimizer: Optimizer, batch: Batch) -> StepGraph | None:
        """Return the CUDA graph that runs a whole step on a batch; None if the step runs operation by operation."""
        if not self.is_graphed:
            return None
        if self.graph is not None and self.graph.optimizer is not optimizer:
            self.graph = None  # frees the memory of the previous phase
        if self.graph is None:
            if self.warm_up is None or self.warm_up[0] is not optimizer:
                self.warm_up = (optimizer, get_fixed_hyperparameters(optimizer), 0)
            _, constants, steps = self.warm_up
            self.warm_up = (optimizer, constants, steps + 1)
            if steps < WARM_UP_STEPS:
                return None
        elif len(batch.labels) < len(self.graph.batch.labels):  # the epoch's last batch
            return None
        elif self.graph.fits(batch):
            return self.graph
        self.graph = None  # frees its memory for the next graph
        self.graph = self._capture(module, optimizer, batch)
        return self.graph

    def _capture(self, module: Any, optimizer: Optimizer, batch: Batch) -> StepGraph | None:
        outputs: list[Any] = module.outputs["train"]
        count = len(outputs)

        def backward(batch: Batch) -> Any:
            self._backward(module, batch)
            return outputs.pop()

        assert self.warm_up is not None
        try:
            return StepGraph(backward, self._update, optimizer, batch, self.warm_up[1])
        except RuntimeError as error:
            del outputs[count:]
            self.is_graphed = False
            log_wrapped(f"         no CUDA graph, because the capture of a step failed: {error}")
            return None

    def _backward(self, module: Any, batch: Batch, is_last: bool = False) -> None:
        with forward_context(self.precision, batch.pixels.device):
            loss = module.step(batch, "train")
        if self.is_distributed:
            loss = self._weigh(module, loss, batch.labels, is_last)
        if self.accumulate_grad_batches > 1:
            loss = loss / self.accumulate_grad_batches
        if self.is_distributed:
            module.manual_backward(self.scaler.scale(loss))
        else:
            self.scaler.scale(loss).backward()

    def _weigh(self, module: Any, loss: Tensor, labels: Tensor, is_last: bool) -> Tensor:
        """Scale this process's loss so that the mean over the processes is the loss of their images together.

        Images have equal weights in all processes except in the last step of an epoch, whose batches may differ in
        size, and with class weights.
        """
        has_class_weights = getattr(module.loss, "weights", None) is not None
        if not (is_last or has_class_weights):
            return loss
        count = float(len(labels))
        weight = module.loss.total_weight(labels) if has_class_weights else count
        own = torch.tensor([weight, count], dtype=torch.float64)
        total = own.to(loss.device, copy=True)
        torch.distributed.all_reduce(total)
        weight_share, count_share = (own / total.cpu()).tolist()
        if has_class_weights:  # as a part of the mean over the images of the step
            recorded, *others = module.outputs["train"][-1]
            module.outputs["train"][-1] = (recorded * (weight_share / count_share), *others)
        return loss * (weight_share * torch.distributed.get_world_size())

    def _update(self, optimizer: Optimizer) -> None:
        if self.gradient_clip_val is not None:
            self.scaler.unscale_(optimizer)
            self.clip(
                [parameter for group in optimizer.param_groups for parameter in group["params"]],
                self.gradient_clip_val,
            )
        self.scaler.step(optimizer)
        self.scaler.update()
        optimizer.zero_grad()

    def advance_evaluation(self) -> None:
        """Count one more batch of an evaluation, and call `after_step`, which may save the run and stop it."""
        self.progress.advance()
        if self.after_step is not None:
            self.after_step()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.batches = 0
        for config in trainer.lr_scheduler_configs:
            if config.interval == "epoch":
                if isinstance(config.scheduler, ReduceLROnPlateau):
                    config.scheduler.step(trainer.callback_metrics[self.monitor])
                else:
                    config.scheduler.step()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.graph = self.warm_up = None

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Replace Lightning's own counts, which do not include the batches of a chunk."""
        del checkpoint["loops"]
        checkpoint["loop"] = {
            "epoch": get_finished_epochs(trainer),
            "batches": self.batches,
            "steps": trainer.global_step,
            "lr": self.lr,
            "scaler": self.scaler.state_dict(),
        }

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Let Lightning restart the epoch; the sampler leaves out the batches that are already trained."""
        state = checkpoint["loop"]
        self.batches, self.lr = state["batches"], state["lr"]
        self.scaler.load_state_dict(state["scaler"])
        restore_progress(trainer, state["epoch"], state["steps"])
        trainer.datamodule.resume_position = (state["epoch"], state["batches"])  # type: ignore[attr-defined]
