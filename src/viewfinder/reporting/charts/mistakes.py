"""Grid of the test images with the worst predictions."""

import torch
from PIL import Image

from viewfinder.data.batches import SplitImages
from viewfinder.evaluation.metrics import Predictions
from viewfinder.evaluation.predictions_csv import find_worst_mistakes
from viewfinder.reporting.charts.images import draw_images

COLUMNS = 3
"""Images side by side; on a phone, more would have captions too small to read."""


def draw_mistakes(images: SplitImages, predictions: Predictions, class_names: list[str]) -> Image.Image | None:
    """Draw the worst mistakes of a split as a grid; return None if every prediction is right."""
    worst = find_worst_mistakes(predictions)
    if not len(worst):
        return None
    mistakes = Predictions(predictions.logits[worst], predictions.labels[worst])
    pixels, _ = images.gather(torch.from_numpy(worst))
    return draw_images(pixels, mistakes, class_names, columns=COLUMNS)
