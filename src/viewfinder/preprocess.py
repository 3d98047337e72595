"""What a network wants done to uint8 pictures before its first layer; one and the same for every split."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from viewfinder.errors import Problem, ViewfinderError


class Preprocess:
    """Resize, scale to 0..1, normalise; on whatever device the pictures are.

    No module, so that a torch.nn.Sequential that has one as an attribute does not take it for a layer.

    Args:
        image_size: side of the square that the network takes, in pixels; pictures of another size are resized to it,
            bilinear with antialiasing and rounded to whole levels, as Pillow and torchvision's Resize do.
        mean, std: for each channel, on the 0..1 scale.
    """

    def __init__(self, image_size: int, mean: Sequence[float] = (0.0,), std: Sequence[float] = (1.0,)):
        self.image_size = image_size
        self.scale = 1 / (255 * torch.tensor(std).view(1, -1, 1, 1))
        self.shift = (torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> (N, C, image_size, image_size) float32."""
        if self.scale.device != pixels.device:
            self.scale, self.shift = self.scale.to(pixels.device), self.shift.to(pixels.device)
        values = pixels.float().contiguous(memory_format=torch.channels_last)
        size = (self.image_size, self.image_size)
        if values.shape[-2:] != size:
            values = nn.functional.interpolate(values, size, mode="bilinear", antialias=True).round_().clamp_(0, 255)
        return values * self.scale - self.shift


def preprocess_of(network: nn.Module) -> Preprocess:
    """What a network says in its attribute `preprocess`.

    Raises:
        ViewfinderError: if it says nothing.
    """
    found = getattr(network, "preprocess", None)
    if not isinstance(found, Preprocess):
        rule = f"{type(network).__name__} does not say what it wants done to pictures"
        remedy = "In its __init__: self.preprocess = viewfinder.preprocess.Preprocess(image_size=32)."
        raise ViewfinderError("the configuration", [Problem("model._target_", rule, remedy=remedy)])
    return found
