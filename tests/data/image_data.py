"""Opening data in tests, and sources written by users."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from image_files import noise
from torch import Tensor

from viewfinder.data.batches import build_loader
from viewfinder.data.module import ImageData
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.data.split import ImageRows, Split
from viewfinder.errors import UserError

T = TypeVar("T")


def flatten(lists: Iterable[list[T]]) -> list[T]:
    return list(itertools.chain.from_iterable(lists))


def open_data(data: ImageData, image_size: int | None = None) -> ImageData:
    data.open()
    if image_size:
        data.load(image_size)
    return data


def open_stored(album: Path, storage: str, **options: Any) -> ImageFolder:
    data = ImageFolder(root=str(album), storage=storage, batch_size=8, **options)  # type: ignore[arg-type]
    return open_data(data, 8)


def names_by_split(data: ImageData) -> dict[str, list[str]]:
    return {name: split.names.tolist() for name, split in data.splits.items()}


def collect_batches(data: ImageFolder, split: str, epoch: int) -> list[tuple[list[int], Tensor, list[int]]]:
    order = data.training_order()
    order.set_epoch(epoch)
    chunks = build_loader(data.images[split], order) if split == "train" else data.evaluation_loader(split)
    return [(b.positions.tolist(), b.pixels, b.labels.tolist()) for chunk in chunks for b in chunk]


def rules_by_path(error: pytest.ExceptionInfo[UserError]) -> dict[str, str]:
    return {problem.key: problem.rule for problem in error.value.problems}


@dataclass(kw_only=True, eq=False)
class Coloured(ImageData):
    """Images in memory with three channels."""

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        names, labels = np.array([f"{number}" for number in range(90)]), np.arange(90) % 3
        return ["a", "b", "c"], {"train": Split(names, labels, ImageRows(torch.from_numpy(noise(90, 8, 8, 3))))}


@dataclass(kw_only=True, eq=False)
class Listed(ImageData):
    """A user's source that only lists files."""

    root: Path

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        paths = sorted(self.root.rglob("*.png"))
        labels = np.array([int(path.parent.name == "dog") for path in paths])
        return ["cat", "dog"], {
            "train": Split(np.array([p.name for p in paths]), labels, np.array(paths, dtype=object))
        }
