"""Images, labels and class names of torchvision's data sets, whose classes store them in different ways."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from viewfinder.data.image_file import convert_image
from viewfinder.data.sources.torchvision_internals import find_files
from viewfinder.data.split import ImageRows


class ReadImages(NamedTuple):
    """Images of a set."""

    content: ImageRows | list[Path]
    labels: list[Any]
    class_names: list[str]
    """names in the order of the labels; [] if the set has none"""


def keep_path(path: Any) -> Any:
    """Stand in for a data set's image loader, and return the path of the file."""
    return path


def read_images(dataset: Any, has_loader: bool) -> ReadImages:
    """Return the images of a set, as files where it decodes files.

    Args:
        dataset: a set of torchvision.
        has_loader: whether its class was given `keep_path` as its loader.

    Raises:
        ValueError: if images in memory differ in size, or in number from the labels.
    """
    names = read_class_names(dataset)
    if not has_loader and (files := find_files(dataset)):
        return ReadImages([Path(path) for path in files[0]], files[1], names)
    if not has_loader and (arrays := _read_arrays(dataset)):
        return ReadImages(ImageRows(arrays[0]), arrays[1], names)
    items = [dataset[index] for index in range(len(dataset))]
    labels = [label for _, label in items]
    paths = [getattr(image, "filename", image) for image, _ in items]  # Pillow keeps the path of a file it has opened
    if all(isinstance(path, str | Path) and path for path in paths):
        return ReadImages([Path(path) for path in paths], labels, names)
    return ReadImages(ImageRows(_stack([image for image, _ in items])), labels, names)


def _read_arrays(dataset: Any) -> tuple[Tensor, list[Any]] | None:
    """Return all images at once, (N, H, W, C) uint8, and the labels; None if the set keeps them in another way."""
    data, labels = getattr(dataset, "data", None), getattr(dataset, "targets", getattr(dataset, "labels", None))
    if not isinstance(data, np.ndarray | Tensor) or labels is None or not len(data):
        return None
    labels = np.asarray(labels)
    if len(labels) != len(data):
        raise ValueError(f"there are {len(data):,} images, and {len(labels):,} labels")
    pixels = torch.as_tensor(data)
    if pixels.dtype != torch.uint8 or pixels.ndim not in (3, 4) or labels.ndim != 1:
        return None
    first = _to_array(dataset[0][0])
    layouts = [pixels.unsqueeze(3)] if pixels.ndim == 3 else [pixels, pixels.permute(0, 2, 3, 1)]
    for layout in layouts:
        if layout[0].shape == first.shape and torch.equal(layout[0], first):
            return layout.contiguous(), labels.tolist()
    return None


def _stack(images: Sequence[Image.Image]) -> Tensor:
    sizes = {image.size for image in images}
    if len(sizes) > 1:
        shown = ", ".join(f"{width}x{height}" for width, height in sorted(sizes)[:3])
        raise ValueError(f"its images are in memory and differ in size ({shown}, ...)")
    channels = max(1 if image.mode in ("L", "1") else 3 for image in images)
    return torch.stack([_to_array(convert_image(image, channels)) for image in images])


def _to_array(image: Image.Image) -> Tensor:
    """Convert a Pillow image to (H, W, C) uint8."""
    levels = torch.from_numpy(np.array(image))
    return levels.unsqueeze(2) if levels.ndim == 2 else levels


def read_class_names(dataset: Any) -> list[str]:
    """Return the class names of a set in the order of its labels; of several names for a class, the first if unique."""
    names = getattr(dataset, "classes", None) or getattr(dataset, "categories", None)
    if not names and isinstance(indices := getattr(dataset, "class_to_idx", None), dict):
        names = sorted(indices, key=lambda name: indices[name])
    if not isinstance(names, list | tuple) or not names:
        return []
    several = [name if isinstance(name, tuple) else (name,) for name in names]
    firsts = [str(name[0]) for name in several]
    return firsts if len(set(firsts)) == len(firsts) else [", ".join(map(str, name)) for name in several]
