"""Image files loaded by Pillow; this module and its imports do without torch."""

import contextlib
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from viewfinder.data.files import describe_broken_link, escape_path
from viewfinder.data.formats import describe_unsupported, open_image
from viewfinder.data.levels import is_deep, read_scale, scale_transparency, to_eight_bits
from viewfinder.data.resize import Resize, Size
from viewfinder.errors import Problem


def load_image(file: BinaryIO, path: Path, channels: int, size: Size | None = None) -> Image.Image:
    """Load an image in its EXIF orientation, over white if transparent; the first frame of an animation.

    Args:
        file: the opened file at `path`.
        channels: 1 for grey, 3 for RGB.
        size: (height, width) to resize to, bilinear with antialiasing, or a Resize; None keeps the file's size.

    Raises:
        Exception: any error of Pillow for a malformed file.
    """
    # An open file, because Pillow scrambles uncompressed TIFFs with an orientation if it maps them by path.
    with open_image(file, path) as opened:
        return convert_image(opened, channels, size)


def convert_image(opened: Image.Image, channels: int, size: Size | None = None) -> Image.Image:
    """Convert a Pillow image as `load_image` converts a file; it may change the image."""
    scale_transparency(opened)
    opened.load()
    image = ImageOps.exif_transpose(opened)
    if is_deep(image):
        image = to_eight_bits(image, *read_scale(opened))
    if image.mode == "La":  # grey multiplied by its opacity, which Pillow converts to LA alone
        image = image.convert("LA")
    if "A" in image.mode or "a" in image.mode or "transparency" in image.info:
        colour = image.convert("RGBA")
        image = Image.new("RGBA", colour.size, "white")
        image.alpha_composite(colour)
    image = image.convert("L" if channels == 1 else "RGB")
    return image if size is None else Resize.from_size(size).resize_image(image)


@contextlib.contextmanager
def silence_warnings() -> Iterator[None]:
    """Silence Pillow, whose warnings, mostly about metadata, do not name the file.

    This affects the whole process, so enter it before starting threads.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def catch_problem(function: Callable[[Path], Any], path: Path) -> Any:
    """Return a function's result for an image file, or the problem that makes the file unreadable."""
    try:
        return function(path)
    except UnidentifiedImageError:
        return Problem(escape_path(path), describe_unsupported(path))
    except Image.DecompressionBombError as error:
        # Pillow's message begins with the number of pixels and the limit.
        count, limit = (int(number) for number in re.findall(r"\d+", str(error))[:2])
        rule = f"{count:,} pixels according to its header; the limit is {limit:,}, against decompression bombs"
        return Problem(escape_path(path), rule)
    except Exception as error:  # Pillow may raise anything for a malformed file
        if rule := describe_broken_link(path):
            return Problem(escape_path(path), rule)
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        kind = "" if text and isinstance(error, OSError | SyntaxError | ValueError) else type(error).__name__
        return Problem(escape_path(path), f"cannot be read: {': '.join(part for part in (kind, text) if part)}")
