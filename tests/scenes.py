"""Smooth random images, and changed copies of them."""

import io
from collections.abc import Callable

import numpy as np
from conftest import noise
from PIL import Image, ImageOps


def draw_scene(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """Draw smooth blobs of random colours, as large as those of a photograph."""
    return Image.fromarray(noise(7, 8, 3, seed=seed)).resize(size, Image.Resampling.BICUBIC)


def recompress(image: Image.Image) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "jpeg", quality=50)
    return Image.open(io.BytesIO(file.getvalue())).convert("RGB")


def crop(image: Image.Image) -> Image.Image:
    return image.crop((2, 2, image.width - 2, image.height - 2))


def brighten(image: Image.Image) -> Image.Image:
    return Image.fromarray((np.asarray(image) * 0.7 + 40).astype(np.uint8))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "resized": lambda image: image.resize((31, 23)),
    "recompressed": recompress,
    "mirrored": ImageOps.mirror,
    "cropped": crop,
    "brighter": brighten,
}
