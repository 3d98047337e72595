"""Images in two NumPy files, as a data source of Viewfinder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from viewfinder.config.validate import Count
from viewfinder.data.module import ImageData
from viewfinder.data.split import ImageRows, Split


@dataclass(kw_only=True, eq=False)
class ArrayImages(ImageData):
    """Images of train.npy, (N, H, W, C) uint8, with labels.npy; the test images are the first training images.

    Args:
        folder: folder of the two files.
        count: number of images, drawn at random but always the same; None for all.
        test_count: number of test images.
    """

    folder: str
    count: Count | None = None
    test_count: Count = 100

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        pixels, labels = load_arrays(Path(self.folder), self.count)
        names = np.array([str(number) for number in range(len(labels))])
        content, few = ImageRows(torch.from_numpy(pixels)), self.test_count
        test = Split(names[:few], labels[:few], ImageRows(content.base[:few]))
        return [str(number) for number in range(labels.max() + 1)], {
            "train": Split(names, labels, content),
            "test": test,
        }


def load_arrays(folder: Path, count: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Return the images, (N, H, W, C) uint8, and labels, (N,), of `count` images drawn at random."""
    pixels, labels = np.load(folder / "train.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    order = np.random.RandomState(0).permutation(len(pixels))[:count]
    return pixels[order], labels[order]
