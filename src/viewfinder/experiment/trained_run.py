"""A trained run in Python: its network, scores and data, and predictions of new images."""

import copy
import logging
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, SequentialSampler

from viewfinder.data.batches import SplitImages
from viewfinder.data.listing import describe_left_out, find_images
from viewfinder.data.split import SPLITS
from viewfinder.data.unreadable import MAX_NAMED
from viewfinder.errors import Problem, UserError, join_names, printable
from viewfinder.evaluation.classified import Classified, join_classified
from viewfinder.experiment.classify import BATCH_SIZE, classify, describe_logits
from viewfinder.experiment.load import OpenedRun
from viewfinder.models.image_classifier import Decoded, ImageClassifier

log = logging.getLogger("viewfinder")
SplitName = Literal["train", "val", "test"]
Images = str | Path | Decoded | Tensor | Sequence[str | Path] | Sequence[Decoded] | Sequence[Tensor]
PATHS = (str, Path)


class TrainedRun:
    """A run with its best or last weights, on a GPU if there is one.

    Args:
        opened: the run's classifier and configuration.
        weights: the weights that it has.
    """

    def __init__(self, opened: OpenedRun, weights: Literal["best", "last"]):
        self.opened, self.weights = opened, weights
        self.path: Path = opened.folder.path
        """the run folder"""
        self.class_names: list[str] = opened.class_names
        """K names, in the order of the logits"""
        self.image_shape: tuple[int, int, int] = (opened.stored[0], *opened.stored[1])
        """(C, H, W) of the images that the network was trained on, before preprocessing"""

    def __repr__(self) -> str:
        return f"TrainedRun({str(self.path)!r}, weights={self.weights!r})"

    @property
    def config(self) -> dict[str, Any]:
        """Contents of config.yaml."""
        return self.opened.folder.read_settings()

    @property
    def scores(self) -> dict[str, Any]:
        """Contents of scores.json: {"best": {"epoch", "val": {...}, "test": {...}}, "last": {...}}.

        Raises:
            UserError: if the run has not finished.
        """
        return self.opened.folder.read_scores()

    @property
    def history(self) -> pd.DataFrame:
        """Rows of metrics.csv, one for each epoch."""
        return self.opened.folder.read_metrics()

    def confusion(self, split: Literal["val", "test"] = "test") -> pd.DataFrame:
        """Return the confusion matrix in scores.json, (K, K): a row for each true class, a column for each predicted.

        Raises:
            UserError: if the run has not finished.
            ValueError: if there is no such split.
        """
        _check_split(split, ("val", "test"))
        counts = self.scores[self.weights][split]["confusion"]
        names = pd.Index(self.class_names)
        return pd.DataFrame(counts, index=names.rename("true"), columns=names.rename("predicted"))

    @cached_property
    def model(self) -> ImageClassifier:
        """The network with its preprocessing, in evaluation mode: uint8 or Pillow images to logits (N, K).

        The logits are divided by the temperature, if the run is calibrated.
        """
        classifier, (channels, size) = self.opened.classifier, self.opened.picture_shape
        network = classifier.network.to(self.opened.trainer.strategy.root_device)
        stored = copy.copy(classifier.preprocess)
        stored.is_fitted = "cropped" in self.opened.facts
        preprocesses = (stored, self.opened.file_preprocess)
        temperature = self.opened.temperature
        return ImageClassifier(network, *preprocesses, channels, size, temperature).eval().requires_grad_(False)

    def predict(self, images: Images) -> pd.DataFrame:
        """Classify images, as `viewfinder predict` does.

        Args:
            images: path of a file or of a folder of images, a Pillow image, or an array (H, W, C) or (H, W) uint8; a
                list of one of these; or a tensor or an array of several images, uint8 (N, C, H, W) or (N, H, W, C).

        Returns:
            A row for each image: picture (path, or position in `images`), predicted, and p_<class> for each class.

        Raises:
            UserError: if a file is unreadable, or there are none.
            TypeError, ValueError: for anything else than these images.
        """
        listed, kind = _list_images(images)
        if not listed:
            raise UserError("the images", [Problem("images", "is empty", remedy="Pass at least one image.")])
        classified = self._classify_files(listed) if kind is PATHS else self._classify_decoded(listed)
        return classified.tabulate()

    def _classify_files(self, paths: Sequence[str | Path]) -> Classified:
        found = find_images([Path(path) for path in paths])
        for sentence in describe_left_out([found], Path()):
            log.info(f"warning  {printable(sentence)}")
        classified = join_classified(list(classify(self.opened, list(map(str, found.images)))))
        if classified.problems:
            raise UserError("the images", classified.problems, max_listed=MAX_NAMED)
        return classified

    def _classify_decoded(self, images: list[Any]) -> Classified:
        if isinstance(images[0], Tensor) and len(shapes := {tuple(image.shape) for image in images}) > 1:
            raise ValueError(f"tensors must have one shape, not {join_names(map(str, sorted(shapes)))}")
        parts = [images[start : start + BATCH_SIZE] for start in range(0, len(images), BATCH_SIZE)]
        with torch.inference_mode():
            logits = [self.model(torch.stack(part) if isinstance(part[0], Tensor) else part) for part in parts]
        names = [str(index) for index in range(len(images))]
        return describe_logits(names, torch.cat(logits).double().cpu(), self.class_names)

    def dataloader(self, split: SplitName = "test", batch_size: int = BATCH_SIZE) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return a DataLoader of a split in the order of predictions.csv: uint8 (N, C, H, W) and int64 (N,).

        Raises:
            UserError: if the run's data are missing.
            ValueError: if there is no such split.
        """
        _check_split(split, SPLITS)
        data = self.opened.list_data(split)
        data.load(copy.copy(self.opened.classifier.preprocess), (split,))
        images = data.images[split]
        batches = BatchSampler(SequentialSampler(range(len(images))), batch_size, drop_last=False)
        return DataLoader(_Gathered(images), sampler=batches, batch_size=None)


def _check_split(split: str, available: Sequence[str]) -> None:
    if split not in available:
        raise ValueError(f"split must be one of {join_names(map(repr, available))}, not {split!r}")


def _list_images(images: Any) -> tuple[list[Any], tuple[type, ...]]:
    """Return single images, all of one kind, and the types of that kind."""
    if isinstance(images, np.ndarray | Tensor):
        listed = list(images) if images.ndim == 4 else [images]
    elif isinstance(images, (*PATHS, Image.Image)) or not isinstance(images, Iterable):
        listed = [images]
    else:
        listed = list(images)
    for kind in (PATHS, (Image.Image, np.ndarray), (Tensor,)):
        if all(isinstance(image, kind) for image in listed):
            return listed, kind
    found = join_names(sorted({type(image).__name__ for image in listed}))
    raise TypeError(f"images must be paths, Pillow images, arrays or tensors, and all of one kind, not {found}")


class _Gathered(Dataset[tuple[Tensor, Tensor]]):
    """Images of a split, indexed by lists of positions."""

    def __init__(self, images: SplitImages):
        self.images = images

    def __getitem__(self, positions: list[int]) -> tuple[Tensor, Tensor]:
        pixels, labels = self.images.gather(torch.tensor(positions))
        return pixels.contiguous(), labels
