"""How a picture comes to the size that a network takes: by Pillow where its file is decoded, by torch on the device."""

from typing import Literal, NamedTuple

from PIL import Image
from torch import Tensor, nn

Interpolation = Literal["bilinear", "bicubic"]
RESAMPLING = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
PANORAMA = 16
"""So many times as large as what is cut from it, a picture is not resized whole: it might not fit into memory."""


class Resize(NamedTuple):
    """Antialiased, and rounded to whole levels; both ways agree with torchvision's Resize and CenterCrop to a level.

    A plain pair (height, width) is one without the rest.
    """

    height: int
    width: int
    cover: tuple[int, int] | None = None
    """(height, width) of a frame that the picture is made to fill, its proportions kept, before the result is cut from
    the middle: (256, 256) brings the shorter side to 256. None resizes to the result, whatever the proportions."""
    interpolation: Interpolation = "bilinear"

    @classmethod
    def to(cls, size: "Size") -> "Resize":
        return size if isinstance(size, Resize) else cls(*size)

    def leaves(self, height: int, width: int) -> bool:
        """Whether a picture of this size stays as it is."""
        return self._whole(height, width) == (height, width) == (self.height, self.width)

    def of_picture(self, picture: Image.Image) -> Image.Image:
        if self.leaves(picture.height, picture.width):
            return picture
        whole, resampling = self._whole(picture.height, picture.width), RESAMPLING[self.interpolation]
        top, left = self._corner(*whole)
        if whole[0] * whole[1] > PANORAMA * self.height * self.width:
            # Only what is cut out is computed, which may round a level otherwise.
            down, across = picture.height / whole[0], picture.width / whole[1]
            box = (left * across, top * down, (left + self.width) * across, (top + self.height) * down)
            return picture.resize((self.width, self.height), resampling, box)
        resized = picture.resize((whole[1], whole[0]), resampling)
        return resized if self.cover is None else resized.crop((left, top, left + self.width, top + self.height))

    def of_levels(self, levels: Tensor) -> Tensor:
        """(N, C, H, W) float32, 0 to 255 -> (N, C, height, width)."""
        whole = self._whole(*levels.shape[-2:])
        # As in Pillow, bicubic's overshoot at an edge is cut off after each direction.
        steps = [(levels.shape[-2], whole[1]), whole] if self.interpolation == "bicubic" else [whole]
        for size in steps:
            if levels.shape[-2:] != size:
                levels = nn.functional.interpolate(levels, size, mode=self.interpolation, antialias=True)
                levels = levels.round_().clamp_(0, 255)
        top, left = self._corner(*whole)
        return levels[..., top : top + self.height, left : left + self.width]

    def _whole(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the picture before the result is cut from it; as torchvision rounds it."""
        if self.cover is None:
            return self.height, self.width
        down, across = self.cover
        if down * width >= across * height:
            return down, int(down * width / height)
        return int(across * height / width), across

    def _corner(self, height: int, width: int) -> tuple[int, int]:
        """(top, left) of the result in that picture; as torchvision rounds it."""
        return round((height - self.height) / 2), round((width - self.width) / 2)


Size = tuple[int, int] | Resize
