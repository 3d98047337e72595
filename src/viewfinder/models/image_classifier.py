"""Trained network with its preprocessing, for images from any source."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from viewfinder.data.decode import array_to_image, to_tensor
from viewfinder.data.image_file import convert_image
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.resize import Size
from viewfinder.models.tta import classify

Decoded = Image.Image | NDArray[np.uint8]


class ImageClassifier(nn.Module):
    """Module that maps images in memory to logits, with the preprocessing of the run.

    Args:
        network: maps float images (N, C, H, W) to logits (N, K).
        preprocess: the network's preprocessing of the run's own images.
        file_preprocess: its preprocessing of images that were decoded to `size`.
        channels: channels of the run's images, 1 or 3.
        size: size to which the run's files are decoded.
        temperature: divisor of the logits, if the run is calibrated.
    """

    def __init__(
        self,
        network: nn.Module,
        preprocess: Preprocess,
        file_preprocess: Preprocess,
        channels: int,
        size: Size,
        temperature: float | None = None,
    ):
        super().__init__()
        self.temperature = temperature
        self.network, self.channels, self.size = network, channels, size
        self.preprocess, self.file_preprocess = preprocess, file_preprocess

    def forward(self, images: Tensor | Decoded | Sequence[Decoded]) -> Tensor:
        """Compute the logits, (N, K) float32, on the network's device.

        Args:
            images: uint8 (N, C, H, W) or (C, H, W); or one or several Pillow images of any size and mode, or arrays
                (H, W, C) or (H, W) uint8, which are converted as files are.

        Raises:
            ValueError: if a tensor or an array has another type or shape.
        """
        preprocess = self.preprocess if isinstance(images, Tensor) else self.file_preprocess
        pixels = images if isinstance(images, Tensor) else self._stack(images)
        pixels = pixels.unsqueeze(0) if pixels.ndim == 3 else pixels
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[1] != self.channels:
            found = f"{tuple(pixels.shape)} {str(pixels.dtype).removeprefix('torch.')}"
            raise ValueError(f"images must be (N, {self.channels}, H, W) uint8, not {found}")
        device = next(self.network.parameters()).device
        logits = classify(self.network, preprocess(pixels.to(device)))
        return logits if self.temperature is None else logits / self.temperature

    def _stack(self, images: Decoded | Sequence[Decoded]) -> Tensor:
        is_single = isinstance(images, Image.Image) or (isinstance(images, np.ndarray) and images.ndim < 4)
        listed: list[Any] = [images] if is_single else [*cast(Sequence[Decoded], images)]
        opened = [array_to_image(image) if isinstance(image, np.ndarray) else image.copy() for image in listed]
        return torch.stack([to_tensor(convert_image(image, self.channels, self.size)) for image in opened])
