"""Class names: natural order, the order of an earlier run, and names that look the same."""

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from viewfinder.data.split import Split
from viewfinder.errors import join_names


def natural_key(name: str) -> tuple[list[str | int], str]:
    """Return a key that sorts numbers in names by their value: 2 before 10."""
    parts = re.split("([0-9]+)", name)  # text and digits in turn, so that text is never compared with a number
    return [int(part) if index % 2 else part for index, part in enumerate(parts)], name


def order_classes(
    names: Sequence[str], splits: Mapping[str, Split], stored: Sequence[str]
) -> tuple[list[str], dict[str, Split]]:
    """Return class names and splits with the classes of an earlier run in its order, and any others after them.

    Args:
        stored: class names of the run.
    """
    ordered = [name for name in stored if name in names] + [name for name in names if name not in stored]
    if ordered == list(names):
        return ordered, dict(splits)
    new_labels = np.array([ordered.index(name) for name in names])
    return ordered, {name: replace(split, labels=new_labels[split.labels]) for name, split in splits.items()}


def describe_similar(names: Sequence[str]) -> list[str]:
    """Return a sentence for each group of class names that look the same, such as cat and Cat; [] for none."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(unicodedata.normalize("NFKC", name).casefold().strip(), []).append(name)
    return [
        f"{join_names(map(repr, group))} are different classes, although their names are alike"
        for group in alike.values()
        if len(group) > 1
    ]
