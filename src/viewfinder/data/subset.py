"""Selection of classes, and limits on the images of each split and class."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from viewfinder.config.validate import Text
from viewfinder.data.seeding import derive_seed
from viewfinder.data.split import Split, split_randomly
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

Classes = list[Text | int]
"""Class names; 7 stands for "7", because Hydra parses it as a number."""
MAX_LISTED = 20
"""Classes listed in a message."""


def check_classes(selected: Classes | None) -> list[Problem]:
    """Return a problem if a class is listed twice, or fewer than two classes are listed."""
    if selected is None:
        return []
    names = [str(name) for name in selected]
    repeated = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if repeated or len(names) < 2:
        rule = (
            f"lists {join_names(repeated)} twice"
            if repeated
            else "lists fewer than two classes; classification requires at least two"
        )
        remedy = "For example 'data.classes=[cat,dog]'; null selects all classes."
        return [_describe_classes(selected, rule, remedy)]
    return []


def require_two_classes(names: Sequence[str]) -> None:
    """Raise a UserError if the data have fewer than two classes."""
    if len(names) < 2:
        rule = "contains one class; classification requires at least two"
        remedy = "Add images of another class, in a folder of its own."
        raise UserError("the data", [Problem("data", rule, join_names(names), remedy)])


def is_selected(name: str, selected: Classes | None) -> bool:
    return selected is None or name in map(str, selected)


def select_names(names: Sequence[str], selected: Classes | None) -> list[str]:
    """Return the selected class names in the source's order; all if `selected` is None.

    Raises:
        UserError: listing all selected classes that the source does not have.
    """
    requested = [str(name) for name in selected or []]
    if unknown := [name for name in requested if name not in names]:
        rule = "\n".join(f"unknown class {name}. {did_you_mean(name, names)}".rstrip() for name in unknown)
        end = "" if len(names) > MAX_LISTED else "."
        remedy = f"Classes: {name_classes(names)}{end}"
        if any(isinstance(name, int) for name in selected or []):
            remedy += "\nYAML reads 010 and 1_0 as the numbers 8 and 10; put such names in quotes."
        raise UserError("the data", [_describe_classes(requested, rule, remedy)])
    return [name for name in names if is_selected(name, selected)]


def name_classes(names: Sequence[str]) -> str:
    """Return the first class names and the number of all."""
    more = f", ... ({len(names)} in all)" if len(names) > MAX_LISTED else ""
    return join_names(names[:MAX_LISTED]) + more


def select_classes(
    names: Sequence[str], splits: Mapping[str, Split], selected: Classes | None
) -> tuple[list[str], dict[str, Split]]:
    """Return class names and splits as if the source had the selected classes alone.

    Raises:
        UserError: as `select_names`.
    """
    remaining = select_names(names, selected)
    if selected is None or remaining == list(names):
        return remaining, dict(splits)
    new_labels = np.array([remaining.index(name) if name in remaining else -1 for name in names])
    reduced = {}
    for split_name, split in splits.items():
        part = split.select(np.flatnonzero(new_labels[split.labels] >= 0))
        reduced[split_name] = replace(part, labels=new_labels[part.labels])
    return remaining, reduced


def limit_splits(
    splits: Mapping[str, Split],
    train_fraction: float,
    per_class: int | None,
    limit: int | None,
    seed: int,
    stratify: bool,
) -> dict[str, Split]:
    """Return splits with fewer images; the training split keeps an image of each class, as far as its size allows.

    Args:
        train_fraction: share of the training images to keep.
        per_class: maximum number of training images per class, applied after `train_fraction`.
        limit: maximum number of images per split; with `per_class`, training images are spread evenly over the classes.

    Raises:
        UserError: if `train_fraction` leaves no training images.
    """
    limited = dict(splits)
    if round((1 - train_fraction) * len(limited["train"])):
        settings = {"data.train_fraction": train_fraction}
        rest = {"rest": 1 - train_fraction}
        train_seed = derive_seed(seed, "train_fraction")
        limited["train"] = split_randomly(limited["train"], rest, train_seed, stratify, settings, keep_classes=True)[
            "train"
        ]
    if per_class is not None:
        limited["train"] = limit_per_class(limited["train"], per_class, limit, seed)
    if limit is not None:
        limited = {name: limit_split(split, name, limit, seed, stratify) for name, split in limited.items()}
    return limited


def limit_split(split: Split, name: str, limit: int, seed: int, stratify: bool) -> Split:
    """Draw up to `limit` images of a split."""
    if limit >= len(split):
        return split
    rest, split_seed = {"rest": 1 - limit / len(split)}, derive_seed(seed, "limit", name)
    settings = {"data.limit": limit}
    return split_randomly(split, rest, split_seed, stratify, settings, keep_classes=name == "train")["train"]


def limit_per_class(split: Split, per_class: int, limit: int | None, seed: int) -> Split:
    """Draw up to `per_class` images of each class.

    The result depends on the seed and the split alone. The images drawn for a smaller `per_class` are among those drawn
    for a larger one.

    Args:
        limit: maximum total, with the same number of images of each class as far as available.
    """
    order = np.random.RandomState(derive_seed(seed, "per_class") % 2**32).permutation(len(split))
    labels = split.labels[order]
    rank = pd.Series(labels).groupby(labels).cumcount().to_numpy()  # 0 for the first image of its class
    by_rank = order[np.argsort(rank, kind="stable")]
    return split.select(by_rank[: np.count_nonzero(rank < per_class)][:limit])


def _describe_classes(selected: Sequence[str | int], rule: str, remedy: str) -> Problem:
    return Problem("data.classes", rule, f"[{','.join(map(str, selected))}]", remedy)
