"""Rows of a manifest: paths relative to the root, and everything that is wrong with them."""

import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from viewfinder.data.class_names import natural_key
from viewfinder.data.files import escape_path
from viewfinder.data.folds import check_given_folds
from viewfinder.data.layout import SPLIT_OF_NAME
from viewfinder.data.table import Table
from viewfinder.errors import Problem, did_you_mean, join_first, join_names

MAX_NAMED = 3
"""Rows, images or groups named in a message."""


def locate_images(images: Table, root: Path) -> Table:
    """Return paths relative to the root, without . and ..; None for a path outside it."""
    absolute = os.path.abspath(root)  # noqa: PTH100 without following links
    prefix = absolute.rstrip(os.sep) + os.sep

    def locate(image: str) -> str | None:
        path = os.path.normpath(os.path.join(absolute, image))  # noqa: PTH118 as above
        return path[len(prefix) :] if path.startswith(prefix) else None

    return pd.Series([locate(image) for image in images], index=images.index, dtype=object)


def find_image_problems(table: Table, root: Path, key: str) -> list[Problem]:
    """Return problems with the images of rows: paths that are empty, outside the root, missing or repeated.

    Args:
        table: columns image, and path as `locate_images`; perhaps label.
        key: path of the manifest, for errors.
    """
    problems = []
    given = table[table["image"] != ""]
    if len(empty := table[table["image"] == ""]):
        rule = f"{_count(len(empty), 'row')} no path: {_name_rows(empty)}"
        problems.append(Problem(key, rule, remedy="Write the path of an image, or remove the row."))
    where = f"Paths are relative to {escape_path(os.path.abspath(root))}; data.root=PATH sets another folder."  # noqa: PTH100
    if len(outside := given[given["path"].isna()]):
        rule = f"{_count(len(outside), 'image', 'is', 'are')} outside the folder of images: {_name_images(outside)}"
        problems.append(Problem(key, rule, remedy=where))
    inside = given[given["path"].notna()]
    is_file = [(root / path).is_file() for path in inside["path"]]
    if len(missing := inside[[not each for each in is_file]]):
        verb = "does" if len(missing) == 1 else "do"
        rule = f"{len(missing):,} of {len(table):,} images {verb} not exist: {_name_images(missing)}"
        hint = r" Separate folders by /, not \." if any("\\" in image for image in missing["image"]) else ""
        if any(image != image.strip() for image in missing["image"]):
            hint += " Remove the spaces before and after paths."
        problems.append(Problem(key, rule, remedy=where + hint))
    repeated = inside[inside["path"].duplicated(keep=False)].groupby("path", sort=False)
    twice, contradictory = [], []
    for path, rows in repeated:
        labels = rows["label"].unique() if "label" in rows else []
        if len(labels) > 1:
            pairs = (f"{escape_path(label)} (row {row})" for row, label in rows["label"].head(MAX_NAMED).items())
            contradictory.append(f"{escape_path(str(path))}: {join_names(pairs)}")
        else:
            twice.append(f"{escape_path(str(path))} ({_name_rows(rows)})")
    if twice:
        rule = f"{_count(len(twice), 'image', 'is', 'are')} listed more than once: {join_first(twice, MAX_NAMED)}"
        problems.append(Problem(key, rule, remedy="Keep one row of each."))
    if contradictory:
        rule = f"{_count(len(contradictory), 'image')} two labels: {join_first(contradictory, MAX_NAMED)}"
        problems.append(Problem(key, rule, remedy="Keep the row with the right label, or remove the image."))
    return problems


def find_label_problems(table: Table, trained: Sequence[str], key: str) -> list[Problem]:
    """Return problems with labels: rows without one, and labels that only other splits than training have.

    Args:
        table: column label; perhaps split, as `read_splits`.
        trained: labels of the training images.
        key: path of the manifest, for errors.
    """
    problems = []
    if len(empty := table[table["label"] == ""]):
        rule = f"{_count(len(empty), 'row')} no label: {_name_rows(empty)}"
        problems.append(Problem(key, rule, remedy="Write a label, or remove the row."))
    unknown = table[~table["label"].isin([*trained, ""])]
    if "split" in table:
        unknown = unknown[unknown["split"].isin(["val", "test"])]
    for (split, label), rows in unknown.groupby(["split", "label"]) if len(unknown) else ():
        rule = f"{_count(len(rows), f'{split} row')} the label {escape_path(label)!r}, which training lacks: "
        remedy = did_you_mean(label, trained) or f"Labels: {join_first(list(map(escape_path, trained)), 20)}."
        problems.append(Problem(key, rule + _name_rows(rows), remedy=remedy))
    return problems


def read_splits(values: Table) -> Table:
    """Return train, val or test for values such as Training or valid; other values stay."""
    return values.map(lambda value: SPLIT_OF_NAME.get(value.strip().lower(), value)).astype(object)


def find_split_problems(table: Table, key: str, required: str | None = None) -> list[Problem]:
    """Return problems with the splits of rows: unknown names, and no row of a required split."""
    problems = []
    unknown = table[~table["split"].isin(SPLIT_OF_NAME.values())]
    for value, rows in unknown.groupby("split"):
        rule = f"{_count(len(rows), 'row')} " + (f"an unknown split, {value!r}: " if value else "no split: ")
        problems.append(Problem(key, rule + _name_rows(rows), remedy="Splits: train, val, test."))
    if not len(unknown) and required and required not in set(table["split"]):
        found = join_names(f"{count:,} in {name}" for name, count in table["split"].value_counts().items())
        remedy = f"Write {required} into the split column of some, or set data.split_column=null to draw all splits."
        problems.append(Problem(key, f"no row is in {required}; there are {found}", remedy=remedy))
    return problems


def find_group_problems(table: Table, key: str, role: str) -> list[Problem]:
    """Return problems with groups: rows without one, and groups in several splits or folds.

    Args:
        table: columns of the manifest, perhaps group and `role`.
        key: path of the manifest, for errors.
        role: "split" or "fold".
    """
    problems = []
    if "group" not in table:
        return []
    if len(empty := table[table["group"] == ""]):
        rule = f"{_count(len(empty), 'row')} no group: {_name_rows(empty)}"
        problems.append(Problem(key, rule, remedy="Give an image that belongs to no group one of its own."))
    if role in table:
        given = table[table["group"] != ""]
        places = given.groupby("group", sort=False)[role].unique()
        shared = places[places.map(len) > 1]
        if len(shared):
            each = [f"{escape_path(str(group))} in {' and '.join(map(str, names))}" for group, names in shared.items()]
            rule = f"{_count(len(each), 'group', 'is', 'are')} in several {role}s: {join_first(each, MAX_NAMED)}"
            remedy = f"Move each group into one {role}, or set data.group_column=null to ignore groups."
            problems.append(Problem(key, rule, remedy=remedy))
    return problems


def find_fold_problems(table: Table, key: str, folds: int) -> list[Problem]:
    """Return problems with the folds of rows, if the manifest has folds."""
    problems = []
    if "fold" not in table:
        return []
    if len(empty := table[table["fold"] == ""]):
        rule = f"{_count(len(empty), 'row')} no fold: {_name_rows(empty)}"
        problems.append(Problem(key, rule, remedy="Give each a fold, or set data.fold_column=null to draw the folds."))
    return problems + check_given_folds(sorted(set(table["fold"]) - {""}, key=natural_key), folds)


def _count(number: int, noun: str, verb: str = "has", plural_verb: str = "have") -> str:
    """Return a number with a noun and a verb: 1 row has, 2 rows have."""
    return f"{number:,} {noun} {verb}" if number == 1 else f"{number:,} {noun}s {plural_verb}"


def _name_rows(rows: Table) -> str:
    return ("row " if len(rows) == 1 else "rows ") + join_first([str(row) for row in rows.index], MAX_NAMED)


def _name_images(rows: Table) -> str:
    return join_first([f"{escape_path(image)} (row {row})" for row, image in rows["image"].items()], MAX_NAMED)
