"""Conversion of grey images of more than 8 bits to 8 bits."""

import numpy as np
from PIL import Image

BITS_PER_SAMPLE, PHOTOMETRIC = 258, 262
"""Tags of a TIFF file (TIFF 6.0, section 8)."""
WHITE_IS_ZERO = 0
"""Value of PHOTOMETRIC if the largest level is black. Pillow inverts only levels of up to 8 bits."""


SMALL_LEVELS = {"L;2": 85, "L;4": 17}
"""Pillow's name of PNG levels of 2 or 4 bits -> factor that scales them to 8 bits."""


def scale_transparency(opened: Image.Image) -> None:
    """Scale the transparent level of a grey PNG of 2 or 4 bits as Pillow scales its other levels on loading."""
    tile = getattr(opened, "tile", [])
    factor = SMALL_LEVELS.get(tile[0][3]) if tile and isinstance(tile[0][3], str) else None
    if factor and "transparency" in opened.info:
        opened.info["transparency"] *= factor


def is_deep(image: Image.Image) -> bool:
    """Return whether an image has levels of more than 8 bits: 12, 16 or 32, integer or floating-point."""
    return image.mode.startswith("I") or image.mode == "F"


def read_scale(opened: Image.Image) -> tuple[int, bool]:
    """Return the largest integer level of an opened file, and whether that level is black."""
    tags = getattr(opened, "tag_v2", {})
    bits = tags.get(BITS_PER_SAMPLE, (16,))
    return 4095 if bits == (12,) else 65535, tags.get(PHOTOMETRIC) == WHITE_IS_ZERO


def to_eight_bits(image: Image.Image, largest: int = 65535, is_inverted: bool = False) -> Image.Image:
    """Convert a grey image of more than 8 bits to 8 bits.

    Floating-point levels from 0 to 1 become 0 to 255. Of all others, those below 256 stay, and those up to `largest`
    are scaled to 0 to 255. Floating-point levels that are 0 and 1 alone may be black and white, or nearly black.

    Args:
        largest: the largest integer level.
        is_inverted: whether the largest level is black.

    Raises:
        ValueError: if the levels are outside of these ranges, or are 0 and 1 alone, so that their scale is unknown.
    """
    levels = np.array(image, dtype=np.float64)
    low, high = levels.min(initial=0), levels.max(initial=0)
    is_transparent = levels == image.info["transparency"] if "transparency" in image.info else None
    if image.mode == "F" and high == 1 and np.isin(levels, (0, 1)).all():
        raise ValueError("its floating-point levels, 0 and 1 alone, may be white or nearly black; save it with 8 bits")
    if image.mode == "F" and high * 255 < 255.5:
        levels *= 255
    elif high >= 255.5:
        levels /= largest / 255
    levels = np.round(levels)
    if not (levels.min(initial=0) >= 0 and levels.max(initial=0) <= 255):  # also if some are not a number
        expected = "0 to 1, 0 to 255" if image.mode == "F" else "0 to 255"
        raise ValueError(f"its levels from {low:g} to {high:g} are not on a scale of {expected} or 0 to {largest}")
    if is_inverted:
        levels = 255 - levels
    if is_transparent is not None:
        levels[is_transparent] = 255
    return Image.fromarray(levels.astype(np.uint8))
