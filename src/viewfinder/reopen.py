"""A run folder opened again: its network with its weights, ready to score or predict. The folder alone is enough."""

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from viewfinder.assemble import build_classifier, check_config, open_data, rebuild_network
from viewfinder.build import build
from viewfinder.choices import ALL_THREADS
from viewfinder.data.image_data import ImageData
from viewfinder.errors import Problem, ViewfinderError, did_you_mean, listed
from viewfinder.preprocess import preprocess_of
from viewfinder.run_folder import RunFolder, read_json
from viewfinder.scoring import load_weights


class OpenedRun:
    """A finished run's classifier with some of its weights, on a GPU where there is one.

    Args:
        folder: the run.
        cfg: its configuration, perhaps with other values for where the data are.
        weights: "best" or "last".
    """

    def __init__(self, folder: RunFolder, cfg: DictConfig, weights: str):
        self.folder, self.cfg = folder, cfg
        self.facts: dict[str, Any] = read_json(folder.data)
        self.class_names: list[str] = self.facts["class_names"]
        self.picture_shape: tuple[int, tuple[int, int]] = (self.facts["channels"], tuple(self.facts["picture_size"]))
        network = rebuild_network(cfg, self.facts["channels"], len(self.class_names))
        self.classifier = build_classifier(cfg, network, self.facts["class_counts"])
        load_weights(self.classifier, folder.best if weights == "best" else folder.last)
        self.trainer: pl.Trainer = build(cfg.trainer, "trainer")
        used = folder.read_run().get("threads", ALL_THREADS)
        torch.set_num_threads(cfg.trainer.get("threads") or min(used, ALL_THREADS))  # or the last bits would differ

    def open_data(self, split: str) -> ImageData:
        """The run's data with one split read.

        Raises:
            ViewfinderError: if they cannot be had, or have other classes.
        """
        with from_where(self.folder):
            data = open_data(self.cfg, self.picture_shape)
        if data.class_names != self.class_names:
            rule = f"these pictures have other classes than the run: {listed(data.class_names[:20])}"
            remedy = f"The run knows: {listed(self.class_names[:20])}."
            raise ViewfinderError("the data", [Problem("data", rule, remedy=remedy)])
        data.load(preprocess_of(self.classifier.network).image_size, (split,))
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
        if data.facts()["fingerprint"][split] != self.facts["fingerprint"][split]:
            return "These are other pictures than the run had, so its scores.json says something else."
        if known == scores:
            return "Equal to scores.json."
        largest = max(abs(known[name] - scores[name]) for name in ("accuracy", "f1", "precision", "recall", "loss"))
        return f"Differs from scores.json by up to {largest:.2g}: another device, thread count or library version."


def open_run(path: Path, overrides: Sequence[str], weights: str) -> OpenedRun:
    """A run folder with its network, from config.yaml and a checkpoint.

    Args:
        overrides: key=value, changing keys that config.yaml has.
        weights: "best" or "last".

    Raises:
        ViewfinderError: if a key is unknown, or the run cannot be opened.
    """
    folder = RunFolder.open(path)
    cfg = with_overrides(folder.read_config(), overrides)
    if not folder.data.is_file() or not folder.best.is_file():
        rule = f"has no weights; its status is '{folder.read_run().get('status', 'unknown')}'"
        raise ViewfinderError("the run folder", [Problem("RUN", rule, str(path))])
    keep_storage(folder, cfg)
    here = {"accelerator": "auto", "devices": 1, "early_stopping_patience": None}
    if not torch.cuda.is_available() and cfg.trainer.get("precision") == "16-mixed":
        here["precision"] = "32-true"
    cfg.trainer = OmegaConf.merge(cfg.trainer, {key: value for key, value in here.items() if key in cfg.trainer})
    with from_where(folder):
        check_config(cfg)
        return OpenedRun(folder, cfg, weights)


def with_overrides(cfg: DictConfig, overrides: Sequence[str]) -> DictConfig:
    """A run's configuration with other values for some of its keys, each typed as key=value.

    Raises:
        ViewfinderError: naming those that are not key=value, or whose key is unknown.
    """
    problems = []
    for override in overrides:
        key, equals, _ = override.partition("=")
        if not equals:
            problems.append(Problem(override, "is not key=value", remedy="Such as data.root=/new/place."))
        elif OmegaConf.select(cfg, key, default="") == "":
            parent, dot, _ = key.rpartition(".")
            group = OmegaConf.select(cfg, parent) if dot else cfg
            known = [f"{parent}{dot}{word}" for word in group] if isinstance(group, DictConfig) else []
            near = did_you_mean(key, known) or "the run's configuration has no such key"
            problems.append(Problem(override, near, remedy=f"Keys: {listed(known or map(str, cfg))}."))
    if problems:
        raise ViewfinderError("the command line", problems)
    changed = OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(overrides)))
    assert isinstance(changed, DictConfig)
    return changed


def keep_storage(folder: RunFolder, cfg: DictConfig) -> None:
    """Have pictures streamed that were: they are known by other facts than those in memory."""
    if folder.data.is_file() and read_json(folder.data).get("storage") == "stream" and "storage" in cfg.data:
        cfg.data.storage = "stream"


@contextlib.contextmanager
def from_where(folder: RunFolder) -> Iterator[None]:
    """To an error that may come of being in another folder than the run was, add which that was."""
    try:
        yield
    except ViewfinderError as error:
        before = folder.read_run().get("working_folder")
        if before is None or Path(before) == Path.cwd():
            raise
        rule = f"was started in {before}"
        remedy = "A network of one's own and paths that begin with no / are looked for in the folder where one is."
        raise ViewfinderError(error.stage, [*error.problems, Problem("the run", rule, remedy=remedy)]) from error
