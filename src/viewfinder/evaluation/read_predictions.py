"""Reading of predictions.csv, and the test images that several runs share."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from viewfinder.errors import Problem, UserError, join_names
from viewfinder.runs.read import check_file, make_file_error

COLUMNS = ("picture", "true", "predicted")


def read_predictions(path: Path, columns: Sequence[str] | None = None, as_text: bool = False) -> pd.DataFrame:
    """Read a predictions.csv.

    Args:
        path: the file.
        columns: columns to read; by default, all.
        as_text: whether to keep probabilities as text, to write them unchanged.

    Raises:
        UserError: if the file is missing or invalid.
    """
    check_file(path)
    try:
        table = pd.read_csv(
            path, usecols=None if columns is None else list(columns),
            dtype=object if as_text else dict.fromkeys(COLUMNS, object), na_filter=not as_text,
            keep_default_na=False, na_values=[""], encoding_errors="surrogateescape",
        )  # fmt: skip
    except (ValueError, OSError, RecursionError) as error:
        raise make_file_error(path, f"is not a table with these columns: {error}") from error
    if not set(COLUMNS) <= set(table):
        raise make_file_error(path, f"lacks one of the columns {join_names(COLUMNS)}")
    return table


class SharedImages(NamedTuple):
    """Test images that several runs share.

    Args:
        correct: correctness of each run's predictions, (runs, N) bool.
        largest: images of the run with the most.
    """

    correct: np.ndarray
    largest: int


def read_shared_images(paths: Sequence[Path]) -> SharedImages:
    """Read the predictions of several runs for the test images that all of them have, by name.

    Args:
        paths: predictions.csv of each run.

    Raises:
        UserError: if a file is missing or invalid, or the runs share fewer than two images or disagree on a label.
    """
    tables = [read_predictions(path, COLUMNS).set_index("picture") for path in paths]
    for path, table in zip(paths, tables, strict=True):
        if not table.index.is_unique:
            raise make_file_error(path, "names an image twice")
    shared, largest = tables[0].index, max(map(len, tables))
    for table in tables[1:]:
        if not shared.equals(table.index):
            shared = shared[shared.isin(table.index)]
    if len(shared) < 2:
        raise _make_error("share no test images")
    tables = [table if table.index.equals(shared) else table.loc[shared] for table in tables]
    labels = tables[0]["true"].to_numpy()
    if any((table["true"].to_numpy() != labels).any() for table in tables):
        raise _make_error("give the same test images different labels")
    correct = np.stack([table["predicted"].to_numpy() == labels for table in tables])
    return SharedImages(correct.astype(bool), largest)


def _make_error(rule: str) -> UserError:
    return UserError("the predictions", [Problem("the runs", rule)])
