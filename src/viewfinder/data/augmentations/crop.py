"""Random crop after padding."""

from typing import Literal

import torch
from torch import Generator, Tensor, nn

from viewfinder.config.validate import Whole


class RandomCrop:
    """Crop of each padded image at a random place, of the image's own size.

    torchvision's RandomCrop draws one place for a whole batch.

    Args:
        padding: pixels on each side; 0 changes nothing.
        border: "zero" pads with black, "reflect" mirrors the image without repeating its outermost pixels.
    """

    def __init__(self, padding: Whole = 4, border: Literal["zero", "reflect"] = "zero"):
        self.padding, self.border = padding, border

    def __call__(self, pixels: Tensor, generator: Generator) -> Tensor:
        """Map (N, C, H, W) uint8 to the same shape."""
        if not self.padding:
            return pixels
        places = torch.randint(2 * self.padding + 1, (2, len(pixels)), generator=generator, device=pixels.device)
        images = pixels.permute(0, 2, 3, 1)  # (N, H, W, C), as batches are stored
        crop = self._crop_padded if self.border == "zero" else self._crop_reflected
        return crop(images, *places).permute(0, 3, 1, 2)

    def _crop_padded(self, images: Tensor, top: Tensor, left: Tensor) -> Tensor:
        height, width = images.shape[1:3]
        padded = nn.functional.pad(images, [0, 0, *[self.padding] * 4])
        windows = padded.unfold(1, height, 1).unfold(2, width, 1).permute(0, 1, 2, 4, 5, 3)
        return windows[torch.arange(len(images), device=images.device), top, left]

    def _crop_reflected(self, images: Tensor, top: Tensor, left: Tensor) -> Tensor:
        """Select each pixel by its place, because torch pads no uint8 by reflection."""
        count, height, width, channels = images.shape
        if self.padding >= min(height, width):
            raise ValueError(f"padding={self.padding} reflects more pixels than an image of {height}x{width} has")
        rows, columns = (
            _reflect(first[:, None] - self.padding + torch.arange(size, device=images.device), size)
            for first, size in ((top, height), (left, width))
        )
        numbers = torch.arange(count, device=images.device)[:, None]
        places = ((numbers * height + rows) * width)[:, :, None] + columns[:, None]
        return images.reshape(-1, channels).index_select(0, places.flatten()).view(images.shape)


def _reflect(places: Tensor, size: int) -> Tensor:
    """Map places outside 0..size-1 to their mirror images inside."""
    return size - 1 - (size - 1 - places.abs()).abs()
