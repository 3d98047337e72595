"""Picture files to uint8 tensors, as a person sees them."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from tqdm import tqdm

from viewfinder.errors import Problem, ViewfinderError

EXTENSIONS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
GREY_MODES = ("1", "L", "LA", "La", "I;16", "I", "F")


def decode(path: Path, channels: int, size: tuple[int, int] | None = None) -> Tensor:
    """One picture: (channels, H, W) uint8.

    Turned as its EXIF orientation says, transparency over white, the first frame of an animation.

    Args:
        channels: 1 for grey, 3 for RGB.
        size: (height, width) to resize to, bilinear with antialiasing; None keeps its own.

    Raises:
        OSError, SyntaxError, ValueError: whatever Pillow raises for a file that it cannot read.
    """
    with Image.open(path) as opened:
        opened.load()
        picture = ImageOps.exif_transpose(opened)
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = _eight_bit(picture)
    if "A" in picture.mode or "a" in picture.mode or "transparency" in picture.info:
        colour = picture.convert("RGBA")
        picture = Image.new("RGBA", colour.size, "white")
        picture.alpha_composite(colour)
    picture = picture.convert("L" if channels == 1 else "RGB")
    if size is not None and (picture.height, picture.width) != size:
        picture = picture.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    array = np.asarray(picture)
    return torch.from_numpy(array.reshape(*array.shape[:2], channels).transpose(2, 0, 1).copy())


def _eight_bit(picture: Image.Image) -> Image.Image:
    """Pictures of 16 bits or more to 8: 0..65535 to 0..255, or levels below 256 as they are."""
    levels = np.asarray(picture, dtype=np.float64)
    scale = 257 if levels.max(initial=0) > 255 else 1
    return Image.fromarray(np.clip(np.round(levels / scale), 0, 255).astype(np.uint8))


def look(path: Path) -> tuple[tuple[int, int], Literal[1, 3]]:
    """((height, width) as seen, channels) of a picture, from its header alone."""
    with Image.open(path) as picture:
        turned = picture.getexif().get(0x0112, 1) >= 5
        height, width = (picture.width, picture.height) if turned else (picture.height, picture.width)
        return (height, width), 1 if picture.mode in GREY_MODES else 3


def common_shape(paths: Sequence[Path]) -> tuple[int, tuple[int, int] | None]:
    """Of many pictures: 1 channel if all are grey, else 3; and the (height, width) that they share, or None.

    Raises:
        ViewfinderError: naming the files that cannot be read.
    """
    looks = _each(look, paths, [str(path) for path in paths], "looking at the pictures")
    sizes = {size for size, _ in looks}
    return max(channels for _, channels in looks), sizes.pop() if len(sizes) == 1 else None


def decode_all(paths: Sequence[Path], channels: int, size: tuple[int, int], what: str) -> Tensor:
    """Many pictures of one size, in threads: (N, channels, H, W) uint8.

    Raises:
        ViewfinderError: naming the files that cannot be read, each with the reason.
    """
    pixels = torch.empty(len(paths), channels, *size, dtype=torch.uint8)

    def fill(index: int) -> None:
        pixels[index] = decode(paths[index], channels, size)

    _each(fill, range(len(paths)), [str(path) for path in paths], f"decoding {what}")
    return pixels


def _each(function: Callable[[Any], Any], arguments: Sequence, names: Sequence[str], doing: str) -> list:
    """function of each argument, in threads, with a progress bar on a terminal; failures are collected.

    Raises:
        ViewfinderError: naming every argument for which the function raised, each with the reason.
    """
    problems: list[Problem] = []

    def guarded(index: int) -> Any:
        try:
            return function(arguments[index])
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            text = str(error).splitlines()[0] if str(error) else type(error).__name__
            problems.append(Problem(names[index], f"cannot be read: {text.replace(names[index], 'the file')}"))
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        work = pool.map(guarded, range(len(arguments)))
        results = list(tqdm(work, doing, len(arguments), leave=False, disable=None, unit=" pictures", delay=1))
    if problems:
        problems.sort(key=lambda problem: problem.key)
        end = Problem("data.root", "holds pictures that cannot be read", remedy="Mend or remove those files.")
        raise ViewfinderError("the data", [*problems[:10], end])
    return results
