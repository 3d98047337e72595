"""Picture files to uint8 tensors, as a person sees them."""

import contextlib
import functools
import io
import re
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchcodec.decoders import decode_jpeg  # type: ignore[reportPrivateImportUsage]

from viewfinder.data.files import broken_link, readable, unchanging
from viewfinder.data.resize import Resize, Size
from viewfinder.errors import Problem

GREY_MODES = ("1", "L", "LA", "La", "I;16", "I", "F")
TOGETHER = 16
"""Pictures that are decoded in one call."""
SMALL = 2**15
"""Bytes; of a larger JPEG file, what Pillow adds to the decoding is a small part."""
QUICK_PIXELS = 2**22
"""More than a small JPEG file of an ordinary kind has."""


def decode(path: Path, channels: int, size: Size | None = None) -> Tensor:
    """One picture: (channels, H, W) uint8.

    Turned as its EXIF orientation says, transparency over white, the first frame of an animation.

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (height, width) to resize to, bilinear with antialiasing, or a Resize; None keeps its own.

    Raises:
        OSError: as `viewfinder.data.files.unchanging`.
        Exception: whatever Pillow raises for a file that it cannot read.
    """
    with unchanging(path) as file:
        return _decoded(file, channels, size)


def _decoded(file: BinaryIO, channels: int, size: Size | None) -> Tensor:
    # By an open file: of a path, Pillow maps uncompressed TIFFs in the size they are turned to, and scrambles them.
    with Image.open(file) as opened:
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bit(picture)
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        colour = picture.convert("RGBA")
        picture = Image.new("RGBA", colour.size, "white")
        picture.alpha_composite(colour)
    picture = picture.convert("L" if channels == 1 else "RGB")
    return _tensor(picture if size is None else Resize.to(size).of_picture(picture))


def _tensor(picture: Image.Image) -> Tensor:
    """(C, H, W) uint8"""
    levels = np.array(picture)
    return torch.from_numpy(levels[..., None] if levels.ndim == 2 else levels).permute(2, 0, 1)


def as_picture(pixels: Tensor) -> Image.Image:
    """Of (C, H, W) uint8."""
    levels = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(levels[..., 0] if len(pixels) == 1 else levels)


def decode_some(paths: Sequence[Path], channels: int, size: Size) -> Iterator[Tensor | Problem]:
    """Each picture as `decode` gives it, or why it cannot be read."""
    for start in range(0, len(paths), TOGETHER):
        contents = {path: guarded(_small_content, path) for path in paths[start : start + TOGETHER]}
        found = _plain_jpegs(contents, channels, size)
        for path in paths[start : start + TOGETHER]:
            content = contents[path]
            if path in found:
                yield found[path]
            elif isinstance(content, Problem):
                yield content
            else:
                yield guarded(functools.partial(_decode_content, content, channels, size), path)


def _small_content(path: Path) -> bytes | None:
    """All bytes of a file, or None if they are many."""
    with unchanging(path, buffering=0) as file:
        content = file.read(SMALL + 1)
        return content if len(content) <= SMALL else None


def _decode_content(content: bytes | None, channels: int, size: Size, path: Path) -> Tensor:
    return decode(path, channels, size) if content is None else _decoded(io.BytesIO(content), channels, size)


def _plain_jpegs(contents: Mapping[Path, Any], channels: int, size: Size) -> dict[Path, Tensor]:
    """Those that are JPEG files without anything to turn or convert, by torchcodec in one call.

    The same bits as Pillow's in a third of its time, and without keeping other threads from theirs. Empty if one of
    them cannot be read: Pillow says which and why.

    Args:
        contents: of small files; anything but bytes is passed over.
    """
    files = {path: content for path, content in contents.items() if isinstance(content, bytes) and _is_plain(content)}
    try:
        decoded = decode_jpeg(list(files.values()), mode="UNCHANGED") if files else []
    except RuntimeError:
        return {}
    found, resize = {}, Resize.to(size)
    for path, picture in zip(files, decoded, strict=True):
        if len(picture) == channels:
            if not resize.leaves(*picture.shape[1:]):
                picture = _tensor(resize.of_picture(as_picture(picture)))
            found[path] = picture
    return found


def _is_plain(content: bytes) -> bool:
    """Whether it is a JPEG file with nothing to turn, of an ordinary size, that goes on to its end."""
    return (
        content.startswith(b"\xff\xd8\xff")
        and content.endswith(b"\xff\xd9")
        and b"Exif" not in content
        and b"tiff:" not in content
        and 0 < jpeg_pixels(content) <= QUICK_PIXELS
    )


def jpeg_pixels(content: bytes) -> int:
    """Height times width by a JPEG file's frame header, for which decoders make room before they read on.

    0 where anything but segments of a known length stands before it. (ITU-T T.81, B.1.1.3 and B.2.2.)
    """
    at = 2
    while at + 9 <= len(content) and content[at] == 0xFF:
        kind = content[at + 1]
        if kind in (0xC0, 0xC1, 0xC2):  # baseline, extended, progressive
            return int.from_bytes(content[at + 5 : at + 7]) * int.from_bytes(content[at + 7 : at + 9])
        length = content[at + 2] << 8 | content[at + 3]
        if length < 2 or not (0xE0 <= kind <= 0xEF or kind in (0xC4, 0xDB, 0xDD, 0xFE)):  # APPn, tables, a comment
            return 0
        at += 2 + length
    return 0


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Pictures of 16 bits or more to 8: 0..65535 to 0..255, or levels below 256 as they are."""
    levels = np.array(picture, dtype=np.float64)
    scale = 257 if levels.max(initial=0) > 255 else 1
    if "transparency" in picture.info:
        levels[levels == picture.info["transparency"]] = 255 * scale
    return Image.fromarray(np.clip(np.round(levels / scale), 0, 255).astype(np.uint8))


def look(path: Path) -> tuple[tuple[int, int], Literal[1, 3]]:
    """((height, width) as seen, channels) of a picture, from its header alone."""
    with unchanging(path) as file, Image.open(file) as picture:
        # Pillow gives a TIFF's size as it is seen, other formats' as it is stored.
        turned = picture.format != "TIFF" and picture.getexif().get(0x0112, 1) >= 5
        height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
        return (height, width), 1 if picture.mode in GREY_MODES or picture.mode.startswith("I;16") else 3


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Silences Pillow, whose warnings, mostly of metadata that it can do without, name no file.

    For a whole process, so not in one thread beside others.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def guarded(function: Callable[[Path], Any], path: Path) -> Any:
    """What the function gives for a file, or why it cannot be read."""
    try:
        return function(path)
    except UnidentifiedImageError:
        return Problem(readable(path), "is no picture that Pillow knows")
    except Image.DecompressionBombError as error:
        # Its text begins with how many they are; the limit is twice the number from which on Pillow would warn.
        count, most = (int(number) for number in re.findall(r"\d+", str(error))[:2])
        rule = f"has {count:,} pixels by its header; with more than {most:,}, a file is taken for an attack on memory"
        return Problem(readable(path), rule)
    except Exception as error:  # of a malformed file, Pillow may raise anything
        if rule := broken_link(path):
            return Problem(readable(path), rule)
        text = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        kind = "" if text and isinstance(error, OSError | SyntaxError | ValueError) else type(error).__name__
        return Problem(readable(path), f"cannot be read: {': '.join(part for part in (kind, text) if part)}")
