"""Content of predictions.csv: one row per test image."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from viewfinder.evaluation.classified import tabulate
from viewfinder.evaluation.metrics import Predictions


def build_prediction_table(
    names: Sequence[str] | np.ndarray, predictions: Predictions, class_names: list[str]
) -> pd.DataFrame:
    """Tabulate predictions with the columns picture, true, predicted and p_<class> for each class.

    Args:
        names: image names of the split; with `trainer.limit_batches` only the first have predictions.
        predictions: logits and labels, in the order of `names`.
        class_names: K names in the order of the logits.
    """
    classes = np.array(class_names, dtype=object)
    probabilities, predicted = predictions.probabilities().numpy(), predictions.predicted.numpy()
    table = tabulate(names[: len(probabilities)], probabilities, predicted, class_names)
    table.insert(1, "true", pd.Series(classes[predictions.labels.numpy()], dtype=object))
    return table


def find_worst_mistakes(predictions: Predictions, max_mistakes: int = 12) -> np.ndarray:
    """Return positions of wrong predictions, sorted by the probability of the true class, lowest first."""
    probabilities = predictions.probabilities()
    wrong = (predictions.predicted != predictions.labels).nonzero()[:, 0]
    true_probabilities = probabilities[wrong, predictions.labels[wrong]]
    return wrong[true_probabilities.argsort(stable=True)][:max_mistakes].numpy()
