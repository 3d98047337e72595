"""Picture files to uint8 tensors, as a person sees them."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor
from torchcodec.decoders import decode_jpeg  # type: ignore[reportPrivateImportUsage]
from tqdm import tqdm

from viewfinder.errors import Problem, ViewfinderError, listed

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I", "F")
TOGETHER = 16
"""Pictures that a thread takes at once: one by one, threads would wait for each other most of the time."""
SMALL = 2**15
"""Bytes; of a larger JPEG file, what Pillow adds to the decoding is a small part."""
T = TypeVar("T")


def decode(path: Path, channels: int, size: tuple[int, int] | None = None) -> Tensor:
    """One picture: (channels, H, W) uint8.

    Turned as its EXIF orientation says, transparency over white, the first frame of an animation.

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (height, width) to resize to, bilinear with antialiasing; None keeps its own.

    Raises:
        OSError, SyntaxError, ValueError: whatever Pillow raises for a file that it cannot read.
    """
    # By an open file: of a path, Pillow maps uncompressed TIFFs in the size they are turned to, and scrambles them.
    with path.open("rb") as file, Image.open(file) as opened:
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bit(picture)
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        colour = picture.convert("RGBA")
        picture = Image.new("RGBA", colour.size, "white")
        picture.alpha_composite(colour)
    picture = picture.convert("L" if channels == 1 else "RGB")
    return _tensor(picture if size is None else _resized(picture, size))


def _resized(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    height, width = size
    if (picture.height, picture.width) == size:
        return picture
    return picture.resize((width, height), Image.Resampling.BILINEAR)


def _tensor(picture: Image.Image) -> Tensor:
    """(C, H, W) uint8"""
    levels = np.array(picture)
    return torch.from_numpy(levels[..., None] if levels.ndim == 2 else levels).permute(2, 0, 1)


def as_picture(pixels: Tensor) -> Image.Image:
    """Of (C, H, W) uint8."""
    levels = pixels.permute(1, 2, 0).numpy()
    return Image.fromarray(levels[..., 0] if len(pixels) == 1 else levels)


def decode_some(paths: Sequence[Path], channels: int, size: tuple[int, int]) -> Iterator[Tensor | Problem]:
    """Each picture as `decode` gives it, or why it cannot be read."""
    for start in range(0, len(paths), TOGETHER):
        part = paths[start : start + TOGETHER]
        quick = _plain_jpegs(part, channels, size)
        for path in part:
            found = quick.get(path)
            yield _guarded(functools.partial(decode, channels=channels, size=size), path) if found is None else found


def _plain_jpegs(paths: Sequence[Path], channels: int, size: tuple[int, int]) -> dict[Path, Tensor]:
    """Those that are small JPEG files without anything to turn or convert, by torchcodec in one call.

    The same bits as Pillow's in a third of its time, and without keeping other threads from theirs. Empty if one of
    them cannot be read: Pillow says which and why.
    """
    files: dict[Path, bytes] = {}
    for path in paths:
        with contextlib.suppress(OSError):
            if path.suffix.lower() in (".jpg", ".jpeg") and path.stat().st_size <= SMALL:
                content = path.read_bytes()
                if content.startswith(b"\xff\xd8\xff") and b"Exif" not in content and b"tiff:" not in content:
                    files[path] = content
    try:
        decoded = decode_jpeg(list(files.values()), mode="UNCHANGED") if files else []
    except RuntimeError:
        return {}
    found = {}
    for path, picture in zip(files, decoded, strict=True):
        if len(picture) == channels:
            if picture.shape[1:] != size:
                picture = _tensor(_resized(as_picture(picture), size))
            found[path] = picture
    return found


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Pictures of 16 bits or more to 8: 0..65535 to 0..255, or levels below 256 as they are."""
    levels = np.array(picture, dtype=np.float64)
    scale = 257 if levels.max(initial=0) > 255 else 1
    if "transparency" in picture.info:
        levels[levels == picture.info["transparency"]] = 255 * scale
    return Image.fromarray(np.clip(np.round(levels / scale), 0, 255).astype(np.uint8))


def look(path: Path) -> tuple[tuple[int, int], Literal[1, 3]]:
    """((height, width) as seen, channels) of a picture, from its header alone."""
    with Image.open(path) as picture:
        # Pillow gives a TIFF's size as it is seen, other formats' as it is stored.
        turned = picture.format != "TIFF" and picture.getexif().get(0x0112, 1) >= 5
        height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
        return (height, width), 1 if picture.mode in GREY_MODES or picture.mode.startswith("I;16") else 3


def common_shape(paths: Sequence[Path]) -> tuple[int, tuple[int, int] | None]:
    """Of many pictures: 1 channel if all are grey, else 3; and the (height, width) that they share, or None.

    Raises:
        ViewfinderError: naming the files that cannot be read.
    """

    def look_at(some: Sequence[Path]) -> Iterator[Any]:
        return (_guarded(look, path) for path in some)

    looks = _all_read(_each(look_at, paths, "looking at the pictures"))
    sizes = {size for size, _ in looks}
    return max(channels for _, channels in looks), sizes.pop() if len(sizes) == 1 else None


def decode_all(paths: Sequence[Path], channels: int, size: tuple[int, int], what: str, into: Tensor) -> None:
    """Many pictures in threads, into a tensor (N, H, W, channels) uint8.

    Raises:
        ViewfinderError: naming the files that cannot be read, each with the reason.
    """

    def fill(some: Sequence[tuple[int, Path]]) -> Iterator[Problem | None]:
        decoded = decode_some([path for _, path in some], channels, size)
        for (place, _), found in zip(some, decoded, strict=True):
            if isinstance(found, Problem):
                yield found
            else:
                into[place] = found.permute(1, 2, 0)
                yield None

    _all_read(_each(fill, list(enumerate(paths)), f"decoding {what}"))


def try_decode_each(paths: Sequence[Path], channels: int, size: tuple[int, int]) -> dict[Path, Tensor | Problem]:
    """Each picture as `decode` gives it, or why it cannot be read."""
    decoded = _each(functools.partial(decode_some, channels=channels, size=size), paths, "decoding")
    return dict(zip(paths, decoded, strict=True))


def find_pictures(paths: Sequence[Path]) -> list[Path]:
    """The files among these paths, and the pictures in the folders and below, hidden ones apart, in order.

    Raises:
        ViewfinderError: naming the paths that do not exist, and the folders without pictures.
    """
    found: list[Path] = []
    problems: list[Problem] = []
    for path in paths:
        if path.is_dir():
            inside = pictures_below(path)
            found += inside
            if not inside:
                problems.append(Problem(str(path), "holds no pictures", remedy=f"Known: {listed(EXTENSIONS)}."))
        elif path.exists():
            found.append(path)
        else:
            problems.append(Problem(str(path), "does not exist"))
    if problems:
        raise ViewfinderError("the pictures", problems)
    return list(dict.fromkeys(found))


def pictures_below(folder: Path) -> list[Path]:
    """Pictures in a folder and below by their extension, hidden ones apart, in the order of their paths."""
    found = []
    for at, inner, names in os.walk(folder, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".")]
        found += [Path(at) / name for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.suffix.lower() in EXTENSIONS)


def _guarded(function: Callable[[Path], Any], path: Path) -> Any:
    try:
        return function(path)
    except UnidentifiedImageError:
        return Problem(str(path), "is no picture that Pillow knows")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Problem(str(path), f"cannot be read: {text}")


def _each(function: Callable[[Sequence[T]], Iterable[Any]], items: Sequence[T], doing: str) -> list[Any]:
    """What the function gives for each of some items, several at a time in threads, with a bar on a terminal."""
    together = max(1, min(TOGETHER, len(items) // (4 * (os.cpu_count() or 1))))
    parts = [items[start : start + together] for start in range(0, len(items), together)]
    found: list[Any] = []
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,
        tqdm(desc=doing, total=len(items), leave=False, disable=None, unit=" pictures", delay=1) as bar,
    ):
        for part in pool.map(lambda some: list(function(some)), parts):
            found += part
            bar.update(len(part))
    return found


def _all_read(results: list[Any]) -> list[Any]:
    problems = [result for result in results if isinstance(result, Problem)]
    if problems:
        rule = f"holds {len(problems):,} that cannot be read, of {len(results):,} pictures"
        remedy = Problem("data.root", rule, remedy="Mend or remove those files.")
        raise ViewfinderError("the data", [*problems[:8], remedy], most=9)
    return results
