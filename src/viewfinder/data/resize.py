"""Resizing of images, by Pillow when a file is decoded and by torch on the device."""

from typing import TYPE_CHECKING, Literal, NamedTuple

from PIL import Image

if TYPE_CHECKING:  # an exported file needs no torch
    from torch import Tensor

Interpolation = Literal["bilinear", "bicubic"]
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
MAX_RESIZED_AREA = 16
"""Ratio of the resized area to the result's area above which an image is cropped first, to save memory."""


class Resize(NamedTuple):
    """Antialiased resize, rounded to whole levels, with an optional centre crop.

    Both implementations agree with torchvision's Resize and CenterCrop to one level. A plain pair (height, width) is a
    resize without a crop.
    """

    height: int
    width: int
    cover: tuple[int, int] | None = None
    """(height, width) of a frame that the image fills with its aspect ratio preserved, before the result is cropped
    from the centre: (256, 256) resizes the shorter side to 256. None resizes to the result in any aspect ratio."""
    interpolation: Interpolation = "bilinear"

    @classmethod
    def from_size(cls, size: "Size") -> "Resize":
        return size if isinstance(size, Resize) else cls(*size)

    def is_identity(self, height: int, width: int) -> bool:
        """Return whether an image of this size would stay unchanged."""
        return self.resized_size(height, width) == (height, width) == (self.height, self.width)

    def resize_image(self, image: Image.Image) -> Image.Image:
        """Resize and crop with Pillow."""
        if self.is_identity(image.height, image.width):
            return image
        (height, width), resampling = self.resized_size(image.height, image.width), RESAMPLING[self.interpolation]
        top, left = self.crop_corner(height, width)
        if height * width > MAX_RESIZED_AREA * self.height * self.width:
            # Only the crop is computed, which may round a level differently.
            down, across = image.height / height, image.width / width
            box = (left * across, top * down, (left + self.width) * across, (top + self.height) * down)
            return image.resize((self.width, self.height), resampling, box)
        resized = image.resize((width, height), resampling)
        return resized if self.cover is None else resized.crop((left, top, left + self.width, top + self.height))

    def resize_pixels(self, levels: "Tensor") -> "Tensor":
        """Resize and crop with torch: (N, C, H, W) float32 in 0..255 to (N, C, height, width)."""
        from torch import nn

        resized = self.resized_size(*levels.shape[-2:])
        # As in Pillow, each direction of a bicubic resize is clamped by itself.
        steps = [(levels.shape[-2], resized[1]), resized] if self.interpolation == "bicubic" else [resized]
        for size in steps:
            if levels.shape[-2:] != size:
                levels = nn.functional.interpolate(levels, size, mode=self.interpolation, antialias=True)
                levels = levels.round_().clamp_(0, 255)
        top, left = self.crop_corner(*resized)
        return levels[..., top : top + self.height, left : left + self.width]

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """Return (height, width) of an image of this size before the crop, rounded as by torchvision."""
        if self.cover is None:
            return self.height, self.width
        down, across = self.cover
        if down * width >= across * height:
            return down, int(down * width / height)
        return int(across * height / width), across

    def crop_corner(self, height: int, width: int) -> tuple[int, int]:
        """Return (top, left) of the crop in an image of this size, rounded as by torchvision."""
        return round((height - self.height) / 2), round((width - self.width) / 2)


Size = tuple[int, int] | Resize
