"""Classifier: preprocess, network, loss and metrics, with one step for every split."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.distributed
from torch import Tensor, nn
from torch.optim import Optimizer

from viewfinder.data.batches import Batch, Chunk
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything
from viewfinder.evaluation.metrics import Predictions, compute_averages
from viewfinder.evaluation.tally import Evaluated, Tally, tally
from viewfinder.models.tta import classify, validation_views
from viewfinder.training.ddp import rebuild_ddp
from viewfinder.training.exchange import gather_objects
from viewfinder.training.lightning_internals import get_finished_epochs, reload_data_loaders
from viewfinder.training.loop import TrainingLoop
from viewfinder.training.losses import compute_loss
from viewfinder.training.phases import Phases

MAX_LOGITS_BYTES = 2**30
"""Bytes of float64 logits beyond which a split's predicted classes and loss are tallied part by part."""


class Classifier(pl.LightningModule):
    """LightningModule that preprocesses, classifies and scores batches of uint8 images.

    Args:
        network: maps float images (N, C, H, W) to logits (N, K); its attribute `preprocess` converts uint8 images.
        loss: maps logits (N, K) and labels (N,) to a scalar.
        make_optimizer: called with the trainable parameters, or groups of them.
        make_schedule: called with the optimizer and the number of optimizer steps; returns Lightning's
            lr_scheduler_config. None for a constant learning rate.
        seed: base seed of dropout's random numbers; each step is seeded with (seed, epoch, batch).
        seed_step: called before each training step with (seed, "step", epoch, batch).
        phases: phases of training; None for a single phase. Each phase has its own schedule and its own optimizer,
            which takes over the state of the parameters that the previous phase trained.

    `loop` runs the training steps; the trainer replaces it by its own.
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
        """(loss, logits, labels) of each training batch, (positions, logits, labels) of each other batch"""
        self.losses: list[Tensor] = []
        """for each chunk of the epoch so far, each batch's mean loss times its size, (n,) float32 for n batches"""
        self.correct, self.count = torch.zeros((), dtype=torch.int64), 0
        """numbers of the epoch's training images so far: classified correctly, and all"""
        self.tallies: dict[str, Tally] = {}
        """tally of the evaluated images so far, of each split whose logits would take too much memory"""
        self.keep_logits: set[str] = set()
        """splits whose logits are needed, however much memory they take"""
        self.predictions: dict[str, Evaluated] = {}
        """result of the last evaluation of each split"""
        self.compiled: Callable[[Tensor], Tensor] | None = None
        """compiled training passes of the network, if any"""

    def forward(self, pixels: Tensor, is_resized: bool = False) -> Tensor:
        """Map uint8 images (N, C, H, W), or float32 features of a frozen backbone (N, D), to logits (N, K)."""
        if pixels.is_floating_point():
            return self.network.classify(pixels)  # type: ignore[operator]
        images = self.preprocess(pixels, is_resized=True) if is_resized else self.preprocess(pixels)
        if self.compiled is not None and self.network.training:
            return self.compiled(images)
        return classify(self.network, images)

    def step(self, batch: Batch, split: str) -> Tensor:
        logits = self(batch.pixels, batch.is_resized)
        loss, labels = compute_loss(self.loss, logits, batch)
        loss_or_positions = loss.detach() if split == "train" else batch.positions
        self.outputs[split].append((loss_or_positions, logits.detach(), labels))
        return loss

    def training_step(self, chunk: Chunk, chunk_idx: int) -> None:
        self.loop.train(self, chunk)
        self.accumulate_metrics()

    def accumulate_metrics(self) -> None:
        """Add the metrics of the last steps to the metrics of the epoch."""
        # Once per chunk: between steps, idle OpenMP threads would fall asleep. No .item(), so no GPU waits.
        if not self.outputs["train"]:
            return
        losses, logits, labels = zip(*self.outputs["train"], strict=True)
        is_correct = torch.cat(logits).argmax(1) == torch.cat(labels)
        sizes = itertools.groupby(map(len, labels))  # runs of equal sizes, few enough to fill one by one
        counts = [torch.full((len([*equal]),), size, device=is_correct.device) for size, equal in sizes]
        self.losses.append(torch.stack(losses).flatten() * torch.cat(counts))
        self.correct = self.correct.to(is_correct.device) + is_correct.sum()
        self.count += len(is_correct)
        self.outputs["train"] = []

    def validation_step(self, chunk: Chunk, chunk_idx: int) -> None:
        with validation_views(self.network, self.trainer.state.fn == "fit"):
            self._evaluate(chunk, "val")

    def test_step(self, chunk: Chunk, chunk_idx: int) -> None:
        self._evaluate(chunk, "test")

    def _evaluate(self, chunk: Chunk, split: str) -> None:
        for batch in chunk:
            self.step(batch, split)
            self.loop.advance_evaluation()
        if self._exceeds_memory(split):
            self._tally(split)

    def _exceeds_memory(self, split: str) -> bool:
        """Return whether to tally a split: its logits are too large and not needed, and its loss can be tallied."""
        outputs = self.outputs[split]
        if split in self.keep_logits or self.trainer.world_size > 1 or not hasattr(self.loss, "total_weight"):
            return False
        return bool(outputs) and len(outputs) * outputs[0][1].numel() * 8 > MAX_LOGITS_BYTES

    def _tally(self, split: str) -> None:
        """Replace the evaluated images' logits by their tally."""
        predictions = self._collect_outputs(split)
        weight = self.loss.total_weight(predictions.labels.to(self.device))  # type: ignore[operator]
        part = tally(predictions, self.evaluation_loss(predictions), weight)
        self.tallies[split] = self.tallies[split] + part if split in self.tallies else part

    def on_train_epoch_end(self) -> None:
        """Log train/loss and train/accuracy: means over the epoch's images, scored with the weights of their steps."""
        loss = self.epoch_losses().sum(dtype=torch.float64)
        sums = torch.stack([loss, self.correct.to(loss), torch.full_like(loss, self.count)])
        if self.trainer.world_size > 1:
            torch.distributed.all_reduce(sums)
        total, correct, count = sums.tolist()
        self.log_dict({"train/loss": total / count, "train/accuracy": correct / count})
        self.losses, self.correct, self.count = [], torch.zeros_like(self.correct), 0
        if self.phases is not None:
            self._change_phase(self.phases)

    def epoch_losses(self) -> Tensor:
        """Return each training batch's mean loss times its size, for the epoch so far: (n,) float32."""
        self.accumulate_metrics()
        return torch.cat([torch.zeros(0, device=self.device), *(losses.to(self.device) for losses in self.losses)])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        so_far = {"losses": self.epoch_losses(), "right": self.correct, "count": self.count}
        checkpoint["epoch_so_far"] = so_far
        if self.trainer.world_size > 1:  # each has the metrics of its own batches
            own = so_far | {"losses": self.epoch_losses().cpu(), "right": self.correct.cpu()}
            checkpoint["epoch_so_far"] = so_far | {"processes": gather_objects(own)}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        so_far = checkpoint["epoch_so_far"]
        if "processes" in so_far:
            so_far = so_far["processes"][self.trainer.global_rank]
        self.losses = [so_far["losses"]]
        self.correct, self.count = so_far["right"], so_far["count"]

    def on_validation_start(self) -> None:
        """Give all processes the same batch-norm statistics, which otherwise come from their own batches."""
        if self.trainer.world_size > 1:
            for buffer in self.network.buffers():
                torch.distributed.broadcast(buffer, 0)

    def on_validation_epoch_end(self) -> None:
        self._finish_evaluation("val")

    def on_test_epoch_end(self) -> None:
        self._finish_evaluation("test")

    def _finish_evaluation(self, split: str) -> None:
        """Store a split's predictions and log its metrics; without tallies, one call computes the loss."""
        if split in self.tallies and self.outputs[split]:
            self._tally(split)
        predictions = self.tallies.pop(split) if split in self.tallies else self._collect_outputs(split)
        self.predictions[split] = predictions
        metrics = {"loss": self.evaluation_loss(predictions), **compute_averages(predictions)}
        self.log_dict({f"{split}/{name}": value for name, value in metrics.items()})

    def _collect_outputs(self, split: str) -> Predictions:
        """Return the predictions of the images that were evaluated, in the order of the split."""
        positions, logits, labels = (torch.cat(column).cpu() for column in zip(*self.outputs[split], strict=True))
        self.outputs[split] = []
        if self.trainer.world_size > 1:
            parts = gather_objects((logits, labels, positions))
            logits, labels, positions = (torch.cat(column) for column in zip(*parts, strict=True))
        order = positions.argsort()
        return Predictions(logits[order].double(), labels[order])

    def kept_predictions(self, split: str) -> Predictions:
        """Return the predictions of the last evaluation of a split in `keep_logits`."""
        predictions = self.predictions[split]
        assert isinstance(predictions, Predictions)
        return predictions

    def evaluation_loss(self, predictions: Evaluated) -> float:
        if isinstance(predictions, Tally):
            return predictions.loss
        device = next(self.network.parameters()).device
        return self.loss(predictions.logits.to(device), predictions.labels.to(device)).item()

    def configure_optimizers(self) -> Any:
        assert self.make_optimizer is not None
        groups: list[Any]
        if self.phases is None:
            groups, epochs = [p for p in self.network.parameters() if p.requires_grad], self.trainer.max_epochs
        else:
            epoch = get_finished_epochs(self.trainer)
            groups, epochs = self.phases.enter(epoch), len(self.phases.epochs(self.phases.at(epoch)))
        optimizer = self.make_optimizer(groups)
        if self.make_schedule is None:
            return optimizer
        assert epochs is not None
        schedule = self.make_schedule(optimizer, self.loop.steps_per_epoch(self.trainer) * epochs)
        if isinstance(schedule, dict):
            self.loop.monitor = schedule.pop("monitor", self.loop.monitor)
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def _change_phase(self, phases: Phases) -> None:
        """Enter the next phase if one begins, before the epoch's checkpoint is written."""
        is_due = phases.is_phase_start(self.trainer.current_epoch + 1)
        reload_data_loaders(self.trainer, is_due)
        if not is_due:
            return
        (previous,), strategy = self.trainer.optimizers, self.trainer.strategy
        strategy.setup_optimizers(self.trainer)
        rebuild_ddp(strategy, self)
        (optimizer,) = self.trainer.optimizers
        for group in optimizer.param_groups:
            optimizer.state.update({p: previous.state[p] for p in group["params"] if p in previous.state})
        if not phases.network.is_backbone_frozen:
            self.trainer.datamodule.features.clear()  # type: ignore[attr-defined]
