"""One pass of pictures through a frozen backbone, in float32 and as fast as that goes."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.errors import format_exception
from viewfinder.models.transfer import Transferable

BATCH = {"cpu": 16, "cuda": 128}
"""Pictures at once: on a CPU, more of them are no faster and take more memory."""
FORMAT = {"cpu": torch.channels_last, "cuda": torch.contiguous_format}
"""On a GPU, channels_last is made for TF32 and half precision; in exact float32 the other is a fifth faster."""
CLOSE = 1e-4
"""Of the largest value, what two ways to the same numbers may differ by in float32."""


class Backbone:
    """A copy of a network's frozen backbone for the pass alone, on a device.

    Convolutions take up the batch norm that follows them (torch.fx), where that gives the same features.

    Args:
        network: whose head is left out.
        probe: (n, C, H, W) uint8, of the pictures' shape.

    `features` are those of the probe, (n, D) float32.

    Raises:
        ValueError: if the network is something else than its head on (n, D) features of its backbone.
    """

    def __init__(self, network: Transferable, probe: Tensor, device: torch.device):
        self.preprocess, self.device = get_preprocess(network), device
        self.batch, self.format = BATCH[device.type], FORMAT[device.type]
        training = network.training
        with torch.no_grad():  # a module that is made in inference_mode fails once it is on a GPU
            pictures = self.preprocess(probe)
            try:
                logits = network.eval()(pictures)
                with network.without_head():
                    features, fused = network(pictures), _fused(network)
                    is_same = fused is not None and _close(fused(pictures), features)
                    chosen = fused if fused is not None and is_same else copy.deepcopy(network)
                again = network.classify(features)
            except Exception as error:  # whatever a network comes to that wants more of its head than its logits
                raise ValueError(format_exception(error)) from error
            finally:
                network.train(training)
        if features.ndim != 2 or features.dtype != torch.float32:
            raise ValueError(f"its backbone gives {tuple(features.shape)} {features.dtype}")
        if not _close(again, logits):
            raise ValueError("its logits are not its head's, of its backbone's features")
        self.features, self.width = features, features.shape[1]
        self.module = chosen.eval().to(device=device, memory_format=self.format)  # type: ignore[call-overload]

    def blocks(self, data: ImageData, split: str, done: int) -> Iterator[Tensor]:
        """Features of a split's pictures, but for the first `done` batches: (n, D) float32 on the CPU."""
        for chunk in data.sequential_loader(split, self.batch, done):
            for batch in chunk.to(self.device):
                yield self._features(batch.pixels)

    @torch.no_grad()
    def _features(self, pixels: Tensor) -> Tensor:
        return self.module(self.preprocess(pixels).contiguous(memory_format=self.format)).cpu()


def _fused(network: nn.Module) -> nn.Module | None:
    """A copy without batch norms of its own after convolutions; None of one that cannot be traced."""
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(network)
    except Exception:  # whatever code that cannot be traced comes to
        return None


def _close(ours: Tensor, theirs: Tensor) -> bool:
    return ours.shape == theirs.shape and bool((ours - theirs).abs().max() <= CLOSE * theirs.abs().max())
