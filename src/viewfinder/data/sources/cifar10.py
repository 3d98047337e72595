"""CIFAR-10 (Krizhevsky 2009)."""

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from viewfinder.config.validate import Text
from viewfinder.data.module import ImageData
from viewfinder.data.sources.cifar10_files import published_files
from viewfinder.data.split import Rows, Split


@dataclass(kw_only=True, eq=False)
class CIFAR10(ImageData):
    """50,000 training and 10,000 test pictures of 3 x 32 x 32 in 10 classes.

    Args:
        root: folder that holds, or will hold, cifar-10-batches-py/.
        download: fetch them when they are not there.

    Raises:
        UserError: from `open`, if they are not there and cannot be downloaded; or if a file there, or the
            archive, is not as it was published.
    """

    root: Text = "data"
    download: bool = True

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        from torchvision.datasets import CIFAR10 as Archive  # noqa: N811

        files = published_files(Path(self.root), self.download)
        # Pickles can run any code: these very bytes have the published checksums.
        classes = pickle.loads(files[Archive.meta["filename"]], encoding="latin1")[Archive.meta["key"]]
        splits = {}
        for split, names in (("train", Archive.train_list), ("test", Archive.test_list)):
            splits[split] = _split(split, [pickle.loads(files.pop(name), encoding="latin1") for name, _ in names])
        return classes, splits


def _split(name: str, batches: list[dict[str, Any]]) -> Split:
    """Of batches with "data", (N, 3072) uint8, and "labels", which this empties."""
    labels = np.concatenate([np.array(batch["labels"], dtype=np.int64) for batch in batches])
    pixels, end = torch.empty(len(labels), 32, 32, 3, dtype=torch.uint8), len(labels)
    while batches:  # of which each is free before the next is copied
        rows = torch.from_numpy(batches.pop()["data"])
        pixels[end - len(rows) : end] = rows.unflatten(1, (3, 32, 32)).permute(0, 2, 3, 1)
        end -= len(rows)
    names = np.array([f"{name}/{number:05}" for number in range(len(pixels))])
    return Split(names, labels, Rows(pixels))
