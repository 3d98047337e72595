"""Loading of an existing run: its network and weights, ready to score or predict."""

import copy
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from torch import Tensor, nn

from viewfinder.config.instantiate import STAGE, instantiate
from viewfinder.config.own_files import read_choice
from viewfinder.config.yaml_text import to_settings
from viewfinder.data.module import ImageData
from viewfinder.data.scored import open_scored
from viewfinder.errors import Problem, UserError, format_exception
from viewfinder.experiment.augmentations import find_cache_blocker
from viewfinder.experiment.build import NO_OBJECTS, build_classifier, make_data, rebuild_network
from viewfinder.experiment.find_run import find_run
from viewfinder.experiment.python_objects import PythonObjects
from viewfinder.experiment.stored_config import (
    explain_download,
    explain_working_folder,
    has_moved_data,
    keep_streaming,
    load_config,
)  # fmt: skip
from viewfinder.models.summary import summarise_network
from viewfinder.models.tta import classify, describe_views, get_views
from viewfinder.runs.config_file import check_types
from viewfinder.runs.folder import RunFolder
from viewfinder.training.features.cache import has_frozen_backbone, use_features
from viewfinder.training.hardware import DEFAULT_THREADS, MAX_THREADS
from viewfinder.training.precision import set_tf32
from viewfinder.training.scoring import load_weights


class OpenedRun:
    """Classifier of a run with its best or last weights, on a GPU if there is one.

    Args:
        folder: the run.
        cfg: its configuration, with overrides applied.
        weights: "best" or "last".
        objects: network and data to use in place of the configuration's.
    """

    def __init__(self, folder: RunFolder, cfg: DictConfig, weights: str, objects: PythonObjects = NO_OBJECTS):
        self.objects = objects
        self.folder, self.cfg, self.settings = folder, cfg, to_settings(cfg)
        options = self.settings["trainer"]
        self.facts: dict[str, Any] = folder.read_data()
        check_types(folder.data, self.facts, {"class_counts": list, "fingerprint": dict})
        self.class_names: list[str] = self.facts["class_names"]
        self.stored: tuple[int, tuple[int, int]] = (self.facts["channels"], tuple(self.facts["picture_size"]))
        network = copy.deepcopy(objects.model)
        if network is None:
            network = rebuild_network(cfg, self.facts["channels"], len(self.class_names))
        summarise_network(network, self.facts["channels"], len(self.class_names), objects.model is not None)
        self.classifier = build_classifier(cfg, network, self.facts["class_counts"])
        channels, size = self.stored
        preprocess = self.classifier.preprocess
        self.picture_shape = (channels, preprocess.fit_to_files(size) if preprocess.resize.cover else size)
        self.file_preprocess = copy.copy(preprocess)  # reading a split may change the other one
        checkpoint = load_weights(self.classifier, folder.best if weights == "best" else folder.last)
        self.weights, self.steps = weights, _read_steps(checkpoint)
        check_loss(self.classifier.loss, len(self.class_names))
        set_tf32(False)
        self.trainer: pl.Trainer = instantiate(options, "trainer")
        # Another number of threads may change the last bits.
        stored_threads = folder.read_run().get("threads", DEFAULT_THREADS)
        threads = options.get("threads") or min(stored_threads, DEFAULT_THREADS)
        torch.set_num_threads(min(threads, MAX_THREADS))

    def list_data(self, split: str) -> ImageData:
        """List the images of one split, with the run's classes as labels; nothing is decoded yet.

        The data are the run's, or others if overrides name their place; see `viewfinder.data.scored`.

        Raises:
            UserError: if the data are missing, or have classes that the run does not know.
        """
        data = make_data(self.settings, self.objects.data)
        with explain_working_folder(self.folder), explain_download(self.cfg):
            open_scored(data, self.facts, split, has_moved_data(self.folder, self.cfg))
        return data

    def open_data(self, split: str) -> ImageData:
        """Read the images of one split, or its cached features where the run used them.

        Raises:
            UserError: as `list_data`, and if an image cannot be read.
        """
        data, network = self.list_data(split), self.classifier.network
        data.load(self.classifier.preprocess, (split,))
        if has_frozen_backbone(network) and get_views(network) is None:  # as in the run itself, to the last bit
            device, fingerprints = self.trainer.strategy.root_device, data.fingerprints()
            show_progress = self.settings["trainer"].get("progress_bar", True)
            use_features(data, network, device, fingerprints, find_cache_blocker(self.settings), show_progress)
        return data

    def logits(self, pixels: Tensor) -> Tensor:
        """Compute the logits of images.

        Args:
            pixels: (N, C, H, W) uint8.

        Returns:
            (N, K) float64 on the CPU; divided by the temperature, if the run is calibrated.
        """
        device = self.trainer.strategy.root_device
        with torch.inference_mode():
            network = self.classifier.eval().to(device).network
            logits = classify(network, self.file_preprocess(pixels.to(device))).double().cpu()
            return logits if self.temperature is None else logits / self.temperature

    @cached_property
    def temperature(self) -> float | None:
        """Temperature in calibration.json; None if these weights are not calibrated.

        Raises:
            UserError: if it was fitted to other weights or other views.
        """
        calibration = self.folder.read_calibration().get(self.weights)
        if calibration is None:
            return None
        if calibration["steps"] != self.steps:
            rule = f"was fitted to the {self.weights} weights after {calibration['steps']} steps, not {self.steps}"
            remedy = f"Fit it again: viewfinder evaluate {self.folder.path} --calibrate; or delete it."
            raise UserError("the calibration", [Problem(str(self.folder.calibration), rule, remedy=remedy)])
        if (fitted := calibration.get("tta") or "") != (present := describe_views(self.classifier.network)):
            rule = f"was fitted with tta ({fitted or 'none'}), not with tta ({present or 'none'})"
            remedy = (
                f"Fit it again: viewfinder evaluate {self.folder.path} --calibrate, with the same --tta; or delete it."
            )
            raise UserError("the calibration", [Problem(str(self.folder.calibration), rule, remedy=remedy)])
        return calibration["temperature"]

    def compare_with_stored(self, data: ImageData, split: str, weights: str, scores: dict[str, Any]) -> str:
        """Compare scores of a split with those in the run's scores.json, and describe the result."""
        stored = self.folder.read_scores()[weights].get(split) if self.folder.scores.is_file() else None
        if _get_views(self.settings) != _get_views(self.folder.read_settings()):
            return "Not compared with scores.json, whose scores have another test-time augmentation."
        if stored is None:
            return f"scores.json has no scores of the {split} split to compare with."
        is_equal = _agree(stored, scores)
        is_streamed, was_streamed = data.stored.storage == "stream", self.facts.get("storage") == "stream"
        if is_streamed == was_streamed and data.fingerprints()[split] != self.facts["fingerprint"].get(split):
            result = "although its scores.json has the same scores" if is_equal else "so its scores.json differs"
            return f"These are not the images of the run, {result}."
        if is_equal:
            return "Equal to scores.json."
        largest = max(abs(stored[name] - scores[name]) for name in ("accuracy", "f1", "precision", "recall", "loss"))
        causes = "another device, thread count or library version"
        if is_streamed or was_streamed:  # fingerprints cover the sizes of the files, or cannot be compared
            causes += ", or other images"
        return f"Differs from scores.json by up to {largest:.2g}: {causes}."


def _read_steps(checkpoint: dict[str, Any]) -> int | None:
    """Return the optimizer steps of a checkpoint, which may be untrusted; None if it does not tell."""
    loop = checkpoint.get("loop")
    steps = loop.get("steps") if isinstance(loop, dict) else None
    return steps if isinstance(steps, int) else None


def _get_views(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of test-time augmentation that change scores."""
    return {key: value for key, value in (settings.get("tta") or {}).items() if key != "every_epoch"}


def _agree(stored: Any, scores: Any) -> bool:
    """Return whether scores are equal, NaN included, apart from those that only one of two versions computes."""
    if isinstance(stored, dict):
        return all(_agree(stored[name], scores[name]) for name in stored.keys() & scores.keys())
    return stored == scores or (stored != stored and scores != scores)


def check_loss(loss: nn.Module, classes: int) -> None:
    """Raise UserError unless the loss of logits and labels is a single number."""
    try:
        loss(torch.zeros(2, classes), torch.zeros(2, dtype=torch.int64)).item()
    except Exception as error:
        rule = f"fails for logits (2, {classes}) and labels (2,): {type(loss).__name__}: {format_exception(error)}"
        raise UserError(
            STAGE, [Problem("loss", rule, remedy="Use a loss that maps logits (N, K) and labels (N,) to one number.")]
        ) from error


def open_run(
    path: str | Path,
    overrides: Sequence[str],
    weights: str,
    accelerator: str = "auto",
    objects: PythonObjects = NO_OBJECTS,
    tta: str | None = None,
) -> OpenedRun:
    """Open a run from its config.yaml and a checkpoint.

    Args:
        path: as for `find_run`.
        overrides: key=value for keys in config.yaml; allow=NAME trusts the classes of the package or module NAME.
        weights: "best" or "last".
        accelerator: "auto" for a GPU if there is one, or "cpu".
        objects: network and data to use in place of the configuration's.
        tta: a choice of the group `tta`, in place of the configuration's.

    Raises:
        UserError: if a key is unknown, or the run is invalid or has no weights.
    """
    folder, overrides = find_run(path, overrides)
    # A precision of training has no effect here, and 16-mixed needs a GPU.
    trainer = {"accelerator": accelerator, "devices": 1, "early_stopping_patience": None, "precision": "32-true"}
    trainer |= {"num_nodes": 1, "compile": False}
    choices = {} if tta is None else {"tta": read_choice("tta", tta)}
    cfg = load_config(folder, overrides, trainer, {"workers": None}, choices)
    if not folder.data.is_file() or not folder.best.is_file():
        rule = f"has no weights; its status is '{folder.read_run().get('status', 'unknown')}'"
        remedy = "Pass a run that has finished an epoch, or continue this one with viewfinder resume."
        raise UserError("the run folder", [Problem("RUN", rule, str(folder.path), remedy)])
    keep_streaming(folder, cfg, overrides)
    with explain_working_folder(folder):
        return OpenedRun(folder, cfg, weights, objects)
