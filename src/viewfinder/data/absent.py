"""Classes without images in a split."""

from collections.abc import Mapping, Sequence

import numpy as np

from viewfinder.data.split import Split
from viewfinder.data.subset import name_classes


def find_absent_classes(splits: Mapping[str, Split], class_names: Sequence[str]) -> dict[str, list[str]]:
    """Return split -> names of the classes without images in it, for splits that lack some."""
    counts = {name: np.bincount(split.labels, minlength=len(class_names)) for name, split in splits.items()}
    return {
        name: [class_names[label] for label in np.flatnonzero(count == 0).tolist()]
        for name, count in counts.items()
        if not count.all()
    }


def describe_absent_classes(absent: Mapping[str, Sequence[str]]) -> list[str]:
    """Return a sentence for each group of classes, with the splits that lack it."""
    splits: dict[str, list[str]] = {}
    for split, names in absent.items():
        splits.setdefault(name_classes(names), []).append(split)
    return [f"no image of {names} in {' and '.join(lacking)}" for names, lacking in splits.items()]
