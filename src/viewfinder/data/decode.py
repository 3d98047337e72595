"""Decoding of image files to uint8 tensors."""

import contextlib
import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from viewfinder.data.files import describe_broken_link, escape_path, open_stable
from viewfinder.data.formats import describe_unsupported, open_image
from viewfinder.data.jpeg import decode_jpegs, is_plain_jpeg
from viewfinder.data.levels import is_deep, read_scale, scale_transparency, to_eight_bits
from viewfinder.data.resize import Resize, Size
from viewfinder.errors import Problem

FILES_PER_CALL = 16
"""Images decoded in one call."""
SMALL_FILE = 2**15
"""Bytes; Pillow's overhead is a small part of decoding a larger JPEG file."""


def decode_image(path: Path, channels: int, size: Size | None = None) -> Tensor:
    """Decode an image file, in its EXIF orientation, over white if transparent; the first frame of an animation.

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (height, width) to resize to, bilinear with antialiasing, or a Resize; None keeps the file's size.

    Returns:
        (channels, H, W) uint8.

    Raises:
        OSError: as `viewfinder.data.files.open_stable`.
        Exception: any error of Pillow for a malformed file.
    """
    with open_stable(path) as file:
        return _decode_file(file, path, channels, size)


def _decode_file(file: BinaryIO, path: Path, channels: int, size: Size | None) -> Tensor:
    # An open file, because Pillow scrambles uncompressed TIFFs with an orientation if it maps them by path.
    with open_image(file, path) as opened:
        return convert_image(opened, channels, size)


def convert_image(opened: Image.Image, channels: int, size: Size | None) -> Tensor:
    """Convert a Pillow image as `decode_image` converts a file; it may change the image."""
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
    return to_tensor(image if size is None else Resize.from_size(size).resize_image(image))


def to_tensor(image: Image.Image) -> Tensor:
    """Convert a Pillow image to (C, H, W) uint8."""
    levels = np.array(image)
    return torch.from_numpy(levels[..., None] if levels.ndim == 2 else levels).permute(2, 0, 1)


def to_pil_image(pixels: Tensor) -> Image.Image:
    """Convert (C, H, W) uint8 to a Pillow image."""
    levels = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(levels[..., 0] if len(pixels) == 1 else levels)


def decode_images(paths: Sequence[Path], channels: int, size: Size) -> Iterator[Tensor | Problem]:
    """Yield each image as `decode_image` returns it, or the problem that makes it unreadable."""
    for start in range(0, len(paths), FILES_PER_CALL):
        contents = {path: catch_problem(_read_small_file, path) for path in paths[start : start + FILES_PER_CALL]}
        decoded = _decode_plain_jpegs(contents, channels, size)
        for path in paths[start : start + FILES_PER_CALL]:
            content = contents[path]
            if path in decoded:
                yield decoded[path]
            elif isinstance(content, Problem):
                yield content
            else:
                yield catch_problem(functools.partial(_decode_content, content, channels, size), path)


def _read_small_file(path: Path) -> bytes | None:
    """Return the content of a file; None if it is large."""
    with open_stable(path, buffering=0) as file:
        content = file.read(SMALL_FILE + 1)
        return content if len(content) <= SMALL_FILE else None


def _decode_content(content: bytes | None, channels: int, size: Size, path: Path) -> Tensor:
    if content is None:
        return decode_image(path, channels, size)
    return _decode_file(io.BytesIO(content), path, channels, size)


def _decode_plain_jpegs(contents: Mapping[Path, Any], channels: int, size: Size) -> dict[Path, Tensor]:
    """Decode the plain JPEG files that need no conversion.

    Args:
        contents: path -> content of a small file; values other than bytes are ignored.

    Returns:
        Path -> (channels, H, W) uint8; empty if one file cannot be decoded, so that Pillow finds which and why.
    """
    files = {
        path: content for path, content in contents.items() if isinstance(content, bytes) and is_plain_jpeg(content)
    }
    images, resize = decode_jpegs(list(files.values())), Resize.from_size(size)
    decoded = {}
    for path, pixels in zip(files, images, strict=True) if images is not None else ():
        if len(pixels) == channels:
            is_resized = not resize.is_identity(*pixels.shape[1:])
            decoded[path] = to_tensor(resize.resize_image(to_pil_image(pixels))) if is_resized else pixels
    return decoded


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
