"""Pictures that are listed but not read yet, and how a split is cut from them."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from viewfinder.errors import Problem, ViewfinderError
from viewfinder.seeds import derive


@dataclass(frozen=True)
class Split:
    """Some pictures with their classes.

    Args:
        names: what predictions.csv calls each picture, (N,).
        labels: index of each one's class, (N,) int64.
        content: the pictures, (N, C, H, W) uint8; or the files that hold them, (N,) of Path.
    """

    names: np.ndarray
    labels: np.ndarray
    content: Tensor | np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: np.ndarray) -> "Split":
        """The pictures at these places, in ascending order of place."""
        places = np.sort(places)
        return Split(self.names[places], self.labels[places], self.content[places])


def cut(pool: Split, shares: dict[str, float], seed: int, stratify: bool) -> dict[str, Split]:
    """Cut splits off a pool; what remains is 'train'. Depends on nothing but the seed and the pool's order.

    Args:
        shares: name of each split to cut -> its share of the pool.
        stratify: keep each class's share in every split, to within one picture.

    Raises:
        ViewfinderError: if a split would be empty.
    """
    order = np.random.RandomState(derive(seed, "split") % 2**32).permutation(len(pool))
    if stratify:
        # Spread each class evenly over 0..1, so that any stretch of the order holds every class's share.
        rank = np.empty(len(pool))
        for label in np.unique(pool.labels):
            of_class = order[pool.labels[order] == label]
            rank[of_class] = (np.arange(len(of_class)) + 0.5) / len(of_class)
        order = order[np.argsort(rank[order], kind="stable")]
    splits, start = {}, 0
    for name, share in shares.items():
        count = round(share * len(pool))
        splits[name] = pool.take(order[start : start + count])
        start += count
    splits["train"] = pool.take(order[start:])
    empty = [name for name, split in splits.items() if not len(split)]
    if empty:
        rule = f"leave no pictures for {' and '.join(empty)} out of {len(pool)}"
        received = ", ".join(f"{name} {share}" for name, share in shares.items())
        remedy = "Give more pictures, or other values for data.val_fraction and data.test_fraction."
        raise ViewfinderError("the data", [Problem("the fractions", rule, received, remedy)])
    return splits
