"""Part of a run's report on mistakes and calibration, from predictions.csv and calibration.json."""

from typing import Any

import numpy as np
import pandas as pd

from viewfinder.evaluation.calibration import Reliability, measure_reliability, scale_probabilities
from viewfinder.evaluation.mistakes import get_probabilities, list_confident_mistakes
from viewfinder.evaluation.read_predictions import read_predictions
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.read import make_file_error

MAX_BYTES = 2**26
"""Largest predictions.csv, in bytes, for which the page has this part; larger files take seconds to read."""


def describe_trust(run: RunFolder, class_names: list[str], epoch: int) -> dict[str, Any]:
    """Return the most confident mistakes and the reliability diagrams of a run; {} without predictions.

    Args:
        run: the run.
        class_names: its classes, in the order of the probabilities.
        epoch: epoch of its best weights.
    """
    if not run.predictions.is_file() or run.predictions.stat().st_size > MAX_BYTES:
        return {}
    table = read_predictions(run.predictions)
    labels = pd.Index(class_names, dtype=object).get_indexer(pd.Index(table["true"], dtype=object))
    try:
        probabilities = get_probabilities(table)
    except ValueError as error:
        raise make_file_error(run.predictions, f"has probabilities that are not numbers: {error}") from error
    if probabilities.shape[1] != len(class_names) or (labels < 0).any():
        raise make_file_error(run.predictions, "has other classes than data.json")
    if not np.isfinite(probabilities).all():  # training diverged
        return {}
    diagrams = [("As trained", measure_reliability(probabilities, labels))]
    calibration = run.read_calibration().get("best", {})
    if calibration and calibration["epoch"] == epoch:
        temperature = calibration["temperature"]
        scaled = measure_reliability(scale_probabilities(probabilities, temperature), labels)
        diagrams.append((f"With temperature {temperature:.3g}", scaled))
    return {
        "mistakes": list_confident_mistakes(table),
        "diagrams": [{"title": title, "error": found.error, "bars": _list_bars(found)} for title, found in diagrams],
    }


def _list_bars(reliability: Reliability) -> list[dict[str, float]]:
    """Return the bars of the bins that have images: left edge, width, accuracy and mean confidence, from 0 to 1."""
    width = 1 / len(reliability.counts)
    columns = zip(reliability.counts, reliability.accuracies, reliability.confidences, strict=True)
    return [
        {"left": index * width, "width": width, "accuracy": float(accuracy), "confidence": float(confidence),
         "count": int(count)}
        for index, (count, accuracy, confidence) in enumerate(columns) if count
    ]  # fmt: skip
