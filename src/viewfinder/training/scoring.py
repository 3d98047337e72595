"""Evaluation of a classifier on validation and test splits."""

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
    trainer: pl.Trainer,
    classifier: Classifier,
    data: ImageData,
    splits: tuple[str, ...] = ("val", "test"),
    keep_logits: tuple[str, ...] = ("test",),
) -> dict[str, Any]:
    """Return the scores of each split; the predictions stay in `classifier.predictions`.

    Args:
        keep_logits: splits whose logits are needed, however much memory they take.
    """
    scores = {}
    for split in splits:
        loader, role = data.evaluation_loader(split), "val" if split == "val" else "test"
        classifier.keep_logits = {role} if split in keep_logits else set()
        if role == "val":
            trainer.validate(classifier, loader, verbose=False)
        else:
            trainer.test(classifier, loader, verbose=False)
        predictions = classifier.predictions[role]
        scores[split] = score_predictions(predictions, classifier.evaluation_loss(predictions), data.class_names)
    return scores


def load_weights(classifier: Classifier, path: Path) -> dict[str, Any]:
    """Load a checkpoint's weights into a classifier, and return the checkpoint.

    Raises:
        UserError: if the file cannot be read, or belongs to another network.
    """
    checkpoint = read_checkpoint(path)
    try:
        classifier.load_state_dict(checkpoint["state_dict"])
    except Exception as error:  # an untrusted state_dict may hold anything
        reason = " ".join(str(error).split())[:300] or type(error).__name__
        remedy = "Check that config.yaml in its folder and the overrides describe the network of this checkpoint."
        raise UserError("the checkpoint", [Problem(str(path), f"cannot be loaded: {reason}", remedy=remedy)]) from error
    return checkpoint


def score_best_and_last(
    run: RunFolder, trainer: pl.Trainer, classifier: Classifier, data: ImageData, epochs: tuple[int, int]
) -> dict[str, Any]:
    """Return the contents of scores.json; the classifier ends with the best weights and their predictions.

    Args:
        epochs: the best epoch and the last epoch, counted from 1.
    """
    best, last = epochs
    scores = {"last": {"epoch": last, **score_splits(trainer, classifier, data)}}
    if best == last:
        return {"best": scores["last"], **scores}
    if run.is_writer:  # the evaluation gives its weights to all processes, which may not see its files
        load_weights(classifier, run.best)
    return {"best": {"epoch": best, **score_splits(trainer, classifier, data)}, **scores}
