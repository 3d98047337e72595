"""Accuracy of networks on corrupted images, and its summary over seeds."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from viewfinder.data.corruptions import CORRUPTIONS, Corruption, Place
from viewfinder.evaluation.comparison import list_repeats

ORIGINAL = "original"
"""Name of the images without a corruption."""


def list_levels(names: Sequence[str]) -> list[tuple[str, float | None]]:
    """List the original images, and each corruption at each of its strengths."""
    return [(ORIGINAL, None), *((name, strength) for name in names for strength in CORRUPTIONS[name].strengths)]


def corrupt_each(pixels: Tensor, names: Sequence[str], place: Place) -> Iterator[Tensor]:
    """Yield a batch, (N, C, H, W) uint8, at each level of `list_levels`."""
    for name, strength in list_levels(names):
        yield pixels if strength is None else CORRUPTIONS[name].apply(pixels, strength, place)


def count_correct(
    networks: Sequence[Callable[[Tensor], Tensor]],
    batches: Iterable[tuple[Tensor, Tensor]],
    names: Sequence[str],
    seed: int,
    forward_size: int,
    report: Callable[[int], Any] = lambda count: None,
) -> np.ndarray:
    """Count the correctly classified images of each network at each level; each batch is read once.

    Args:
        networks: map images (N, C, H, W) uint8 to logits (N, K).
        batches: images, (N, C, H, W) uint8, and labels, (N,), in the order of their split.
        names: names of corruptions.
        seed: seed of the noise, which is a function of the seed and the batch.
        forward_size: number of images that a network classifies at once.
        report: called with the number of images that a network has classified.

    Returns:
        (networks, levels) int64.
    """
    correct: Tensor | None = None
    first = 0
    for number, (pixels, labels) in enumerate(batches):
        if correct is None:
            correct = torch.zeros(len(networks), len(list_levels(names)), dtype=torch.int64, device=pixels.device)
        for column, images in enumerate(corrupt_each(pixels, names, Place(first, seed, number))):
            for row, network in enumerate(networks):
                predicted = torch.cat([network(part).argmax(1) for part in images.split(forward_size)])
                correct[row, column] += (predicted == labels).sum()  # without .item(), so that a GPU does not wait
                report(len(labels))
        first += len(labels)
    assert correct is not None
    return correct.cpu().numpy()


def tabulate_accuracies(
    runs: pd.DataFrame, counts: Sequence[np.ndarray], totals: Sequence[int], names: Sequence[str]
) -> pd.DataFrame:
    """Return a row for each run and level.

    Args:
        runs: a row for each run: run, setting, seed, and fold if a run has one.
        counts: correctly classified images of each run, (levels,).
        totals: test images of each run.
        names: names of corruptions.

    Returns:
        Columns of `runs`, corruption, strength (NaN for the original images), images, accuracy, and relative: the
        accuracy divided by the run's accuracy on the original images, NaN if that is 0.
    """
    keys = [name for name in ("run", "setting", "seed", "fold") if name in runs]
    levels: Any = pd.DataFrame(list_levels(names), columns=["corruption", "strength"]).astype({"strength": float})
    parts = []
    for row, correct, total in zip(range(len(runs)), counts, totals, strict=True):
        facts = {key: runs[key].iloc[row] for key in keys}
        accuracy = correct / total
        relative = accuracy / accuracy[0] if accuracy[0] else np.full(len(accuracy), np.nan)
        parts.append(levels.assign(**facts, images=total, accuracy=accuracy, relative=relative))
    columns = [*keys, "corruption", "strength", "images", "accuracy", "relative"]
    table: Any = pd.concat(parts, ignore_index=True)[columns]
    return table.astype({"fold": "Int64"}) if "fold" in keys else table


class Robustness(NamedTuple):
    """Summary of the accuracies of runs, by setting; means and sample standard deviations over seeds and folds."""

    settings: pd.DataFrame
    """a row for each setting, the highest mean relative accuracy first: setting, seeds, folds if a run has one, and
    <score>_mean and <score>_std of the scores `accuracy` (original images), `corrupted` and `relative`"""
    corruptions: pd.DataFrame
    """a row for each setting and corruption: setting, corruption, and the mean accuracy over its strengths,
    accuracy_mean and accuracy_std"""
    levels: pd.DataFrame
    """a row for each setting, corruption and strength: accuracy_mean and accuracy_std"""


def summarise(table: pd.DataFrame) -> Robustness:
    """Average the accuracies of runs over seeds and folds.

    The mean relative accuracy of a run is the mean over corruptions of the mean over their strengths of its accuracy
    divided by its accuracy on the original images. A network that no corruption affects has 1; for K classes of equal
    size, one that is reduced to guessing has 1 / (K times its accuracy). `corrupted` is the same mean of the accuracies
    themselves.

    Args:
        table: from `tabulate_accuracies`.
    """
    repeats = list_repeats(table)
    keys = ["setting", "run", *repeats]
    rows: Any = table.assign(**{name: table[name].fillna(-1) for name in repeats})  # groupby leaves out missing folds
    is_original, measured = rows["corruption"] == ORIGINAL, ["accuracy", "relative"]
    original = rows[is_original].set_index(keys)["accuracy"]
    by_corruption = rows[~is_original].groupby([*keys, "corruption"], sort=False)[measured].mean().reset_index()
    scores = by_corruption.groupby(keys, sort=False)[measured].mean()
    scores = scores.rename(columns={"accuracy": "corrupted"})
    scores = scores.assign(accuracy=original).reset_index()
    counts = {f"{name}s": (name, "nunique") for name in repeats}
    spreads = {
        f"{score}_{statistic}": (score, statistic)
        for score in ("accuracy", "corrupted", "relative")
        for statistic in ("mean", "std")
    }
    settings = scores.groupby("setting", sort=False).agg(**counts, **spreads).reset_index()
    settings = settings.sort_values("relative_mean", ascending=False, kind="stable", ignore_index=True)
    spread = {"accuracy_mean": ("accuracy", "mean"), "accuracy_std": ("accuracy", "std")}
    corruptions = by_corruption.groupby(["setting", "corruption"], sort=False).agg(**spread).reset_index()
    levels = rows.groupby(["setting", "corruption", "strength"], sort=False, dropna=False).agg(**spread).reset_index()
    return Robustness(settings, corruptions, levels)


class Measured(NamedTuple):
    """Accuracies of runs on corrupted test images."""

    table: pd.DataFrame
    """a row for each run and level, from `tabulate_accuracies`"""
    summary: Robustness
    costs: pd.DataFrame
    """parameters, multiply-adds and training time of each setting, from `viewfinder.evaluation.costs.read_costs`"""
    examples: Tensor
    """a test image at each level, (levels, C, H, W) uint8"""
    notes: list[str]
    """sentences about runs that were left out, or whose images are not those of the training"""


def list_corruptions(table: pd.DataFrame) -> dict[str, Corruption]:
    """Return the corruptions in a table of accuracies, in their order."""
    present = set(table["corruption"])
    return {name: corruption for name, corruption in CORRUPTIONS.items() if name in present}
