"""Scores of the ranking of classes by probability: top-k accuracy, calibration error, AUROC, average precision."""

import numpy as np

from viewfinder.evaluation.calibration import measure_reliability
from viewfinder.evaluation.metrics import Predictions

TOP = (3, 5)
"""Values of k for top-k accuracy."""
MAX_SORTED = 10_000_000
"""Largest number of probabilities for AUROC and average precision, which have to sort those of each class."""


def score_ranking(predictions: Predictions) -> dict[str, float]:
    """Return top-k accuracies, calibration error, and AUROC and average precision over the classes that occur.

    AUROC and average precision are one-vs-rest, as macro averages; they need two classes that occur.

    Args:
        predictions: logits and labels of a split.
    """
    probabilities, labels = predictions.probabilities(), predictions.labels
    if not len(labels) or not probabilities.isfinite().all():
        return {}
    classes = probabilities.shape[1]
    scores = {}
    for k in TOP:
        if k < classes:
            is_among = (probabilities.topk(k, 1).indices == labels[:, None]).any(1)
            scores[f"top{k}"] = is_among.double().mean().item()
    values, true = probabilities.numpy(), labels.numpy()
    scores["calibration_error"] = measure_reliability(values, true).error
    occurring = np.unique(true)
    if len(occurring) > 1 and values.size <= MAX_SORTED:
        each = [compute_ranking_areas(values[:, label], true == label) for label in occurring]
        scores["auroc"], scores["average_precision"] = np.mean(each, axis=0).tolist()
    return {name: round(score, 7) for name, score in scores.items()}


def compute_ranking_areas(probabilities: np.ndarray, is_true: np.ndarray) -> tuple[float, float]:
    """Compute the area under the ROC curve and the average precision of one class against the others.

    One sort serves both: torchmetrics and scikit-learn sort for each, and check their arguments each time.

    Args:
        probabilities: probability of the class, (N,).
        is_true: whether each image is of the class, (N,) bool; some are, and some are not.
    """
    order = np.argsort(-probabilities, kind="stable")
    # Images of equal probability are told apart by no threshold.
    ends = np.append(np.flatnonzero(np.diff(probabilities[order])), len(order) - 1)
    hits = np.cumsum(is_true[order])[ends].astype(np.float64)
    false_alarms = ends + 1 - hits
    steps, heights = np.diff(false_alarms, prepend=0), hits - np.diff(hits, prepend=0) / 2
    auroc = (steps * heights).sum() / (hits[-1] * false_alarms[-1])
    precision, recall = hits / (ends + 1), hits / hits[-1]
    return float(auroc), float((np.diff(recall, prepend=0) * precision).sum())
