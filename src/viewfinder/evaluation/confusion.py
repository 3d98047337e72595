"""Confusion matrices: shares of the true classes, the most confused pairs, and intervals of each class's scores."""

import numpy as np

from viewfinder.evaluation.intervals import wilson_interval


def normalise_rows(counts: np.ndarray) -> np.ndarray:
    """Divide counts, (K, K), by the images of each true class; a class without images has a row of zeros."""
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)


def find_most_confused(
    counts: np.ndarray, class_names: list[str], max_pairs: int = 8
) -> list[dict[str, str | int | float]]:
    """Return the pairs of a true and a predicted class with the most images: true, predicted, pictures, share."""
    shares = normalise_rows(counts)
    wrong = [(int(counts[i, j]), i, j) for i, j in np.ndindex(counts.shape) if i != j and counts[i, j]]
    wrong.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    return [
        {"true": class_names[i], "predicted": class_names[j], "pictures": count, "share": float(shares[i, j])}
        for count, i, j in wrong[:max_pairs]
    ]


def compute_class_intervals(counts: np.ndarray, class_names: list[str]) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the 95% Wilson intervals of each class's precision and recall; (0, 1) for a class without images.

    The interval of precision takes the number of images predicted as the class as given.

    Args:
        counts: images by true and predicted class, (K, K).
        class_names: K names.
    """
    totals = {"precision": counts.sum(0), "recall": counts.sum(1)}
    return {
        name: {
            score: wilson_interval(int(counts[index, index]), int(total[index])) if total[index] else (0.0, 1.0)
            for score, total in totals.items()
        }
        for index, name in enumerate(class_names)
    }
