"""CIFAR-10 (Krizhevsky 2009)."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from viewfinder.config.validate import Text
from viewfinder.data.module import ImageData
from viewfinder.data.sources.cifar10_files import read_published_files
from viewfinder.data.split import ImageRows, Split


@dataclass(kw_only=True, eq=False)
class CIFAR10(ImageData):
    """50,000 training and 10,000 test images of 3 x 32 x 32 in 10 classes.

    Args:
        root: folder that contains, or will contain, cifar-10-batches-py/.
        download: whether to download missing files.

    Raises:
        UserError: from `open`, if the files are missing and cannot be downloaded, or if a file or the archive does not
            match its published checksum.
    """

    root: Text = "data"
    download: bool = True

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        return read_cifar10(Path(self.root), self.download)


def read_cifar10(root: Path, download: bool) -> tuple[list[str], dict[str, Split]]:
    """Return the class names and the published training and test splits.

    Raises:
        UserError: as `read_published_files`.
    """
    from torchvision.datasets import CIFAR10 as Archive  # noqa: N811

    files = read_published_files(root, download)
    # Unpickling can run any code, but these bytes have the published checksums.
    class_names = pickle.loads(files[Archive.meta["filename"]], encoding="latin1")[Archive.meta["key"]]
    splits = {}
    for split, names in (("train", Archive.train_list), ("test", Archive.test_list)):
        splits[split] = _build_split(split, [pickle.loads(files.pop(name), encoding="latin1") for name, _ in names])
    return class_names, splits


def _build_split(name: str, batches: list[dict[str, Any]]) -> Split:
    """Build a split from batches with "data", (N, 3072) uint8, and "labels"; the list is emptied to free memory."""
    labels = np.concatenate([np.array(batch["labels"], dtype=np.int64) for batch in batches])
    pixels, end = torch.empty(len(labels), 32, 32, 3, dtype=torch.uint8), len(labels)
    while batches:
        flat_images = torch.from_numpy(batches.pop()["data"])
        pixels[end - len(flat_images) : end] = flat_images.unflatten(1, (3, 32, 32)).permute(0, 2, 3, 1)
        end -= len(flat_images)
    names = np.array([f"{name}/{number:05}" for number in range(len(pixels))])
    return Split(names, labels, ImageRows(pixels))
