"""Preprocessing of uint8 images for a network, the same for every split."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from viewfinder.data.resize import Interpolation, Resize
from viewfinder.errors import Problem, UserError


class Preprocess:
    """Resize, scaling to 0..1 and normalisation, on the device of the images.

    It is not a module, so that a torch.nn.Sequential with such an attribute does not treat it as a layer.

    Args:
        image_size: side of the network's square input in pixels; images of another size are resized with antialiasing
            and rounded to whole levels, as by Pillow and torchvision's Resize.
        mean, std: values for each channel, on the 0..1 scale.
        resize_size: length in pixels to which the shorter side is resized first, with the aspect ratio preserved,
            before the square is cropped from the centre. None resizes straight to the square.
        interpolation: "bilinear" or "bicubic".

    `is_fitted` is True while images were resized by `resize` when their files were decoded.
    """

    def __init__(
        self,
        image_size: int,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        resize_size: int | None = None,
        interpolation: Interpolation = "bilinear",
    ):
        self.image_size, self.mean, self.std = image_size, tuple(mean), tuple(std)
        cover = None if resize_size is None else (resize_size, resize_size)
        self.resize = Resize(image_size, image_size, cover, interpolation)
        self.is_fitted = False
        self.scale = 1 / (255 * torch.tensor(std).view(1, -1, 1, 1))
        self.shift = (torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1)
        self._mean_levels = (255 * torch.tensor(mean)).round().clamp(0, 255).byte().view(1, -1, 1, 1)

    def __call__(self, pixels: Tensor, *, is_resized: bool = False) -> Tensor:
        """Map (N, C, H, W) uint8 to (N, C, image_size, image_size) float32; resized images keep their size."""
        if self.scale.device != pixels.device:
            self.scale, self.shift = self.scale.to(pixels.device), self.shift.to(pixels.device)
        values = pixels.float().contiguous(memory_format=torch.channels_last)
        if not is_resized and not (self.is_fitted and values.shape[-2:] == (self.image_size, self.image_size)):
            values = self.resize.resize_pixels(values)
        return values * self.scale - self.shift

    def resize_to(self, pixels: Tensor, size: int) -> Tensor:
        """Map (N, C, H, W) uint8 to (N, C, size, size) uint8; a resize before the crop is scaled with the size."""
        resize = self.resize._replace(height=size, width=size)
        if self.is_fitted:  # the files were cropped when they were decoded
            resize = resize._replace(cover=None)
        elif resize.cover is not None:
            height, width = (round(side * size / self.image_size) for side in resize.cover)
            resize = resize._replace(cover=(height, width))
        if resize.is_identity(*pixels.shape[-2:]):
            return pixels
        return resize.resize_pixels(pixels.float().contiguous(memory_format=torch.channels_last)).byte()

    def mean_levels(self, device: torch.device) -> Tensor:
        """Return the levels that normalisation maps to zero, rounded: (1, C or 1, 1, 1) uint8."""
        if self._mean_levels.device != device:
            self._mean_levels = self._mean_levels.to(device)
        return self._mean_levels

    def fit_to_files(self, shared_size: tuple[int, int] | None) -> Resize:
        """Return the resize for decoding files, and set `is_fitted` accordingly.

        Args:
            shared_size: (height, width) of all images, if they share one. If it is smaller than the
                network's input, files are decoded at it, which takes less memory, and resized on the device.
        """
        side, cover = self.image_size, self.resize.cover
        if shared_size is None or max(shared_size) > side or (cover is not None and min(shared_size) == side):
            self.is_fitted = True
            return self.resize
        self.is_fitted = False
        return self.resize._replace(height=shared_size[0], width=shared_size[1], cover=cover and shared_size)


def get_preprocess(network: nn.Module) -> Preprocess:
    """Return a network's attribute `preprocess`.

    Raises:
        UserError: if the attribute is missing or not a Preprocess.
    """
    preprocess = getattr(network, "preprocess", None)
    if not isinstance(preprocess, Preprocess):
        rule = f"{type(network).__name__} has no attribute `preprocess` that is a Preprocess"
        remedy = "In its __init__: self.preprocess = viewfinder.data.preprocess.Preprocess(image_size=32)."
        raise UserError("the configuration", [Problem("model._target_", rule, remedy=remedy)])
    return preprocess
