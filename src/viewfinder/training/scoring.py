"""Scores of a classifier's weights on the splits."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from viewfinder.data.module import ImageData
from viewfinder.errors import Problem, UserError
from viewfinder.evaluation.score import score_predictions
from viewfinder.runs.checkpoints import read_checkpoint
from viewfinder.runs.folder import RunFolder
from viewfinder.training.classifier import Classifier


def score_splits(
    trainer: pl.Trainer, classifier: Classifier, data: ImageData, splits: tuple[str, ...] = ("val", "test")
) -> dict[str, Any]:
    """{split: scores}; the predictions stay in `classifier.predictions`."""
    found = {}
    for split in splits:
        loader = data.evaluation_loader(split)
        if split == "val":
            trainer.validate(classifier, loader, verbose=False)
        else:
            trainer.test(classifier, loader, verbose=False)
        predictions = classifier.predictions["val" if split == "val" else "test"]
        found[split] = score_predictions(predictions, classifier.evaluation_loss(predictions), data.class_names)
    return found


def load_weights(classifier: Classifier, path: Path) -> None:
    """Fill a classifier from a run's checkpoint.

    Raises:
        UserError: if the file cannot be read, or holds another network.
    """
    state = read_checkpoint(path)["state_dict"]
    try:
        classifier.load_state_dict(state)
    except Exception as error:  # a stranger's state_dict may hold anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        remedy = "config.yaml beside it, or a key that was typed, makes another network."
        raise UserError("the checkpoint", [Problem(str(path), f"cannot be loaded: {reason}", remedy=remedy)]) from error


def score_best_and_last(
    run: RunFolder, trainer: pl.Trainer, classifier: Classifier, data: ImageData, epochs: tuple[int, int]
) -> dict[str, Any]:
    """What scores.json holds; the classifier ends with the best weights and their predictions.

    Args:
        epochs: of the best weights and of the last, from 1.
    """
    best, last = epochs
    found = {"last": {"epoch": last, **score_splits(trainer, classifier, data)}}
    if best == last:
        return {"best": found["last"], **found}
    load_weights(classifier, run.best)
    return {"best": {"epoch": best, **score_splits(trainer, classifier, data)}, **found}
