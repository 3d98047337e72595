"""Training step captured as a CUDA graph, which saves the time to launch each operation."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer

from viewfinder.data.batches import Batch, Mixing
from viewfinder.data.memory import format_size
from viewfinder.runs.launcher import is_distributed
from viewfinder.training.combined_optimizer import CombinedOptimizer
from viewfinder.training.optimizers.muon import Muon
from viewfinder.training.precision import FP16, list_foreign_layers
from viewfinder.training.torch_internals import abandon_capture

Result = TypeVar("Result")
WARM_UP_STEPS = 3
"""Steps before a capture, while libraries and the optimizer initialise their state."""


def cuda_graph_blocker(
    parts: Iterable[nn.Module | None], device: torch.device, trainer: Mapping[str, Any]
) -> str | None:
    """Return why training steps cannot run as a CUDA graph; "" if they can, None if the reason is not worth logging.

    Args:
        parts: network and loss.
        trainer: the trainer group's settings.
    """
    mode = trainer.get("cuda_graph", "auto")
    if mode == "never":
        return None
    blockers = {
        "the device is not a GPU": device.type != "cuda",
        "trainer.deterministic is set": trainer.get("deterministic"),
        "several devices train": is_distributed(trainer.get("devices", 1), trainer.get("num_nodes", 1)),
    }
    if blocker := next((text for text, applies in blockers.items() if applies), None):
        return blocker if mode == "always" else None
    if trainer.get("accumulate_grad_batches", 1) > 1:
        return "gradients are accumulated"
    if trainer.get("precision") == FP16:
        return f"{FP16} skips steps depending on their gradients"
    if mode == "auto" and (layers := list_foreign_layers(parts)):
        return f"{layers[0]} may run Python code that differs from step to step (if not, set trainer.cuda_graph=always)"
    return ""


class StepGraph:
    """Training step on batches of one shape, captured once and replayed as a whole (torch.cuda.CUDAGraph).

    Python runs only during the capture. Batch, learning rate and torch's random numbers may change from step to step.
    If a schedule changes more, such as momentum, the optimizer's update is not part of the graph.

    Args:
        backward: runs forward and backward of a batch; returns loss (), logits (N, K) and labels (N,).
        update: steps the optimizer and clears the gradients.
        batch: a batch of that shape.
        constants: `get_fixed_hyperparameters` of the optimizer when training began.

    Raises:
        RuntimeError: as `capture`; the weights are unchanged then.
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
        mixing = batch.mixing and Mixing(*(values.clone() for values in batch.mixing))
        self.batch = batch._replace(pixels=batch.pixels.clone(), labels=batch.labels.clone(), mixing=mixing)
        self.constants = get_fixed_hyperparameters(optimizer)
        self.includes_update = _is_capturable(optimizer) and self.constants == constants
        self.rates = [torch.tensor(float(group["lr"]), device=batch.pixels.device) for group in optimizer.param_groups]
        self.filled_rates = [group["lr"] for group in optimizer.param_groups]
        optimizer.zero_grad()

        def step() -> tuple[Tensor, Tensor, Tensor]:
            result = backward(self.batch)
            if self.includes_update:
                self._update_with_tensor_rates()
            return result

        try:
            self.graph, self.result = capture(step, batch.pixels.device)
        except BaseException:
            optimizer.zero_grad()
            raise
        self.gradients = [(p, p.grad) for group in optimizer.param_groups for p in group["params"]]

    def _update_with_tensor_rates(self) -> None:
        groups = self.optimizer.param_groups
        original = [(group["lr"], group.get("capturable")) for group in groups]
        for group, rate in zip(groups, self.rates, strict=True):
            group["lr"] = rate
            if "capturable" in group:
                group["capturable"] = True
        try:
            self.update(self.optimizer)
        finally:
            for group, (rate, capturable) in zip(groups, original, strict=True):
                group["lr"] = rate
                if capturable is not None:
                    group["capturable"] = capturable

    def fits(self, batch: Batch) -> bool:
        """Return whether the captured step is valid for a batch."""
        captured, pixels = self.batch.pixels, batch.pixels
        is_alike = captured.shape == pixels.shape and captured.dtype == pixels.dtype
        is_alike = is_alike and (batch.mixing is None or self.batch.mixing is not None)
        return is_alike and not (self.includes_update and get_fixed_hyperparameters(self.optimizer) != self.constants)

    def replay(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Run the step on a batch and return what `backward` returns."""
        self.batch.pixels.copy_(batch.pixels)
        self.batch.labels.copy_(batch.labels)
        if self.batch.mixing is not None:
            self._fill_mixing(self.batch.mixing, batch)
        if self.includes_update:
            self._set_rates()
            self.graph.replay()
        else:
            for parameter, gradient in self.gradients:
                parameter.grad = gradient
            self.graph.replay()
            self.update(self.optimizer)
        loss, logits, labels = self.result
        return loss.clone(), logits.clone(), batch.labels if self.batch.mixing is None else labels.clone()

    def _fill_mixing(self, mixing: Mixing, batch: Batch) -> None:
        """Set the other labels and the share of a batch's own; an unmixed batch has a share of 1."""
        mixing.labels.copy_(batch.labels if batch.mixing is None else batch.mixing.labels)
        if batch.mixing is None:
            mixing.share.fill_(1.0)
        else:
            mixing.share.copy_(batch.mixing.share)

    def _set_rates(self) -> None:
        for index, group in enumerate(self.optimizer.param_groups):
            if group["lr"] != self.filled_rates[index]:
                self.filled_rates[index] = group["lr"]
                self.rates[index].fill_(group["lr"])


def capture(work: Callable[[], Result], gpu: torch.device) -> tuple[torch.cuda.CUDAGraph, Result]:
    """Capture the GPU operations of `work` as a graph; return the graph and the result of `work`.

    The graph keeps the memory of its operations.

    Raises:
        RuntimeError: if the capture fails, or the graph takes more memory than remains free.
    """
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(gpu)
    try:
        # If a capture cannot end, torch leaves its own stream as the current one.
        with torch.cuda.stream(stream), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            before = torch.cuda.memory_reserved(gpu)
            result = work()
    except BaseException as error:
        abandon_capture(gpu)
        if not isinstance(error, Exception):
            raise
        cause = error.__context__ or error  # torch reports the failed capture after its cause
        message = str(cause).partition("\n")[0]
        raise RuntimeError(f"{type(cause).__name__}: {message}") from error
    taken_bytes, free = torch.cuda.memory_reserved(gpu) - before, torch.cuda.mem_get_info(gpu)[0]
    if taken_bytes > free:  # a batch of another size may need as much, and so may evaluation
        raise RuntimeError(f"it needs {format_size(taken_bytes)} of memory, but only {format_size(free)} is free")
    return graph, result


def get_fixed_hyperparameters(optimizer: Optimizer) -> list[dict[str, Any]]:
    """Return an optimizer's hyperparameters other than learning rates."""
    excluded = ("params", "lr", "initial_lr", "max_lr", "min_lr")
    return [{name: value for name, value in group.items() if name not in excluded} for group in optimizer.param_groups]


def _is_capturable(optimizer: Optimizer) -> bool:
    """Return whether an optimizer's step runs wholly on the GPU and accepts a learning rate there."""
    if isinstance(optimizer, CombinedOptimizer):
        return all(map(_is_capturable, optimizer.optimizers))
    if type(optimizer) in (Adam, AdamW, SGD):
        return all(group["fused"] for group in optimizer.param_groups)
    return type(optimizer) is Muon
