"""Batch norm over the batches of all processes, on GPUs and CPUs."""

from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SyncBatchNorm(nn.SyncBatchNorm):
    """torch's batch norm over all processes, for GPUs, in place of a layer that has no process group."""

    process_group = None


class SyncBatchNormOnCPU(nn.modules.batchnorm._BatchNorm):
    """Batch norm over the images of all processes on CPUs, for which torch has none."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        values = input.float()
        count = torch.full((1,), input.numel() / input.shape[1])
        sums = _SumOfAll.apply(torch.cat([values.sum(axes), count]))
        total = sums[-1]
        mean = sums[:-1] / total
        shape = [1, -1, *[1] * (input.ndim - 2)]
        centred = values - mean.view(shape)
        variance = _SumOfAll.apply((centred**2).sum(axes)) / total  # not of squares, which would lose digits
        self._track(mean.detach(), variance.detach(), total.detach())
        result = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            result = result * self.weight.view(shape) + self.bias.view(shape)
        return result.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, total: Tensor) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        momentum = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance * total / (total - 1), momentum)


class _SumOfAll(torch.autograd.Function):
    """Sum of the tensors of all processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        total = part.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        total = gradient.clone()
        dist.all_reduce(total)
        return total


class SyncLayers(LayerSync):
    """Plugin that synchronises a network's batch norms while it is trained.

    Subclasses of torch's layers, which may compute anything else, stay as they are.

    Args:
        is_on_gpu: whether the network is trained on a GPU.
    """

    def __init__(self, is_on_gpu: bool = False):
        self.synchronised = SyncBatchNorm if is_on_gpu else SyncBatchNormOnCPU
        self.layers: list[tuple[nn.Module, type[nn.Module]]] = []

    def apply(self, model: nn.Module) -> nn.Module:
        self.layers = [(layer, type(layer)) for layer in model.modules() if type(layer) in BATCH_NORMS]
        for layer, _ in self.layers:
            layer.__class__ = self.synchronised  # with the same parameters, hooks and name
        return model

    def revert(self, model: nn.Module) -> nn.Module:
        for layer, original in self.layers:
            layer.__class__ = original
        return model


def describe_sync(network: nn.Module) -> str:
    """Return how many batch norms of a network are synchronised, and the names of those that are not."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    others = sorted({type(layer).__name__ for layer in layers if type(layer) not in BATCH_NORMS})
    count = sum(type(layer) in BATCH_NORMS for layer in layers)
    suffix = f"; not those of other classes: {', '.join(others)}" if others else ""
    return f"batch norm of {count} layer{'s' * (count != 1)} over all processes{suffix}"
