"""Mistakes in a table of predictions: images whose predicted class is not their label."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from viewfinder.errors import join_names
from viewfinder.evaluation.read_predictions import COLUMNS, read_predictions
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.read import make_file_error


class Mistake(NamedTuple):
    """An image whose predicted class is not its label."""

    picture: str
    true: str
    predicted: str
    confidence: float
    """probability of the predicted class"""
    true_probability: float
    """probability of the true class"""


def list_confident_mistakes(table: pd.DataFrame, count: int = 8) -> list[Mistake]:
    """Return the mistakes with the highest probabilities of the predicted class, highest first.

    Args:
        table: content of predictions.csv.
        count: largest number of mistakes.
    """
    return sorted(_list_mistakes(table), key=lambda mistake: -mistake.confidence)[:count]


def list_worst_mistakes(table: pd.DataFrame, count: int) -> list[Mistake]:
    """Return the mistakes with the lowest probabilities of the true class, lowest first, as in mistakes.png.

    Args:
        table: content of predictions.csv.
        count: largest number of mistakes.
    """
    return sorted(_list_mistakes(table), key=lambda mistake: mistake.true_probability)[:count]


def read_worst_mistakes(run: RunFolder, class_names: list[str], count: int) -> list[Mistake]:
    """Return the worst mistakes in predictions.csv.

    Args:
        run: the run, whose files may be untrusted.
        class_names: its class names.
        count: largest number of mistakes.

    Raises:
        UserError: if predictions.csv is missing or invalid.
    """
    table = read_predictions(run.predictions)
    expected = [*COLUMNS, *(f"p_{name}" for name in class_names)]
    if list(table) != expected or any(table[name].dtype.kind not in "if" for name in expected[len(COLUMNS) :]):
        raise make_file_error(run.predictions, f"does not have the columns {join_names(expected)}")
    return list_worst_mistakes(table.loc[table["true"].isin(class_names)], count)


def get_probabilities(table: pd.DataFrame) -> np.ndarray:
    """Return the columns of probabilities, (N, K) float64.

    Args:
        table: content of predictions.csv.
    """
    return table[_list_columns(table)].to_numpy(np.float64)


def _list_mistakes(table: pd.DataFrame) -> list[Mistake]:
    """Return all mistakes in the order of the table; probabilities of classes without a column are NaN."""
    wrong = table.loc[table["true"].to_numpy() != table["predicted"].to_numpy()]
    probabilities, classes = get_probabilities(wrong), pd.Index(_list_columns(wrong), dtype=object)
    labels = classes.get_indexer(pd.Index([f"p_{name}" for name in wrong["true"]], dtype=object))
    of_true = np.where(labels >= 0, probabilities[np.arange(len(wrong)), labels], np.nan)
    columns = (wrong[name].tolist() for name in COLUMNS)
    confidences = probabilities.max(1, initial=0.0)
    return [Mistake(*row) for row in zip(*columns, confidences.tolist(), of_true.tolist(), strict=True)]


def _list_columns(table: pd.DataFrame) -> list[str]:
    return [column for column in table if str(column).startswith("p_")]
