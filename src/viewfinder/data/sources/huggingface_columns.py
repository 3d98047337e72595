"""Columns and splits of a Hugging Face data set: which ones contain images and labels."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from viewfinder.data.class_names import natural_key
from viewfinder.data.layout import SPLIT_OF_NAME
from viewfinder.data.split import SPLITS
from viewfinder.errors import Problem, UserError, did_you_mean, join_first, join_names

MAX_NAMED = 3
"""Labels named in a sentence."""
UNLABELLED = -1
"""Number of a ClassLabel without a class."""


class Labels(NamedTuple):
    """Classes of all splits."""

    class_names: list[str]
    by_split: dict[str, np.ndarray]
    """split -> class indices, (N,) int64"""


def choose_splits(found: Mapping[str, Any], chosen: Mapping[str, str] | None) -> tuple[dict[str, Any], list[str]]:
    """Return train, val and test of a data set, and sentences about splits that are not used.

    Args:
        found: split of the data set -> its images.
        chosen: split -> split of the data set; None to recognise usual names, such as validation.

    Raises:
        UserError: if a split is unknown or ambiguous, or there is none for training.
    """
    names = join_names(found)
    if chosen is None:
        counts = Counter(SPLIT_OF_NAME[name.lower()] for name in found if name.lower() in SPLIT_OF_NAME)
        chosen = {SPLIT_OF_NAME[name.lower()]: name for name in found if name.lower() in SPLIT_OF_NAME}
        problems = [
            Problem("data.split_names", f"several splits may be {split}: {names}", remedy=_suggest_splits(found))
            for split, count in counts.items()
            if count > 1
        ]
    else:
        problems = _find_invalid_names(found, chosen)
    if "train" not in chosen and not problems:
        rule = f"there is no split for training among {names}"
        problems.append(Problem("data.split_names", rule, remedy=_suggest_splits(found)))
    if problems:
        raise UserError("the data", problems)
    unused = [name for name in found if name not in chosen.values()]
    warnings = [f"not used: the splits {join_names(unused)}; data.split_names chooses others"] if unused else []
    return {split: found[chosen[split]] for split in SPLITS if split in chosen}, warnings


def _find_invalid_names(found: Mapping[str, Any], chosen: Mapping[str, str]) -> list[Problem]:
    """Return the problems of `data.split_names`: unknown splits, and splits that stand for several."""
    key, received, remedy = "data.split_names", str(dict(chosen)), f"Splits: {join_names(found)}."
    problems = [
        Problem(key, f"contains {split}, which is not one of {join_names(SPLITS)}", received)
        for split in chosen
        if split not in SPLITS
    ]
    for name, count in Counter(chosen.values()).items():
        if name not in found:
            rule = f"has no split {name}. {did_you_mean(name, found)}".strip()
            problems.append(Problem(key, rule, name, remedy))
        elif count > 1:
            users = join_names(split for split in chosen if chosen[split] == name)
            problems.append(Problem(key, f"gives {users} the same images: those of {name}", received, remedy))
    return problems


def _suggest_splits(found: Mapping[str, Any]) -> str:
    first, *_ = found
    return f"For example 'data.split_names={{train: {first}}}'; missing splits are drawn from train."


def find_columns(features: Mapping[str, Any], image: str | None, label: str | None) -> tuple[str, str]:
    """Return the names of the columns with images and with labels.

    Args:
        features: column -> its type in the library.
        image, label: configured names; None to find the only column of a suitable type.

    Raises:
        UserError: naming the columns that are missing, ambiguous or unsuitable.
    """
    columns = join_names(f"{name} ({describe_type(feature)})" for name, feature in features.items())
    problems, result = [], []
    for key, chosen, is_default, is_suitable, kind in (
        ("data.image_column", image, is_image, is_image, "Image"),
        ("data.label_column", label, is_class_label, is_label, "ClassLabel"),
    ):
        found = [name for name, feature in features.items() if is_default(feature)]
        if chosen is None and len(found) != 1:
            rule = f"is needed, because {join_names(found) or 'no column'} {'are' if found else 'is'} of type {kind}"
            problems.append(Problem(key, rule, remedy=f"Columns: {columns}."))
        elif chosen is not None and chosen not in features:
            rule = did_you_mean(chosen, features) or "is not a column"
            problems.append(Problem(key, rule, chosen, f"Columns: {columns}."))
        elif chosen is not None and not is_suitable(features[chosen]):
            rule = f"is a column of another type: {describe_type(features[chosen])}"
            problems.append(Problem(key, rule, chosen, f"Columns: {columns}."))
        else:
            result.append(chosen or found[0])
    if problems:
        raise UserError("the data", problems)
    return result[0], result[1]


def check_columns(splits: Mapping[str, Any], image: str, label: str) -> None:
    """Check that every split has the columns of train, with values of the same kind.

    Args:
        splits: split -> data set.
        image, label: names of the columns in train.

    Raises:
        UserError: naming each split whose columns differ.
    """
    problems = []
    is_named = is_class_label(splits["train"].features[label])
    for split, dataset in splits.items():
        for column, is_suitable in ((image, is_image), (label, is_class_label if is_named else is_label)):
            feature = dataset.features.get(column)
            if feature is None:
                rule = f"lacks the column {column} of train; its columns are {join_names(dataset.features)}"
            elif not is_suitable(feature):
                kinds = [describe_type(each) for each in (feature, splits["train"].features[column])]
                rule = f"has the column {column} with values of another kind than train: {', not '.join(kinds)}"
            else:
                continue
            remedy = "Write it again with the columns of train, or leave it out by data.split_names."
            problems.append(Problem(f"the {split} split", rule, remedy=remedy))
    if problems:
        raise UserError("the data", problems)


def describe_type(feature: Any) -> str:
    return str(getattr(feature, "dtype", None)) if type(feature).__name__ == "Value" else type(feature).__name__


def is_image(feature: Any) -> bool:
    """Return whether a column contains encoded images; {bytes, path} is how Parquet stores them."""
    return type(feature).__name__ == "Image" or (isinstance(feature, dict) and set(feature) == {"bytes", "path"})


def is_class_label(feature: Any) -> bool:
    return type(feature).__name__ == "ClassLabel"


def is_label(feature: Any) -> bool:
    """Return whether the values of a column are classes: names, numbers, or true and false."""
    kinds = ("string", "large_string", "bool", "int", "uint")
    return is_class_label(feature) or (type(feature).__name__ == "Value" and feature.dtype.startswith(kinds))


def read_labels(splits: Mapping[str, Any], column: str) -> Labels:
    """Return the classes of all splits; those of names or numbers are the values in train.

    Raises:
        UserError: naming each split with missing labels, or with classes that train lacks.
    """
    values = {split: dataset.select_columns([column])[:][column] for split, dataset in splits.items()}
    features = {split: dataset.features[column] for split, dataset in splits.items()}
    if is_class_label(features["train"]):
        class_names = list(features["train"].names)
        values = {split: _name_labels(values[split], getattr(features[split], "names", [])) for split in splits}
    else:
        present = {value for value in values["train"] if value is not None}
        key = None if all(isinstance(value, int) for value in present) else lambda value: natural_key(str(value))
        class_names = [str(value) for value in sorted(present, key=key)]
        values = {split: [None if value is None else str(value) for value in values[split]] for split in splits}
    indices = {name: index for index, name in enumerate(class_names)}
    problems = [problem for split in splits for problem in _find_problems(split, column, values[split], indices)]
    if problems:
        raise UserError("the data", problems)
    by_split = {split: np.array([indices[str(value)] for value in values[split]], dtype=np.int64) for split in splits}
    return Labels(class_names, by_split)


def _name_labels(numbers: Sequence[int | None], names: Sequence[str]) -> list[str | None]:
    """Return the name of each number; None without a label, and the number itself beyond the names."""
    known = {None: None, UNLABELLED: None, **dict(enumerate(names))}
    return [known.get(number, str(number)) for number in numbers]


def _find_problems(split: str, column: str, values: Sequence[str | None], known: Mapping[str, int]) -> list[Problem]:
    place, problems = f"the {split} split", []
    if not len(values):
        problems.append(Problem(place, "has no images", remedy="Leave it out by data.split_names, or choose another."))
    if missing := sum(value is None for value in values):
        rule = f"{missing:,} of {len(values):,} images have no label in the column {column}"
        remedy = "Choose other splits by data.split_names, or remove these rows."
        problems.append(Problem(place, rule, remedy=remedy))
    unknown = list(dict.fromkeys(value for value in values if value is not None and value not in known))
    if unknown:
        known_names = join_first(list(known), 20)
        rule = f"has labels that train lacks: {join_first(unknown, MAX_NAMED)}"
        problems.append(Problem(place, rule, remedy=f"Classes: {known_names}."))
    return problems
