"""Predictions for image files without labels, and their tables; without torch."""

import csv
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from rich.table import Table

from viewfinder.errors import Problem, printable

FLOAT_FORMAT = "%.9g"
"""Format of the probabilities in CSV files."""


class Classified(NamedTuple):
    """Classes of image files.

    Args:
        names: N names of the readable images.
        probabilities: (N, K).
        predicted: index of the most likely class, (N,) int64.
        class_names: K names.
        problems: reasons why the other images are unreadable.
    """

    names: list[str]
    probabilities: np.ndarray
    predicted: np.ndarray
    class_names: list[str]
    problems: list[Problem]

    @property
    def file_count(self) -> int:
        """Number of image files, readable or not."""
        return len(self.names) + len(self.problems)

    def tabulate(self) -> pd.DataFrame:
        """Return a table with a row for each image."""
        return tabulate(self.names, self.probabilities, self.predicted, self.class_names)

    def to_csv(self, header: bool = True) -> str:
        """Return CSV text with a row for each image."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        if header:
            rows.writerow(["picture", "predicted", *(f"p_{name}" for name in self.class_names)])
        for name, index, probabilities in zip(
            self.names, self.predicted.tolist(), self.probabilities.tolist(), strict=True
        ):
            rows.writerow([name, self.class_names[index], *(FLOAT_FORMAT % value for value in probabilities)])
        return text.getvalue()

    def build_table(self, top: int) -> Table:
        """Build a table with one image per row and its most likely classes in order."""
        count = min(top, len(self.class_names))
        table = Table(box=None, pad_edge=False)
        table.add_column("image", overflow="fold")
        for rank in range(1, count + 1):
            table.add_column("class" if rank == 1 else f"{rank}.", overflow="fold")
        order = np.argsort(-self.probabilities, axis=1, kind="stable")[:, :count]
        for name, probabilities, indices in zip(self.names, self.probabilities, order, strict=True):
            cells = [f"{printable(self.class_names[index])} {probabilities[index]:.1%}" for index in indices]
            table.add_row(printable(name), *cells)
        return table


def join_classified(parts: Sequence[Classified]) -> Classified:
    """Join the predictions of consecutive image files."""
    return Classified(
        [name for part in parts for name in part.names],
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.predicted for part in parts]),
        parts[0].class_names,
        [problem for part in parts for problem in part.problems],
    )


def tabulate(
    names: Sequence[str] | np.ndarray, probabilities: np.ndarray, predicted: np.ndarray, class_names: Sequence[str]
) -> pd.DataFrame:
    """Tabulate predictions with the columns picture, predicted and p_<class> for each class."""
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in class_names])
    # With pyarrow, pandas' own type of text would refuse names that are not UTF-8.
    table.insert(0, "picture", pd.Series(names, dtype=object))
    table.insert(1, "predicted", pd.Series(np.array(class_names, dtype=object)[predicted], dtype=object))
    return table
