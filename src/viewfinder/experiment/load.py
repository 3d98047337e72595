"""A run folder opened again: its network with its weights, ready to score or predict. The folder alone is enough."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from viewfinder.config.instantiate import STAGE, instantiate
from viewfinder.data.module import ImageData
from viewfinder.errors import Problem, UserError, format_exception, join_names
from viewfinder.experiment.build import build_classifier, get_cache_blocker, open_data, rebuild_network
from viewfinder.experiment.stored_config import from_where, keep_storage, read_checked_config, without_download
from viewfinder.models.summary import summarise_network
from viewfinder.runs.config_file import check_types
from viewfinder.runs.folder import RunFolder
from viewfinder.training.features.cache import has_frozen_backbone, use_features
from viewfinder.training.hardware import DEFAULT_THREADS, MAX_THREADS
from viewfinder.training.precision import set_tf32
from viewfinder.training.scoring import load_weights


class OpenedRun:
    """A finished run's classifier with some of its weights, on a GPU where there is one.

    Args:
        folder: the run.
        cfg: its configuration, perhaps with other values for where the data are.
        weights: "best" or "last".
    """

    def __init__(self, folder: RunFolder, cfg: DictConfig, weights: str):
        self.folder, self.cfg = folder, cfg
        self.facts: dict[str, Any] = folder.read_data()
        check_types(folder.data, self.facts, {"class_counts": list, "fingerprint": dict})
        self.class_names: list[str] = self.facts["class_names"]
        self.stored: tuple[int, tuple[int, int]] = (self.facts["channels"], tuple(self.facts["picture_size"]))
        network = rebuild_network(cfg, self.facts["channels"], len(self.class_names))
        summarise_network(network, self.facts["channels"], len(self.class_names))
        self.classifier = build_classifier(cfg, network, self.facts["class_counts"])
        channels, size = self.stored
        preprocess = self.classifier.preprocess
        self.picture_shape = (channels, preprocess.fit_to_files(size) if preprocess.resize.cover else size)
        load_weights(self.classifier, folder.best if weights == "best" else folder.last)
        check_loss(self.classifier.loss, len(self.class_names))
        set_tf32(False)
        self.trainer: pl.Trainer = instantiate(cfg.trainer, "trainer")
        used = folder.read_run().get("threads", DEFAULT_THREADS)
        asked = cfg.trainer.get("threads") or min(used, DEFAULT_THREADS)  # or the last bits would differ
        torch.set_num_threads(min(asked, MAX_THREADS))

    def open_data(self, split: str) -> ImageData:
        """The run's data with one split read.

        Raises:
            UserError: if they cannot be had, or have other classes.
        """
        with from_where(self.folder), without_download(self.cfg):
            data = open_data(self.cfg, self.stored)
        if data.class_names != self.class_names:
            rule = f"these pictures have other classes than the run: {join_names(data.class_names[:20])}"
            remedy = f"The run knows: {join_names(self.class_names[:20])}."
            raise UserError("the data", [Problem("data", rule, remedy=remedy)])
        data.load(self.classifier.preprocess, (split,))
        network = self.classifier.network
        if has_frozen_backbone(network):  # as the run itself scored it, whose bits would differ otherwise
            use_features(
                data, network, self.trainer.strategy.root_device, data.summarise()["fingerprint"],
                blocker=get_cache_blocker(self.cfg),
                show_progress=self.cfg.trainer.get("progress_bar", True),
            )  # fmt: skip
        return data

    def logits(self, pixels: Tensor) -> Tensor:
        """(N, C, H, W) uint8 -> (N, K) float64 on the CPU."""
        device = self.trainer.strategy.root_device
        with torch.inference_mode():
            return self.classifier.eval().to(device)(pixels.to(device)).double().cpu()

    def verdict(self, data: ImageData, split: str, weights: str, scores: dict[str, Any]) -> str:
        """Whether the run's own scores.json says the same."""
        known = self.folder.read_scores()[weights].get(split) if self.folder.scores.is_file() else None
        if known is None:
            return f"scores.json has no scores of the {split} split to compare with."
        if data.summarise()["fingerprint"][split] != self.facts["fingerprint"].get(split):
            return "These are other pictures than the run had, so its scores.json says something else."
        if known == scores:
            return "Equal to scores.json."
        largest = max(abs(known[name] - scores[name]) for name in ("accuracy", "f1", "precision", "recall", "loss"))
        return f"Differs from scores.json by up to {largest:.2g}: another device, thread count or library version."


def check_loss(loss: nn.Module, classes: int) -> None:
    """Raises UserError if the loss does not make one number of logits and labels."""
    try:
        loss(torch.zeros(2, classes), torch.zeros(2, dtype=torch.int64)).item()
    except Exception as error:
        rule = f"{type(loss).__name__} fails on logits of 2 x {classes}: {format_exception(error)}"
        raise UserError(STAGE, [Problem("loss", rule, remedy="Name a loss of logits and labels.")]) from error


def open_run(path: Path, overrides: Sequence[str], weights: str) -> OpenedRun:
    """A run folder with its network, from config.yaml and a checkpoint.

    Args:
        overrides: key=value, changing keys that config.yaml has; and allow=NAME.
        weights: "best" or "last".

    Raises:
        UserError: if a key is unknown, or the run cannot be opened.
    """
    folder = RunFolder.open(path)
    # Nothing is trained: precision is that of training, and 16-mixed needs a GPU.
    here = {"accelerator": "auto", "devices": 1, "early_stopping_patience": None, "precision": "32-true"}
    cfg = read_checked_config(folder, overrides, here, {"workers": None})
    if not folder.data.is_file() or not folder.best.is_file():
        rule = f"has no weights; its status is '{folder.read_run().get('status', 'unknown')}'"
        raise UserError("the run folder", [Problem("RUN", rule, str(path))])
    keep_storage(folder, cfg, overrides)
    with from_where(folder):
        return OpenedRun(folder, cfg, weights)
