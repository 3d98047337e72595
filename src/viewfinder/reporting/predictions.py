"""predictions.csv, and the pictures on which the network was most wrong."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from PIL import Image

from viewfinder.data.batches import Pictures
from viewfinder.evaluation.metrics import Predictions
from viewfinder.reporting.charts.images import draw_pictures

DIGITS = "%.9g"


def prediction_table(
    names: Sequence[str] | np.ndarray, predictions: Predictions, class_names: list[str]
) -> pd.DataFrame:
    """A row a picture: picture, true, predicted, and p_<class> for each class.

    Args:
        names: of the split's pictures; with `trainer.limit_batches` only the first have predictions.
    """
    classes = np.array(class_names, dtype=object)
    probabilities = predictions.probabilities().numpy()
    table = pd.DataFrame(probabilities, columns=[f"p_{name}" for name in class_names])
    table.insert(0, "picture", names[: len(table)])
    table.insert(1, "true", classes[predictions.labels.numpy()])
    table.insert(2, "predicted", classes[predictions.logits.argmax(1).numpy()])
    return table


def worst_mistakes(predictions: Predictions, most: int = 12) -> np.ndarray:
    """Positions of the wrong predictions whose true class had the least probability, worst first."""
    probabilities = predictions.probabilities()
    wrong = (predictions.logits.argmax(1) != predictions.labels).nonzero()[:, 0]
    of_truth = probabilities[wrong, predictions.labels[wrong]]
    return wrong[of_truth.argsort(stable=True)][:most].numpy()


def draw_mistakes(pictures: Pictures, predictions: Predictions, class_names: list[str]) -> Image.Image | None:
    """The worst mistakes of a split as a grid; None where there is none."""
    worst = worst_mistakes(predictions)
    if not len(worst):
        return None
    part = Predictions(predictions.logits[worst], predictions.labels[worst])
    pixels, _ = pictures.at(torch.from_numpy(worst))
    return draw_pictures(pixels, part, class_names, columns=6)
