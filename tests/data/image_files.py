"""Images, folders and damaged files that data tests are made of."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def noise(*shape: int, seed: int = 0, top: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def chw(array: np.ndarray) -> np.ndarray:
    """Return (H, W) or (H, W, C) as (C, H, W)."""
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def assert_equal(actual: Tensor, expected: np.ndarray, within: float = 0) -> None:
    assert actual.dtype == torch.uint8
    assert tuple(actual.shape) == expected.shape
    assert np.abs(actual.numpy().astype(float) - expected).max() <= within


def save_image(folder: Path, name: str, image: Image.Image | np.ndarray, **options: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    image.save(path, **options)
    return path


def write_folder(root: Path, counts: dict[str, int], size: tuple[int, int] | None = (6, 8), channels: int = 3) -> Path:
    """Write root/<class>/<n>.png with noise, `counts` images per class; size None varies their sizes."""
    for label, (name, count) in enumerate(counts.items()):
        for number in range(count):
            shape = size or (5 + number % 7, 30 - label - number % 5)
            seed = 1000 * label + number
            shape = shape if channels == 1 else (*shape, channels)
            save_image(root, f"{name}/{number:02}.png", noise(*shape, seed=seed))
    return root


def write_mixed_folder(root: Path, count: int = 20) -> Path:
    """Write <root>/<class>/<n>.png of mixed sizes, `count` of each of two classes."""
    return write_folder(root, {"cat": count, "dog": count}, size=None)


DAMAGE: dict[str, Callable[[bytes], bytes]] = {
    "cat/00.png": lambda whole: b"no picture",
    "cat/07.png": lambda whole: whole[: len(whole) // 2],
    "dog/01.png": lambda whole: b"",
    "dog/12.png": lambda whole: whole[:60],
    "dog/19.png": lambda whole: whole[:-100],
}


def damage(root: Path, names: list[str] | None = None) -> list[str]:
    for name in names or DAMAGE:
        (root / name).write_bytes(DAMAGE.get(name, DAMAGE["cat/07.png"])((root / name).read_bytes()))
    return list(names or DAMAGE)


def write_album(root: Path) -> Path:
    """Write <root>/<class>/<n>.png of mixed sizes, 20 of each of two classes."""
    for label, name in enumerate(("cat", "dog")):
        for number in range(20):
            height, width = 6 + number % 5, 7 + number % 3
            save_image(root / name, f"{number:02}.png", noise(height, width, 3, seed=50 * label + number))
    return root


FORMATS = ("bmp", "gif", "jpeg", "pgm", "png", "ppm", "tiff", "webp")
MODES = {"gif": "P", "pgm": "L", "png": "RGBA"}


def encode_image(kind: str, size: tuple[int, int] = (9, 7), **options: Any) -> bytes:
    """Return a file of a format with noise."""
    file = io.BytesIO()
    image = Image.fromarray(noise(*size[::-1], 3)).convert(MODES.get(kind, "RGB"))
    image.save(file, "ppm" if kind == "pgm" else kind, **options)
    return file.getvalue()


def png_claiming(width: int, height: int) -> bytes:
    whole = encode_image("png")
    header = b"IHDR" + struct.pack(">II", width, height) + whole[24:29]
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


def jpeg_claiming(width: int, height: int, **options: Any) -> bytes:
    whole = bytearray(encode_image("jpeg", **options))
    marker = b"\xff\xc2" if options.get("progressive") else b"\xff\xc0"
    at = whole.index(marker) + 5
    whole[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


def tiff_claiming(width: int, height: int) -> bytes:
    entries = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 64}
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()
    ) + bytes(68)  # fmt: skip


def webp_claiming(width: int, height: int) -> bytes:
    inner = encode_image("webp", lossless=True)[12:]
    extended = (
        b"VP8X" + struct.pack("<II", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(inner)) + b"WEBP" + extended + inner


def gif_claiming(width: int, height: int) -> bytes:
    whole = encode_image("gif")
    return whole[:6] + struct.pack("<HH", width, height) + whole[10:]


def bmp_claiming(width: int, height: int) -> bytes:
    whole = encode_image("bmp")
    return whole[:18] + struct.pack("<ii", width, height) + whole[26:]


CLAIMS: dict[str, Callable[[int, int], bytes]] = {
    "png": png_claiming,
    "jpg": jpeg_claiming,
    "tif": tiff_claiming,
    "gif": gif_claiming,
    "bmp": bmp_claiming,
    "ppm": lambda width, height: b"P6 %d %d 255\n" % (width, height) + bytes(64),
}
