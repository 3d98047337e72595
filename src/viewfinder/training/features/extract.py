"""Extraction of features by a frozen backbone in float32."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.errors import format_exception
from viewfinder.models.transfer import Transferable

BATCH = {"cpu": 16, "cuda": 128}
"""Images per batch; on a CPU, larger batches are no faster and take more memory."""
MEMORY_FORMAT = {"cpu": torch.channels_last, "cuda": torch.contiguous_format}
"""On a GPU, the contiguous format is a fifth faster in exact float32; channels_last suits TF32 and half precision."""
RELATIVE_TOLERANCE = 1e-4
"""Difference in float32 between two ways to compute the same numbers, relative to the largest."""


class FeatureExtractor:
    """Copy of a network's frozen backbone on a device.

    Convolutions absorb the batch norm that follows them (torch.fx) if that gives the same features.

    Args:
        network: the network; its head is left out.
        probe: images (n, C, H, W) uint8 of the data's shape.

    Attributes:
        features: features of the probe, (n, D) float32.

    Raises:
        ValueError: if the network is not its head applied to features (n, D) of its backbone.
    """

    def __init__(self, network: Transferable, probe: Tensor, device: torch.device):
        self.preprocess, self.device = get_preprocess(network), device
        self.batch, self.memory_format = BATCH[device.type], MEMORY_FORMAT[device.type]
        training = network.training
        with torch.no_grad():  # a module created in inference_mode fails on a GPU
            images = self.preprocess(probe)
            try:
                logits = network.eval()(images)
                with network.without_head():
                    features, fused = network(images), _fuse_batch_norms(network)
                    is_equal = fused is not None and _is_close(fused(images), features)
                    module = fused if fused is not None and is_equal else copy.deepcopy(network)
                head_logits = network.classify(features)
            except Exception as error:  # a network may use its head in any other way
                raise ValueError(format_exception(error)) from error
            finally:
                network.train(training)
        if features.ndim != 2 or features.dtype != torch.float32:
            raise ValueError(f"its backbone returns {tuple(features.shape)} {features.dtype}")
        if not _is_close(head_logits, logits):
            raise ValueError("its logits differ from its head applied to its backbone's features")
        self.features, self.width = features, features.shape[1]
        self.module = module.eval().to(device=device, memory_format=self.memory_format)  # type: ignore[call-overload]

    def extract(self, data: ImageData, split: str, skip: int) -> Iterator[Tensor]:
        """Yield the features of a split, (n, D) float32 on the CPU, without its first `skip` batches."""
        for chunk in data.sequential_loader(split, self.batch, skip):
            for batch in chunk.to(self.device):
                yield self._extract_batch(batch.pixels)

    @torch.no_grad()
    def _extract_batch(self, pixels: Tensor) -> Tensor:
        return self.module(self.preprocess(pixels).contiguous(memory_format=self.memory_format)).cpu()


def _fuse_batch_norms(network: nn.Module) -> nn.Module | None:
    """Return a copy whose convolutions include their batch norms; None if the network cannot be traced."""
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(network)
    except Exception:  # tracing fails in many ways
        return None


def _is_close(values: Tensor, expected: Tensor) -> bool:
    if values.shape != expected.shape:
        return False
    return bool((values - expected).abs().max() <= RELATIVE_TOLERANCE * expected.abs().max())
