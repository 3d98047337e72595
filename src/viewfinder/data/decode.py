"""Decoding of image files to uint8 tensors."""

import functools
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from viewfinder.data.files import open_stable
from viewfinder.data.image_file import catch_problem, load_image
from viewfinder.data.jpeg import decode_jpegs, is_plain_jpeg
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
        return to_tensor(load_image(file, path, channels, size))


def to_tensor(image: Image.Image) -> Tensor:
    """Convert a Pillow image to (C, H, W) uint8."""
    levels = np.array(image)
    return torch.from_numpy(levels[..., None] if levels.ndim == 2 else levels).permute(2, 0, 1)


def to_pil_image(pixels: Tensor) -> Image.Image:
    """Convert (C, H, W) uint8 to a Pillow image."""
    levels = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(levels[..., 0] if len(pixels) == 1 else levels)


def array_to_image(levels: np.ndarray) -> Image.Image:
    """Convert (H, W), or (H, W, C) of 1, 3 or 4 channels, uint8, to a Pillow image.

    Raises:
        ValueError: for an array of another type or shape.
    """
    is_image = levels.ndim == 2 or (levels.ndim == 3 and levels.shape[2] in (1, 3, 4))
    if not is_image or levels.dtype != np.uint8 or not levels.size:
        rule = "an image as an array must be (H, W) or (H, W, C) uint8, with 1, 3 (RGB) or 4 (RGBA) channels"
        raise ValueError(f"{rule}, not {levels.shape} {levels.dtype}")
    return Image.fromarray(levels[..., 0] if levels.shape[2:] == (1,) else levels)


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
    return to_tensor(load_image(io.BytesIO(content), path, channels, size))


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
