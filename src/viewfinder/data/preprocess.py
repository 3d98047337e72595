"""What a network wants done to uint8 pictures before its first layer; one and the same for every split."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from viewfinder.data.resize import Interpolation, Resize
from viewfinder.errors import Problem, UserError


class Preprocess:
    """Resize, scale to 0..1, normalise; on whatever device the pictures are.

    No module, so that a torch.nn.Sequential that has one as an attribute does not take it for a layer.

    Args:
        image_size: side of the square that the network takes, in pixels; pictures of another size are resized to it,
            with antialiasing and rounded to whole levels, as Pillow and torchvision's Resize do.
        mean, std: for each channel, on the 0..1 scale.
        resize_size: what the shorter side is resized to first, in pixels, proportions kept; the square is then cut from
            the middle. None resizes straight to the square.
        interpolation: "bilinear" or "bicubic".

    `is_fitted` says that pictures come as `resize` has made them where their files were decoded.
    """

    def __init__(
        self,
        image_size: int,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        resize_size: int | None = None,
        interpolation: Interpolation = "bilinear",
    ):
        self.image_size = image_size
        cover = None if resize_size is None else (resize_size, resize_size)
        self.resize = Resize(image_size, image_size, cover, interpolation)
        self.is_fitted = False
        self.scale = 1 / (255 * torch.tensor(std).view(1, -1, 1, 1))
        self.shift = (torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> (N, C, image_size, image_size) float32."""
        if self.scale.device != pixels.device:
            self.scale, self.shift = self.scale.to(pixels.device), self.shift.to(pixels.device)
        values = pixels.float().contiguous(memory_format=torch.channels_last)
        if not (self.is_fitted and values.shape[-2:] == (self.image_size, self.image_size)):
            values = self.resize.of_levels(values)
        return values * self.scale - self.shift

    def for_files(self, shared: tuple[int, int] | None) -> Resize:
        """How files are decoded, which `is_fitted` says from now on.

        Args:
            shared: (height, width) that all pictures have; if it is not above the network's they keep it, which takes
                less memory, and the device resizes them.
        """
        side, cover = self.image_size, self.resize.cover
        if shared is None or max(shared) > side or (cover is not None and min(shared) == side):
            self.is_fitted = True
            return self.resize
        self.is_fitted = False
        return self.resize._replace(height=shared[0], width=shared[1], cover=cover and shared)


def preprocess_of(network: nn.Module) -> Preprocess:
    """What a network says in its attribute `preprocess`.

    Raises:
        UserError: if it says nothing.
    """
    found = getattr(network, "preprocess", None)
    if not isinstance(found, Preprocess):
        rule = f"{type(network).__name__} does not say what it wants done to pictures"
        remedy = "In its __init__: self.preprocess = viewfinder.data.preprocess.Preprocess(image_size=32)."
        raise UserError("the configuration", [Problem("model._target_", rule, remedy=remedy)])
    return found
