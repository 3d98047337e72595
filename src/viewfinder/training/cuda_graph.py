"""A training step as a CUDA graph: of a small network's step, most is the time to launch each operation on a GPU."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from viewfinder.data.batches import Batch
from viewfinder.data.memory import format_size
from viewfinder.training.precision import HALF

Found = TypeVar("Found")
WARM = 3
"""Steps taken an operation at a time first, in which libraries set themselves up and an optimizer its state."""
KNOWN = ("torch", "torchvision", "viewfinder")
"""Packages whose layers do the same in every step; others may decide something in Python, which a graph never asks."""


def why_no_graph(parts: Iterable[nn.Module | None], device: torch.device, trainer: Mapping[str, Any]) -> str | None:
    """What keeps training steps from being a CUDA graph; "" for nothing, None where there is nothing to be said.

    Args:
        parts: network and loss.
        trainer: the keys of the trainer group.
    """
    asked = trainer.get("cuda_graph", "auto")
    if asked == "never":
        return None
    reasons = {
        "only a GPU takes one": device.type != "cuda",
        "deterministic training does without": trainer.get("deterministic"),
        "several devices train": trainer.get("devices", 1) != 1,
    }
    if reason := next((each for each, holds in reasons.items() if holds), None):
        return reason if asked == "always" else None
    if trainer.get("accumulate_grad_batches", 1) > 1:
        return "gradients are accumulated"
    if trainer.get("precision") == HALF:
        return f"{HALF} decides after each step"
    kinds = {type(each) for part in parts if part is not None for each in part.modules()}
    others = sorted(kind.__name__ for kind in kinds if kind.__module__.partition(".")[0] not in KNOWN)
    if others and asked == "auto":
        return f"{others[0]} may decide something in Python at each step (trainer.cuda_graph=always says it does not)"
    return ""


class StepGraph:
    """One step on batches of one shape, captured once, then launched as a whole (torch.cuda.CUDAGraph).

    Python runs once, when it is captured; of what changes from step to step the graph knows the batch, the learning
    rate and torch's random numbers. Where a schedule changes more, such as momentum, the update is left out of it.

    Args:
        backward: forward and backward of a batch: gives loss, (), logits, (N, K), and labels, (N,).
        update: the optimizer's step with the gradients, of which it leaves none.
        batch: an example.
        constants: of the optimizer when training with it began, as `constants_of` gives them.

    Raises:
        RuntimeError: as `capture`; nothing has been trained then.
    """

    def __init__(
        self,
        backward: Callable[[Batch], tuple[Tensor, Tensor, Tensor]],
        update: Callable[[Optimizer], None],
        optimizer: Optimizer,
        batch: Batch,
        constants: object,
    ):
        self.optimizer, self.update = optimizer, update
        self.batch = batch._replace(pixels=batch.pixels.clone(), labels=batch.labels.clone())
        self.constants = constants_of(optimizer)
        self.updates = _is_fused(optimizer) and self.constants == constants
        self.rates = [torch.tensor(float(group["lr"]), device=batch.pixels.device) for group in optimizer.param_groups]
        self.known = [group["lr"] for group in optimizer.param_groups]
        optimizer.zero_grad()

        def step() -> tuple[Tensor, Tensor, Tensor]:
            found = backward(self.batch)
            if self.updates:
                self._captured_update()
            return found

        try:
            self.graph, self.found = capture(step, batch.pixels.device)
        except BaseException:
            optimizer.zero_grad()
            raise
        self.gradients = [(each, each.grad) for group in optimizer.param_groups for each in group["params"]]

    def _captured_update(self) -> None:
        groups = self.optimizer.param_groups
        kept = [(group["lr"], group.get("capturable")) for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate
            if "capturable" in group:
                group["capturable"] = True
        try:
            self.update(self.optimizer)
        finally:
            for group, (rate, capturable) in zip(groups, kept, strict=True):
                group["lr"] = rate
                if capturable is not None:
                    group["capturable"] = capturable

    def fits(self, batch: Batch) -> bool:
        """Whether a step on a batch is what was captured."""
        ours, theirs = self.batch.pixels, batch.pixels
        is_same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
        return is_same and not (self.updates and constants_of(self.optimizer) != self.constants)

    def take(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """The step; gives what `backward` gives."""
        self.batch.pixels.copy_(batch.pixels)
        self.batch.labels.copy_(batch.labels)
        if self.updates:
            self._set_rates()
            self.graph.replay()
        else:
            for parameter, gradient in self.gradients:
                parameter.grad = gradient
            self.graph.replay()
            self.update(self.optimizer)
        loss, logits, _ = self.found
        return loss.clone(), logits.clone(), batch.labels

    def _set_rates(self) -> None:
        for index, group in enumerate(self.optimizer.param_groups):
            if group["lr"] != self.known[index]:
                self.known[index] = group["lr"]
                self.rates[index].fill_(group["lr"])


def capture(work: Callable[[], Found], gpu: torch.device) -> tuple[torch.cuda.CUDAGraph, Found]:
    """What `work` launches on a GPU as a graph, and what it gives; the memory that it takes stays the graph's own.

    Raises:
        RuntimeError: if it cannot be captured, or would not leave as much memory free as it keeps for itself.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(gpu)
    try:
        # Where a capture cannot be ended, torch leaves its own stream as the current one.
        with torch.cuda.stream(stream), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            before = torch.cuda.memory_reserved(gpu)
            found = work()
    except BaseException as error:
        generator = torch.cuda.default_generators[gpu.index or 0]  # it still waits for the capture's end
        generator.graphsafe_set_state(generator.clone_state())
        if not isinstance(error, Exception):
            raise
        cause = error.__context__ or error  # torch says that the capture failed, after what made it fail
        what = str(cause).partition("\n")[0]
        raise RuntimeError(f"{type(cause).__name__}: {what}") from error
    kept, free = torch.cuda.memory_reserved(gpu) - before, torch.cuda.mem_get_info(gpu)[0]
    if kept > free:  # as a batch of another size may need, and evaluation
        raise RuntimeError(f"it would keep {format_size(kept)} of memory for itself, and {format_size(free)} are free")
    return graph, found


def constants_of(optimizer: Optimizer) -> list[dict[str, Any]]:
    """What an optimizer goes by, but for its parameters and learning rates."""
    apart = ("params", "lr", "initial_lr", "max_lr", "min_lr")
    return [{name: value for name, value in group.items() if name not in apart} for group in optimizer.param_groups]


def _is_fused(optimizer: Optimizer) -> bool:
    """Whether all that its step does is done on the GPU, by a learning rate that may be there too."""
    return type(optimizer) in (Adam, AdamW, SGD) and all(group["fused"] for group in optimizer.param_groups)
