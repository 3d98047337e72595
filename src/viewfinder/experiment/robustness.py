"""Robustness of runs: accuracy of the test split under corruptions of its images."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from viewfinder.data.corruptions import Place
from viewfinder.data.module import EVALUATION_BATCH_FACTOR, ImageData
from viewfinder.evaluation.comparison import read_runs, require_finished
from viewfinder.evaluation.costs import read_costs
from viewfinder.evaluation.robustness import (
    Measured,
    corrupt_each,
    count_correct,
    list_levels,
    summarise,
    tabulate_accuracies,
)  # fmt: skip
from viewfinder.experiment.load import OpenedRun, open_run
from viewfinder.runs.find import expand_home
from viewfinder.runs.folder import RunFolder

SPLIT = "test"
BATCH_BYTES = 2**22
"""Bytes of the uint8 images that are corrupted at once: 1,365 colour images of 32 x 32, or 27 of 224 x 224."""
MAX_NETWORKS = 16
"""Networks in memory at once; runs with the same test images share their corrupted images."""
MAX_DEVIATION = 0.002
"""Largest difference from the accuracy in scores.json that another device is likely to explain."""


def measure_robustness(
    folders: Sequence[RunFolder], overrides: Sequence[str], weights: str, names: Sequence[str], seed: int
) -> Measured:
    """Measure the accuracy of finished runs on their test images, original and corrupted.

    Images are corrupted as uint8, after they are decoded and before the network's own preprocessing.

    Args:
        folders: runs; unfinished ones are left out.
        overrides: key=value for the configuration of each run.
        weights: "best" or "last".
        names: names of corruptions.
        seed: seed of the noise.

    Raises:
        UserError: if no run has finished, or the images of one cannot be read.
    """
    comparison = read_runs(folders)
    require_finished(comparison)
    runs, notes = comparison.unique_rows().reset_index(drop=True), [*comparison.notes]
    counts: dict[int, np.ndarray] = {}
    totals: dict[int, int] = {}
    examples: Tensor | None = None
    for start in range(0, len(runs), MAX_NETWORKS):
        opened = {
            start + row: open_run(path, overrides, weights)
            for row, path in enumerate(runs["run"][start : start + MAX_NETWORKS])
        }
        for rows in _group_by_images(opened).values():
            group = [opened[row] for row in rows]
            data = _open_images(group)
            correct = _count(group, data, names, seed)
            total = len(data.images[SPLIT])
            counts |= dict(zip(rows, correct, strict=True))
            totals |= dict.fromkeys(rows, total)
            notes += [_describe_images(run, weights, row[0], total) for run, row in zip(group, correct, strict=True)]
            if examples is None:
                pixels, _ = data.images[SPLIT].gather(torch.tensor([0]))
                examples = torch.cat([*corrupt_each(pixels, names, Place(0, seed, 0))])
    assert examples is not None
    order = range(len(runs))
    table = tabulate_accuracies(runs, [counts[row] for row in order], [totals[row] for row in order], names)
    notes += [f"left out: {path}: {reason}" for path, reason in comparison.skipped]
    costs = read_costs(list(runs["run"]), list(runs["setting"]))
    return Measured(table, summarise(table), costs, examples, [note for note in dict.fromkeys(notes) if note])


def _group_by_images(opened: dict[int, OpenedRun]) -> dict[str, list[int]]:
    """Group runs whose decoded test images are the same, by their fingerprints."""
    groups: dict[str, list[int]] = {}
    for row, run in opened.items():
        facts, resize = run.facts, run.classifier.preprocess.resize
        fingerprint = facts.get("fingerprint", {}).get(SPLIT) or str(run.folder.path)
        key = [fingerprint, facts["class_names"], facts["channels"], facts["picture_size"], str(resize)]
        groups.setdefault(json.dumps(key), []).append(row)
    return groups


def _open_images(group: Sequence[OpenedRun]) -> ImageData:
    """Decode the test images that runs share, and move them and the networks to the device."""
    first = group[0]
    data, device = first.list_data(SPLIT), first.trainer.strategy.root_device
    data.load(first.classifier.preprocess, (SPLIT,))
    data.move_to_device(device)
    for run in group:
        run.classifier.preprocess.is_fitted = first.classifier.preprocess.is_fitted
        run.classifier.eval().to(device)
    return data


def _count(group: Sequence[OpenedRun], data: ImageData, names: Sequence[str], seed: int) -> np.ndarray:
    """Count the correctly classified images of each run at each level: (runs, levels)."""
    total = len(group) * len(list_levels(names)) * len(data.images[SPLIT])
    is_off = None if group[0].settings["trainer"].get("progress_bar", True) else True
    networks: list[Callable[[Tensor], Tensor]] = [run.classifier for run in group]
    forward_size = EVALUATION_BATCH_FACTOR * data.batch_size
    with (
        torch.inference_mode(),
        tqdm(desc="robustness", total=total, leave=False, disable=is_off, unit=" images", unit_scale=True) as bar,
    ):
        return count_correct(
            networks, _iterate(data, group[0].trainer.strategy.root_device), names, seed, forward_size, bar.update
        )


def _iterate(data: ImageData, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the test images and labels in batches that depend only on the size of the images."""
    batch_size = max(1, BATCH_BYTES // math.prod(data.image_shape))
    for chunk in data.sequential_loader(SPLIT, batch_size):
        for batch in chunk.to(device):
            yield batch.pixels, batch.labels


def _describe_images(run: OpenedRun, weights: str, correct: int, total: int) -> str:
    """Describe a difference of the images, or of the accuracy on them, from scores.json; '' if there is none."""
    stored: Any = run.folder.read_scores()[weights][SPLIT]
    if stored["pictures"] != total:
        return f"These are {total:,} images; the scores of the runs are of {stored['pictures']:,}."
    if abs(stored["accuracy"] - correct / total) <= MAX_DEVIATION:
        return ""
    accuracies = f"{correct / total:.4f} here and {stored['accuracy']:.4f} in scores.json"
    return f"These are not the test images of {run.folder.path}: its accuracy is {accuracies}."


def choose_folder(paths: Sequence[Path], runs: Sequence[RunFolder]) -> Path | None:
    """Return the folder for the results: the only run or the only folder given, or None if there are several."""
    if len(runs) == 1:
        return runs[0].path
    return expand_home(paths[0]) if len(paths) == 1 else None
