"""Images that are scored by the classes of a run, which may be others than the run's."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from viewfinder.data.module import ImageData
from viewfinder.data.subset import limit_split, name_classes
from viewfinder.errors import Problem, UserError, did_you_mean


def open_scored(data: ImageData, facts: Mapping[str, Any], split: str, is_moved: bool) -> None:
    """Open data to score one split, with the classes of a run as labels; nothing is decoded yet.

    The images are split as in the run, if they are the run's. Others need no training images: a source may list the
    split alone, and without a folder for it, all images.

    Args:
        data: the run's data, or others that are read in the same way.
        facts: data.json of the run.
        split: split to score.
        is_moved: whether the data are in another place than the run's, so that they may be others.

    Raises:
        UserError: if the data cannot be listed, or have classes that the run does not know.
    """
    class_names = facts["class_names"]
    failure: UserError | None = None
    try:
        data.open((facts["channels"], tuple(facts["picture_size"])), class_names)
        failure = _find_other_classes(data, class_names, split)
    except UserError as error:
        failure = error
    is_cut_anew = is_moved and split in data.drawn and not failure and not _has_same_sizes(data, facts)
    images, warnings = data.list_scored(split, class_names, is_moved) if failure or is_cut_anew else (None, [])
    if images is not None:
        data.warnings = warnings
        if data.limit is not None and data.limit < len(images):
            data.warnings.append(f"data.limit={data.limit} keeps {data.limit:,} of {len(images):,} images")
            images = limit_split(images, split, data.limit, data.split_seed, data.stratify)
        data.splits = {split: images}
        data.in_channels, data.shared_size = facts["channels"], tuple(facts["picture_size"])
    elif failure:
        raise failure
    else:
        data.warnings += warnings
        new_labels = np.array([class_names.index(name) for name in data.class_names])
        data.splits = {name: replace(part, labels=new_labels[part.labels]) for name, part in data.splits.items()}
    data.class_names = list(class_names)


def _find_other_classes(data: ImageData, class_names: Sequence[str], split: str) -> UserError | None:
    """Return an error if the run does not know a class of the data, or a missing class would change a drawn split."""
    unknown = [name for name in data.class_names if name not in class_names]
    absent = [name for name in class_names if name not in data.class_names]
    if unknown:
        rule = f"has classes that the run does not know: {name_classes(unknown)}"
        suggestion = " ".join(filter(None, (did_you_mean(name, absent) for name in unknown)))
        remedy = "\n".join(filter(None, (suggestion, f"Classes of the run: {name_classes(class_names)}")))
    elif absent and split in data.drawn:
        rule = f"lacks classes of the run: {name_classes(absent)}; the {split} split would be drawn differently"
        remedy = f"Use all classes, or images with a {split} split of their own: {split}/ with a folder for each class."
    else:
        return None
    return UserError("the data", [Problem("data", rule, remedy=remedy)])


def _has_same_sizes(data: ImageData, facts: Mapping[str, Any]) -> bool:
    """Return whether the splits have as many images as the run's splits, images that the run skipped included."""
    sizes, skipped = {name: len(split) for name, split in data.splits.items()}, len(facts.get("skipped", []))
    if skipped:
        return sum(sizes.values()) == sum(facts["split_sizes"].values()) + skipped
    counts = np.bincount(data.splits["train"].labels, minlength=len(data.class_names)).tolist()
    return sizes == facts["split_sizes"] and counts == facts.get("class_counts", counts)
