"""Pictures that are listed but not read yet, and how a split is cut from them."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.seeding import derive
from viewfinder.errors import Problem, UserError


class Rows:
    """Some pictures of a tensor, which several splits share without a copy.

    Args:
        base: (M, H, W, C) uint8; the layout of picture files, and of convolutions in channels_last.
        places: of the pictures in base, (N,) int64; None for all.
    """

    def __init__(self, base: Tensor, places: Tensor | None = None):
        self.base = base
        self.places = torch.arange(len(base)) if places is None else places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, chosen: np.ndarray) -> "Rows":
        return Rows(self.base, self.places[torch.from_numpy(chosen)])


@dataclass(frozen=True)
class Split:
    """Some pictures with their classes.

    Args:
        names: what predictions.csv calls each picture, (N,).
        labels: index of each one's class, (N,) int64.
        content: the pictures, or the files that hold them, (N,) of Path.
    """

    names: np.ndarray
    labels: np.ndarray
    content: Rows | np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, places: np.ndarray) -> "Split":
        """The pictures at these places, in ascending order of place."""
        places = np.sort(places)
        return Split(self.names[places], self.labels[places], self.content[places])


def cut(
    pool: Split, shares: dict[str, float], seed: int, stratify: bool, typed: Mapping[str, float] | None = None
) -> dict[str, Split]:
    """Cut splits off a pool; what remains is 'train'. Depends on nothing but the seed and the pool's order.

    Args:
        shares: name of each split to cut -> its share of the pool.
        typed: key -> value by which a person had them, for the error; by default data.<name>_fraction.
        stratify: keep each class's share in every split, to within one picture.

    Raises:
        UserError: if a split would be empty.
    """
    order = np.random.RandomState(derive(seed, "split") % 2**32).permutation(len(pool))
    sizes = [round(share * len(pool)) for share in shares.values()]
    sizes.append(len(pool) - sum(sizes))
    if stratify:
        order = _stratified(order, pool.labels, np.array(sizes))
    parts = np.split(order, np.cumsum(sizes)[:-1])
    splits = {name: pool.take(part) for name, part in zip([*shares, "train"], parts, strict=True)}
    empty = [name for name, split in splits.items() if not len(split)]
    if empty:
        rule = f"leaves no pictures for {' and '.join(empty)} out of {len(pool)}"
        values = typed or {f"data.{name}_fraction": share for name, share in shares.items()}
        key, received = ", ".join(values), ", ".join(map(str, values.values()))
        raise UserError("the data", [Problem(key, rule, received, "Give more pictures, or another value.")])
    return splits


def _stratified(order: np.ndarray, labels: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The order rearranged so that its stretches of these sizes hold every class's share, rounded down or up."""
    classes = [order[labels[order] == label] for label in dict.fromkeys(labels[order])]
    exact = np.outer([len(places) for places in classes], sizes) / len(order)
    counts = np.floor(exact + 1e-9).astype(int)
    wanted = sizes - counts.sum(axis=0)
    for row, places in zip(counts, classes, strict=True):
        chosen = np.argsort(-wanted, kind="stable")[: len(places) - row.sum()]  # Gale and Ryser: always comes out even
        row[chosen] += 1
        wanted[chosen] -= 1
    parts = [np.split(places, np.cumsum(row)[:-1]) for row, places in zip(counts, classes, strict=True)]
    return np.concatenate([piece for column in zip(*parts, strict=True) for piece in column])
