"""Most confident mistakes of a table of predictions, and its probabilities."""

from typing import NamedTuple

import numpy as np
import pandas as pd


class ConfidentMistake(NamedTuple):
    """An image whose predicted class is not its label."""

    picture: str
    true: str
    predicted: str
    probability: float
    """of the predicted class"""


def list_confident_mistakes(table: pd.DataFrame, count: int = 8) -> list[ConfidentMistake]:
    """Return the wrong predictions with the highest probabilities, highest first.

    Args:
        table: content of predictions.csv.
        count: number of mistakes.
    """
    wrong = table.loc[table["true"].to_numpy() != table["predicted"].to_numpy()]
    if wrong.empty:
        return []
    confidences = get_probabilities(wrong).max(1)
    order = np.argsort(-confidences, kind="stable")[:count]
    columns = (wrong[name].to_numpy()[order] for name in ("picture", "true", "predicted"))
    return [ConfidentMistake(*row) for row in zip(*columns, confidences[order].tolist(), strict=True)]


def get_probabilities(table: pd.DataFrame) -> np.ndarray:
    """Return the columns of probabilities, (N, K) float64.

    Args:
        table: content of predictions.csv.
    """
    return table[[column for column in table if str(column).startswith("p_")]].to_numpy(np.float64)
