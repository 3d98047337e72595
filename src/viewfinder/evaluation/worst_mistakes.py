"""Worst mistakes in predictions.csv."""

from typing import NamedTuple

import numpy as np

from viewfinder.errors import join_names
from viewfinder.evaluation.read_predictions import COLUMNS, read_predictions
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.read import make_file_error


class Mistake(NamedTuple):
    """A misclassified test image.

    Args:
        name: name of the image in its split.
        label: position of its true class.
        probability: probability of the true class.
    """

    name: str
    label: int
    probability: float


def read_worst_mistakes(run: RunFolder, class_names: list[str], count: int) -> list[Mistake]:
    """Return the mistakes with the lowest probabilities of the true class, the lowest first, as in the report.

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
    positions = {name: position for position, name in enumerate(class_names)}
    wrong = table[(table["true"] != table["predicted"]).to_numpy() & table["true"].isin(class_names).to_numpy()]
    labels = np.array([positions[name] for name in wrong["true"]], dtype=int)
    probabilities = wrong.iloc[:, len(COLUMNS) :].to_numpy(float)[np.arange(len(wrong)), labels]
    order = np.argsort(probabilities, kind="stable")[:count]
    names = wrong["picture"].tolist()
    return [Mistake(names[place], int(labels[place]), float(probabilities[place])) for place in order]
