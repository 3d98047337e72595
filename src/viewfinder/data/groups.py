"""Division of images into parts that never share a group, such as the images of a patient."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from viewfinder.data.split import Split

Content = list[tuple[int, int]]
"""(class, images of it) for each class of a group."""


def divide_groups(
    groups: np.ndarray,
    labels: np.ndarray,
    weights: Sequence[int],
    random: np.random.RandomState,
    stratify: bool,
    complete: int | None = None,
) -> np.ndarray:
    """Assign each image to a part, together with all images of its group.

    A group goes to a part that has room for it, or else to the part with most room. A part's share of the images thus
    differs from its weight by at most the largest group; only if there are few groups may it differ by more, because
    each part has a group. Whole numbers make the result the same on every machine.

    Args:
        groups: group of each image, (N,).
        labels: class of each image, (N,) int64.
        weights: whole numbers in proportion to the parts' shares.
        random: draws the order in which groups are assigned.
        stratify: assign a group to the part that lacks its classes most.
        complete: part that has an image of each class, as far as it has room; None for no such part.

    Returns:
        Index of each image's part, (N,) int64.
    """
    group_of_image, _ = pd.factorize(groups)  # numbered in the order of appearance
    contents = _count_classes(group_of_image, labels)
    order: list[int] = random.permutation(len(contents)).tolist()
    covering: set[int] = set()
    if complete is not None:
        covering = _find_covering(order, contents)
        order.sort(key=lambda group: group not in covering)
    total, totals = sum(weights), np.bincount(labels).tolist()
    room = [weight * len(groups) for weight in weights]  # in units of 1 / total images
    lacking = [[weight * count for count in totals] for weight in weights]
    empty = {part for part, weight in enumerate(weights) if weight > 0}
    part_of_group = np.zeros(len(contents), dtype=np.int64)
    for position, group in enumerate(order):
        content = contents[group]
        size = total * sum(count for _, count in content)
        parts = [part for part in range(len(weights)) if room[part] >= size] or [_find_largest(room, range(len(room)))]
        if len(order) - position <= len(empty):
            parts = sorted(empty)
        if group in covering and complete in parts:
            part = complete
        elif stratify:
            need = [sum(count * own[label] // totals[label] for label, count in content) for own in lacking]
            part = _find_largest(need, parts)
        else:
            part = _find_largest(room, parts)
        part_of_group[group] = part
        empty.discard(part)
        room[part] -= size
        for label, count in content:
            lacking[part][label] -= total * count
    return part_of_group[group_of_image]


def count_groups(splits: Mapping[str, "Split"]) -> dict[str, int]:
    """Return split -> number of its groups, for splits that have groups."""
    return {name: len(pd.unique(split.groups)) for name, split in splits.items() if split.groups is not None}


def _count_classes(group_of_image: np.ndarray, labels: np.ndarray) -> list[Content]:
    """Count the images of each class in each group."""
    classes = int(labels.max(initial=0)) + 1
    pairs, counts = np.unique(group_of_image * classes + labels, return_counts=True)
    contents: list[Content] = [[] for _ in range(int(group_of_image.max(initial=-1)) + 1)]
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        contents[pair // classes].append((pair % classes, count))
    return contents


def _find_covering(order: Sequence[int], contents: Sequence[Content]) -> set[int]:
    """Return the groups that are the first of a class in this order; together they have every class."""
    seen: set[int] = set()
    covering = set()
    for group in order:
        classes = {label for label, _ in contents[group]}
        if not classes <= seen:
            covering.add(group)
            seen |= classes
    return covering


def _find_largest(values: Sequence[int], parts: Sequence[int]) -> int:
    """Return the part with the largest value, the first of equals."""
    return max(parts, key=lambda part: values[part])
