"""Log lines that summarise the data, the network and the scores of a run."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from viewfinder.data.folds import describe_fold
from viewfinder.data.groups import count_groups
from viewfinder.data.module import ImageData
from viewfinder.errors import join_names, printable
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.logging import ONLY_IN_FILE, log_wrapped

log = logging.getLogger("viewfinder")
MAX_CLASSES = 20
"""Class names listed on the terminal."""
MAX_SKIPPED = 5
"""Skipped images listed on the terminal; train.log and data.json list all of them."""


def log_data_summary(data: ImageData) -> None:
    """Log class names, split sizes, warnings, skipped images and the shape of a batch."""
    names = data.class_names
    more = f", ... ({len(names)} in all)" if len(names) > MAX_CLASSES else ""
    log_wrapped(f"classes  {printable(join_names(names[:MAX_CLASSES]))}{more}")
    log.info(f"images   {join_names(f'{name} {len(split):,}' for name, split in data.splits.items())}")
    if data.cross_validation:
        log_wrapped(f"fold     {describe_fold(data.cross_validation, len(data.splits['test']))}")
    if counts := count_groups(data.splits):
        log.info(f"groups   {join_names(f'{name} {count:,}' for name, count in counts.items())}")
    _log_small_classes(data)
    log_wrapped(f"         {data.stored.location}")
    for sentence in data.describe_warnings():
        log_wrapped(f"warning  {printable(sentence)}")
    for line in describe_skipped(data):
        log.info(line)
    for name, reason in data.skipped[MAX_SKIPPED:]:
        log.info(f"skipped  {printable(name)}: {reason}", extra=ONLY_IN_FILE)
    pixels, labels = data.images["train"].gather(torch.arange(min(data.batch_size, len(data.images["train"]))))
    dtype = str(pixels.dtype).removeprefix("torch.")
    log.info(f"a batch  {tuple(pixels.shape)} {dtype}, labels {tuple(labels.shape)}")


def _log_small_classes(data: ImageData) -> None:
    """Log how many classes have fewer training images than `data.per_class`."""
    if data.per_class is None:
        return
    counts = np.bincount(data.splits["train"].labels, minlength=len(data.class_names))
    if small := np.count_nonzero(counts < data.per_class):
        smallest = f"the smallest, {printable(data.class_names[counts.argmin()])}, has {counts.min():,}"
        share = f"{small} of {len(data.class_names)} classes"
        log_wrapped(f"         fewer than data.per_class={data.per_class} in {share}; {smallest}")


def describe_skipped(data: ImageData) -> list[str]:
    """Return lines with the number of skipped images and the reasons for the first ones; [] if none is skipped."""
    if not data.skipped:
        return []
    lines = [f"skipped  {len(data.skipped):,} unreadable images (data.on_error=skip)"]
    lines += [f"skipped  {printable(name)}: {reason}" for name, reason in data.skipped[:MAX_SKIPPED]]
    if len(data.skipped) > MAX_SKIPPED:
        lines.append(f"         ... and {len(data.skipped) - MAX_SKIPPED:,} more; data.json lists all of them")
    return lines


def log_model_summary(facts: Mapping[str, Any]) -> None:
    """Log the network's name, parameters and multiply-adds, from `network` in run.json."""
    trained = f" ({facts['trained']:,} trained)" if facts["trained"] != facts["parameters"] else ""
    multiply_adds = f"{facts['multiply_adds']:,} multiply-adds per image"
    log_wrapped(f"network  {facts['name']}, {facts['parameters']:,} parameters{trained}, {multiply_adds}")


def log_scores(scores: Mapping[str, Any], run: RunFolder) -> None:
    """Log the test scores of the best and the last weights, and the path of the report."""
    for weights in ("best", "last"):
        test, epoch = scores[weights]["test"], scores[weights]["epoch"]
        values = "  ".join(f"{name} {test[name]:.4f}" for name in ("accuracy", "f1", "loss"))
        log.info(f"test     {weights} weights (epoch {epoch}): {values}")
    log.info(f"report   {printable(str(run.report))}")
