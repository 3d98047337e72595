"""Manifest: a CSV or Parquet file that names images and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from viewfinder.config.validate import Count, Text
from viewfinder.data.class_names import natural_key
from viewfinder.data.files import escape_path
from viewfinder.data.module import ImageData
from viewfinder.data.sources.manifest_rows import (
    find_fold_problems,
    find_group_problems,
    find_image_problems,
    find_label_problems,
    find_split_problems,
    locate_images,
    read_splits,
)
from viewfinder.data.sources.manifest_table import read_table
from viewfinder.data.split import SPLITS, Split
from viewfinder.data.storage import Storage
from viewfinder.data.subset import is_selected, name_classes, select_names
from viewfinder.data.table import Table
from viewfinder.data.unreadable import OnError
from viewfinder.errors import Problem, UserError, did_you_mean

MAX_PROBLEMS = 10
"""Problems listed in a message, each with its first rows and their number."""


@dataclass(kw_only=True, eq=False)
class Manifest(ImageData):
    """Images that a CSV or Parquet file lists, with a row for each.

    Classes are the labels of the training images in natural order (2 before 10). The order of the rows has no effect:
    images are sorted by label and path, as in a folder.

    Args:
        path: path of the manifest.
        root: folder to which the paths in it are relative; None for the manifest's folder.
        image_column, label_column: names of the columns with each image's path and label.
        split_column: name of the column with train, val or test; without one, splits are drawn.
        fold_column: name of the column with the folds of a cross-validation; without one, folds are drawn.
        group_column: name of the column with each image's group, such as a patient; no two splits share a group.
        storage, workers, on_error: as for a folder of images.

    A missing optional column is an error only if it has another name than the default. None ignores the column.

    Raises:
        UserError: from `open`, listing all that is wrong with the columns and the rows.
    """

    path: Text
    root: Text | None = None
    image_column: Text = "image"
    label_column: Text = "label"
    split_column: Text | None = "split"
    fold_column: Text | None = "fold"
    group_column: Text | None = "group"
    storage: Storage = "auto"
    workers: Count | None = None
    on_error: OnError = "raise"

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        table, problems = self._read()
        trained = table
        if "split" in table:
            problems += find_split_problems(table, self._key, "train")
            trained = table[table["split"].isin(["train"] if self.folds is None else ["train", "val"])]
        class_names: list[str] = []
        if "label" in table:
            class_names, unknown = self._select_classes(sorted(set(trained["label"]) - {""}, key=natural_key))
            table, trained = self._select_rows(table), self._select_rows(trained)
            problems += [*unknown, *find_label_problems(table, class_names or [*table["label"]], self._key)]
        if "image" in table:
            problems += find_image_problems(table, self.image_root, self._key)
        if self.folds is None:
            problems += find_group_problems(table, self._key, "split")
        else:
            problems += find_group_problems(trained, self._key, "fold")
            problems += find_fold_problems(trained, self._key, self.folds)
        if problems:
            raise UserError("the data", problems, MAX_PROBLEMS)
        if "fold" in table and self.folds is None:
            self.warnings.append(f"the column {self.fold_column} is not used, because data.folds is null")
        if odd := [escape_path(name) for name in class_names if escape_path(name) != name]:
            self.warnings.append(f"not all labels are UTF-8, for example {odd[0]}; save the manifest as UTF-8")
        parts = {name: table[table["split"] == name] for name in SPLITS} if "split" in table else {"train": table}
        splits = {name: self._build_split(rows, class_names) for name, rows in parts.items() if len(rows)}
        return list(map(escape_path, class_names)), splits

    def list_scored(self, split: str, class_names: list[str], all_images: bool) -> tuple[Split | None, list[str]]:
        table, problems = self._read()
        warnings = []
        if "split" in table:
            problems += find_split_problems(table, self._key)
            table = table[table["split"] == split]
            if not len(table) and not problems:
                sentence = f"no row of the manifest is in {split}; the {split} images are drawn from train"
                return None, [sentence] if all_images else []
        elif all_images:
            warnings.append(f"the manifest has no splits, so all its images are scored: {len(table):,}")
        else:
            return None, []
        select_names(class_names, self.classes)
        if "label" in table:
            table = self._select_rows(table)
            problems += find_label_problems(table, [*table["label"]], self._key)
            problems += self._find_unknown_classes(table, class_names)
        if "image" in table:
            problems += find_image_problems(table, self.image_root, self._key)
        if problems:
            raise UserError("the data", problems, MAX_PROBLEMS)
        return self._build_split(table, class_names), warnings

    @property
    def _key(self) -> str:
        return escape_path(self.path)

    @property
    def image_root(self) -> Path:
        """Folder to which the paths of the images are relative."""
        return Path(self.root).expanduser() if self.root is not None else Path(self.path).expanduser().parent

    def _read(self) -> tuple[Table, list[Problem]]:
        """Read the table with the column path beside image, and the splits' usual names."""
        path = Path(self.path).expanduser()
        columns = {
            "image": self.image_column, "label": self.label_column, "split": self.split_column,
            "fold": self.fold_column, "group": self.group_column,
        }  # fmt: skip
        table, problems = read_table(path, columns)
        if not len(table):
            problems.append(Problem("data.path", "has no rows", self._key, "Add a row for each image."))
            raise UserError("the data", problems)
        if not self.image_root.is_dir():
            problems.append(Problem("data.root", "is not a folder", escape_path(self.image_root)))
        if "image" in table:
            table = table.assign(path=locate_images(table["image"], self.image_root))
        if "split" in table:
            table = table.assign(split=read_splits(table["split"]))
        return table, problems

    def _select_classes(self, labels: list[str]) -> tuple[list[str], list[Problem]]:
        """Return the selected labels, and a problem if a selected class is not among them."""
        if not labels:
            return [], []
        try:
            selected = select_names([escape_path(label) for label in labels], self.classes)
        except UserError as error:
            return labels, error.problems
        return [label for label in labels if escape_path(label) in selected], []

    def _select_rows(self, table: Table) -> Table:
        """Return the rows of selected classes, and those without a label."""
        selected = {"", *(label for label in set(table["label"]) if is_selected(escape_path(label), self.classes))}
        return table[table["label"].isin(selected)]

    def _find_unknown_classes(self, table: Table, class_names: Sequence[str]) -> list[Problem]:
        """Return a problem for each label that a run does not know."""
        return [
            Problem(
                self._key,
                f"the run does not know the class {escape_path(label)}; {len(rows):,} images have it",
                remedy=did_you_mean(escape_path(label), class_names) or f"Its classes: {name_classes(class_names)}",
            )
            for label, rows in table[table["label"] != ""].groupby("label")
            if escape_path(label) not in class_names
        ]

    def _build_split(self, rows: Table, class_names: Sequence[str]) -> Split:
        """Return the images of rows, sorted by label and path."""
        index_of = {escape_path(name): index for index, name in enumerate(class_names)}
        given, paths = list(rows["label"]), list(rows["path"])
        labels = np.array([index_of[escape_path(label)] for label in given], dtype=np.int64)
        order = sorted(range(len(rows)), key=lambda row: (given[row], paths[row].split("/")))
        root = self.image_root

        def take(role: str) -> np.ndarray | None:
            return rows[role].to_numpy(dtype=object)[order] if role in rows else None

        return Split(
            np.array([escape_path(paths[row]) for row in order], dtype=object),
            labels[order],
            np.array([root / paths[row] for row in order], dtype=object),
            take("group"),
            take("fold"),
        )
