"""Splits of images that are listed but not yet read, and their random partition."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.groups import divide_groups
from viewfinder.data.seeding import derive_seed
from viewfinder.errors import Problem, UserError

SHARE_UNIT = 10**6
"""Whole number that stands for all images where groups are divided."""
SPLITS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")


class ImageRows:
    """Images of a tensor that several splits share without a copy.

    Args:
        base: (M, H, W, C) uint8, the layout of image files and of convolutions in channels_last.
        indices: indices of the images in base, (N,) int64; None for all.
        file: NumPy file from which base is mapped; None if it is in memory alone.
    """

    def __init__(self, base: Tensor, indices: Tensor | None = None, file: Path | None = None):
        self.base, self.file = base, file
        self.indices = torch.arange(len(base)) if indices is None else indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, selected: np.ndarray) -> "ImageRows":
        return ImageRows(self.base, self.indices[torch.from_numpy(selected)])


Rows = ImageRows  # name in earlier versions, imported by users' sources


@dataclass(frozen=True)
class Split:
    """Images with their classes.

    Args:
        names: image names, as in predictions.csv, (N,).
        labels: class indices, (N,) int64.
        content: the images, or the files that contain them, (N,) of Path.
        groups: group of each image, such as a patient, which no two drawn splits share, (N,); None if there are none.
        folds: name of each image's fold in a cross-validation, (N,) of str; None to draw the folds.
    """

    names: np.ndarray
    labels: np.ndarray
    content: ImageRows | np.ndarray
    groups: np.ndarray | None = None
    folds: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray) -> "Split":
        """Return the images at these indices, in ascending order."""
        indices = np.sort(indices)
        groups, folds = (None if values is None else values[indices] for values in (self.groups, self.folds))
        return Split(self.names[indices], self.labels[indices], self.content[indices], groups, folds)


def complete_splits(
    source_splits: Mapping[str, Split], fractions: Mapping[str, float], seed: int, stratify: bool
) -> dict[str, Split]:
    """Draw the splits that a source lacks from its training images, which keep an image of each class if they can.

    Drawn splits share no group.

    Args:
        source_splits: the source's splits; 'train' at least.
        fractions: share of the training images for 'val' and 'test', if they are missing.

    Raises:
        UserError: if a split of the source or a drawn split is empty.
    """
    if empty := [name for name, split in source_splits.items() if not len(split)]:
        remedy = "Add images of the selected classes, or remove the split to draw it from the training images."
        raise UserError("the data", [Problem(f"the {name} split", "has no images", remedy=remedy) for name in empty])
    missing = {name: fraction for name, fraction in fractions.items() if name not in source_splits}
    drawn = split_randomly(source_splits["train"], missing, seed, stratify, keep_classes=True, keep_groups=True)
    splits = {**source_splits, **drawn}
    return {name: splits[name] for name in SPLITS}


def split_randomly(
    pool: Split,
    fractions: Mapping[str, float],
    seed: int,
    stratify: bool,
    settings: Mapping[str, float] | None = None,
    keep_classes: bool = False,
    keep_groups: bool = False,
) -> dict[str, Split]:
    """Draw splits from a pool; the rest is 'train'. The result depends on the seed and the pool's order alone.

    Args:
        fractions: split -> share of the pool.
        stratify: keep each class's share in every split, to within one image.
        settings: key -> value named by the error; data.<name>_fraction by default.
        keep_classes: exchange images so that 'train' has one of each class, as far as it has room.
        keep_groups: put all images of a group into one split; shares are then kept to within the largest group.

    Raises:
        UserError: if a split would be empty.
    """
    random = np.random.RandomState(derive_seed(seed, "split") % 2**32)
    names = [*fractions, "train"]
    has_groups = keep_groups and pool.groups is not None
    if has_groups:
        parts = _divide_groups(pool, fractions, random, stratify, keep_classes)
    else:
        sizes = [round(fraction * len(pool)) for fraction in fractions.values()]
        sizes.append(len(pool) - sum(sizes))
        parts = dict(zip(names, deal_images(pool.labels, sizes, random, stratify), strict=True))
        if keep_classes:
            parts = _keep_classes(parts, pool.labels)
    splits = {name: pool.select(part) for name, part in parts.items()}
    if empty := [name for name, split in splits.items() if not len(split)]:
        count = f"{len(set(pool.groups))} groups" if has_groups and pool.groups is not None else f"{len(pool)}"
        rule = f"leaves {' and '.join(empty)} without images: there are only {count} to divide"
        settings = settings or {f"data.{name}_fraction": fraction for name, fraction in fractions.items()}
        key, received = ", ".join(settings), ", ".join(map(str, settings.values()))
        raise UserError("the data", [Problem(key, rule, received, "Add images, or change the value.")])
    return splits


def _divide_groups(
    pool: Split, fractions: Mapping[str, float], random: np.random.RandomState, stratify: bool, keep_classes: bool
) -> dict[str, np.ndarray]:
    """Return the indices of each split's images, where no two splits share a group."""
    assert pool.groups is not None
    weights = [round(fraction * SHARE_UNIT) for fraction in fractions.values()]
    weights.append(SHARE_UNIT - sum(weights))
    train = len(fractions)
    parts = divide_groups(pool.groups, pool.labels, weights, random, stratify, train if keep_classes else None)
    return {name: np.flatnonzero(parts == part) for part, name in enumerate([*fractions, "train"])}


def deal_images(
    labels: np.ndarray, sizes: Sequence[int], random: np.random.RandomState, stratify: bool
) -> list[np.ndarray]:
    """Draw parts of these sizes, which together are all images; return the indices of each.

    Args:
        labels: class of each image, (N,) int64.
        stratify: keep each class's share in every part, to within one image.
    """
    order = random.permutation(len(labels))
    if stratify:
        order = _stratify(order, labels, np.array(sizes))
    return np.split(order, np.cumsum(sizes)[:-1])


def _keep_classes(parts: Mapping[str, np.ndarray], labels: np.ndarray) -> dict[str, np.ndarray]:
    """Exchange images so that 'train' has one of each class, as far as another class has several there."""
    parts = {name: part.copy() for name, part in parts.items()}
    train = parts["train"]
    for label in np.setdiff1d(labels, labels[train]):
        counts = np.bincount(labels[train], minlength=1)
        if counts.max() < 2:
            break
        name = max((name for name, part in parts.items() if label in labels[part]), key=lambda name: len(parts[name]))
        part = parts[name]
        place = np.flatnonzero(labels[part] == label)[0]
        most_frequent = np.flatnonzero(labels[train] == counts.argmax())[0]
        part[place], train[most_frequent] = train[most_frequent], part[place]
    return parts


def _stratify(order: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Reorder images so that consecutive parts of these sizes keep the class proportions, to within one image."""
    classes = [order[labels[order] == label] for label in dict.fromkeys(labels[order])]
    exact = np.outer([len(indices) for indices in classes], sizes) / len(order)
    counts = np.floor(exact + 1e-9).astype(int)
    missing = sizes - counts.sum(axis=0)
    for row, indices in zip(counts, classes, strict=True):
        # Largest remainders first: by the Gale-Ryser theorem the counts always add up.
        rounded_up = np.argsort(-missing, kind="stable")[: len(indices) - row.sum()]
        row[rounded_up] += 1
        missing[rounded_up] -= 1
    parts = [np.split(indices, np.cumsum(row)[:-1]) for row, indices in zip(counts, classes, strict=True)]
    return np.concatenate([part for parts_of_split in zip(*parts, strict=True) for part in parts_of_split])
