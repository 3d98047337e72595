"""Classifier: preprocess, network, loss and metrics, with one step for every split."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn
from torch.optim import Optimizer

from viewfinder.data.batches import Batch, Chunk
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything
from viewfinder.evaluation.metrics import Predictions, compute_averages
from viewfinder.training.loop import TrainingLoop
from viewfinder.training.phases import Phases


class Classifier(pl.LightningModule):
    """What is trained and evaluated.

    Args:
        network: float pictures (N, C, H, W) -> logits (N, K); its attribute `preprocess` makes those of uint8 ones.
        loss: logits (N, K), labels (N,) -> scalar.
        make_optimizer: from the parameters that are trained, or groups of them.
        make_schedule: from the optimizer and the number of optimizer steps, what Lightning calls lr_scheduler_config;
            None for a constant learning rate.
        seed: from which dropout's random numbers follow, with epoch and batch.
        seed_step: called before each training step with seed, "step", epoch and batch.
        phases: of training; None for one that trains all that the network says. Each has an optimizer of its own, which
            takes over the state of the parameters that the one before trained, and a schedule of its own.

    `loop` takes the training steps; the trainer brings its own.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: nn.Module,
        make_optimizer: Callable[[Iterable[Any]], Optimizer] | None = None,
        make_schedule: Callable[[Optimizer, int], Any] | None = None,
        seed: int = 0,
        seed_step: Callable[[int, str, int, int], None] = seed_everything,
        phases: Phases | None = None,
    ):
        super().__init__()
        self.automatic_optimization = False
        self.loop = TrainingLoop()
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.preprocess = get_preprocess(network)
        self.loss = loss
        self.make_optimizer, self.make_schedule = make_optimizer, make_schedule
        self.seed, self.seed_step, self.phases = seed, seed_step, phases
        self.outputs: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {"train": [], "val": [], "test": []}
        self.losses: list[Tensor] = []
        """of the epoch's training batches so far, each summed over its pictures; (n,) float32 for n batches at once"""
        self.right, self.count = torch.zeros((), dtype=torch.int64), 0
        """how many of the epoch's training pictures so far were predicted right; how many they are"""
        self.predictions: dict[str, Predictions] = {}
        """Of the last evaluation of each split."""

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8, or features of a frozen backbone, (N, D) float32 -> logits (N, K)"""
        if pixels.is_floating_point():
            return self.network.classify(pixels)  # type: ignore[operator]
        return self.network(self.preprocess(pixels))

    def step(self, batch: Batch, split: str) -> Tensor:
        logits = self(batch.pixels)
        loss = self.loss(logits, batch.labels)
        first = loss.detach() if split == "train" else batch.positions
        self.outputs[split].append((first, logits.detach(), batch.labels))
        return loss

    def training_step(self, chunk: Chunk, chunk_idx: int) -> None:
        self.loop.train(self, chunk)
        self.gather()

    def gather(self) -> None:
        """Take the metrics of the last steps into those of the epoch."""
        # Once a chunk, since between two steps it lets torch's threads fall asleep; and without waiting for a GPU.
        if not self.outputs["train"]:
            return
        losses, logits, labels = zip(*self.outputs["train"], strict=True)
        right = torch.cat(logits).argmax(1) == torch.cat(labels)
        sizes = itertools.groupby(map(len, labels))  # few, and each becomes a number on the GPU without a copy
        counts = [torch.full((len([*alike]),), size, device=right.device) for size, alike in sizes]
        self.losses.append(torch.stack(losses).flatten() * torch.cat(counts))
        self.right = self.right.to(right.device) + right.sum()
        self.count += len(right)
        self.outputs["train"] = []

    def validation_step(self, chunk: Chunk, chunk_idx: int) -> None:
        self._evaluate(chunk, "val")

    def test_step(self, chunk: Chunk, chunk_idx: int) -> None:
        self._evaluate(chunk, "test")

    def _evaluate(self, chunk: Chunk, split: str) -> None:
        for batch in chunk:
            self.step(batch, split)
            self.loop.tick()

    def on_train_epoch_end(self) -> None:
        """train/loss and train/accuracy: over the pictures of the epoch, with the weights each batch found."""
        loss = self.epoch_losses().sum(dtype=torch.float64)
        sums = torch.stack([loss, self.right.to(loss), torch.full_like(loss, self.count)])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        total, right, count = sums.tolist()
        self.log_dict({"train/loss": total / count, "train/accuracy": right / count})
        self.losses, self.right, self.count = [], torch.zeros_like(self.right), 0
        if self.phases is not None:
            self._change_phase(self.phases)

    def epoch_losses(self) -> Tensor:
        """Of the epoch's training batches so far, each summed over its pictures: (n,) float32."""
        self.gather()
        return torch.cat([torch.zeros(0, device=self.device), *(each.to(self.device) for each in self.losses)])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["epoch_so_far"] = {"losses": self.epoch_losses(), "right": self.right, "count": self.count}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        so_far = checkpoint["epoch_so_far"]
        self.losses = [so_far["losses"]]
        self.right, self.count = so_far["right"], so_far["count"]

    def on_validation_start(self) -> None:
        """Have each process evaluate one and the same network: its batch norm knows the process's own batches."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def on_validation_epoch_end(self) -> None:
        self._evaluated("val")

    def on_test_epoch_end(self) -> None:
        self._evaluated("test")

    def _evaluated(self, split: str) -> None:
        """Keep the split's predictions and log its metrics; an epoch's loss is that of all pictures at once."""
        positions, logits, labels = (torch.cat(column).cpu() for column in zip(*self.outputs[split], strict=True))
        self.outputs[split] = []
        if self.trainer.world_size > 1:
            parts: list[Any] = [None] * self.trainer.world_size
            torch.distributed.all_gather_object(parts, (logits, labels, positions))
            logits, labels, positions = (torch.cat(column) for column in zip(*parts, strict=True))
        order = positions.argsort()
        predictions = Predictions(logits[order].double(), labels[order])
        self.predictions[split] = predictions
        metrics = {"loss": self.evaluation_loss(predictions), **compute_averages(predictions)}
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()})

    def evaluation_loss(self, predictions: Predictions) -> float:
        device = next(self.network.parameters()).device
        return self.loss(predictions.logits.to(device), predictions.labels.to(device)).item()

    def configure_optimizers(self) -> Any:
        assert self.make_optimizer is not None
        groups: list[Any]
        if self.phases is None:
            groups, epochs = [p for p in self.network.parameters() if p.requires_grad], self.trainer.max_epochs
        else:
            progress: Any = self.trainer.fit_loop.epoch_progress
            over = progress.current.processed
            groups, epochs = self.phases.enter(over), len(self.phases.epochs(self.phases.at(over)))
        optimizer = self.make_optimizer(groups)
        if self.make_schedule is None:
            return optimizer
        assert epochs is not None
        schedule = self.make_schedule(optimizer, self.loop.steps_an_epoch(self.trainer) * epochs)
        if isinstance(schedule, dict):
            self.loop.monitor = schedule.pop("monitor", self.loop.monitor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _change_phase(self, phases: Phases) -> None:
        """If one ends with this epoch: before the checkpoint is written, with which the next one begins."""
        is_due = phases.begins(self.trainer.current_epoch + 1)
        # Of Lightning's own attributes; it is asked for the next epoch alone.
        self.trainer.reload_dataloaders_every_n_epochs = int(is_due)  # type: ignore[attr-defined]
        if not is_due:
            return
        (before,), strategy = self.trainer.optimizers, self.trainer.strategy
        strategy.setup_optimizers(self.trainer)
        if isinstance(strategy, DDPStrategy):  # which averages the gradients of what it found to be trained
            strategy.model = self
            strategy.configure_ddp()
        (optimizer,) = self.trainer.optimizers
        for group in optimizer.param_groups:
            optimizer.state.update({p: before.state[p] for p in group["params"] if p in before.state})
        if not phases.network.is_backbone_frozen:
            self.trainer.datamodule.features.clear()  # type: ignore[attr-defined]
