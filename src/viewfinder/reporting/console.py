"""What is said on the terminal about the data, the network and the scores."""

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from viewfinder.config.instantiate import said
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import preprocess_of
from viewfinder.errors import Problem, UserError, join_names, printable
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.logging import ONLY_IN_FILE, say_wrapped
from viewfinder.training.choices import Choices

log = logging.getLogger("viewfinder")
SHOWN = 5
"""Skipped pictures that are named on the terminal; train.log and data.json name them all."""


def say_data(data: ImageData) -> None:
    """Class names, split sizes and the shape of a batch."""
    names = data.class_names
    more = f", ... ({len(names)} in all)" if len(names) > 20 else ""
    say_wrapped(f"classes  {printable(join_names(names[:20]))}{more}")
    log.info(f"pictures {join_names(f'{name} {len(split):,}' for name, split in data.splits.items())}")
    if data.per_class is not None:
        counts = np.bincount(data.splits["train"].labels, minlength=len(names))
        if few := np.count_nonzero(counts < data.per_class):
            smallest = f"the smallest, {printable(names[counts.argmin()])}, has {counts.min():,}"
            say_wrapped(
                f"         fewer than data.per_class={data.per_class} in {few} of {len(names)} classes; {smallest}"
            )
    say_wrapped(f"         {data.where}")
    for line in skipped_lines(data):
        log.info(line)
    for picture, reason in data.skipped[SHOWN:]:
        log.info(f"skipped  {printable(picture)}: {reason}", extra=ONLY_IN_FILE)
    pixels, labels = data.pictures["train"].at(torch.arange(min(data.batch_size, len(data.pictures["train"]))))
    kind = str(pixels.dtype).removeprefix("torch.")
    log.info(f"a batch  {tuple(pixels.shape)} {kind}, labels {tuple(labels.shape)}")


def skipped_lines(data: ImageData) -> list[str]:
    """A count of the pictures that were left out, and the first of them with the reason; [] where there are none."""
    if not data.skipped:
        return []
    lines = [f"skipped  {len(data.skipped):,} pictures that cannot be read (data.on_error=skip)"]
    lines += [f"skipped  {printable(picture)}: {reason}" for picture, reason in data.skipped[:SHOWN]]
    if len(data.skipped) > SHOWN:
        lines.append(f"         ... and {len(data.skipped) - SHOWN:,} more: data.json names them all")
    return lines


def network_facts(network: nn.Module, channels: int, classes: int) -> dict[str, Any]:
    """Its name, parameters, and multiply-adds for one picture; which it is tried with, and lazy layers take shape by.

    Raises:
        UserError: if the network does not take pictures of so many channels, or give a logit for each class.
    """
    size = preprocess_of(network).image_size
    name, training = getattr(network, "kind", type(network).__name__), network.training
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            logits = network.eval()(torch.zeros(1, channels, size, size))
    except Exception as error:
        rule = f"{name} fails on a picture of {channels} x {size} x {size}: {said(error)}"
        raise UserError(
            "the network",
            [Problem("model", rule, remedy="Mend that line, or give it larger pictures by model.image_size.")],
        ) from error
    if getattr(logits, "shape", None) != (1, classes):
        found = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
        rule = f"{name} gives {found} for one picture, and there are {classes} classes"
        remedy = f"It must give logits of shape (1, {classes}): `classes` is handed to its constructor."
        raise UserError("the network", [Problem("model", rule, remedy=remedy)])
    network.train(training)
    return {
        "name": name,
        "parameters": sum(p.numel() for p in network.parameters()),
        "multiply_adds": counter.get_total_flops() // 2,
    }


def say_network(facts: Mapping[str, Any]) -> None:
    frozen = f" ({facts['trained']:,} trained)" if facts["trained"] != facts["parameters"] else ""
    per_picture = f"{facts['multiply_adds']:,} multiply-adds a picture"
    say_wrapped(f"network  {facts['name']}, {facts['parameters']:,} parameters{frozen}, {per_picture}")


def say_choices(choices: Choices) -> None:
    say_wrapped(f"device   {choices.said}")
    if choices.graph_said:
        say_wrapped(f"         {choices.graph_said}")


def say_result(scores: Mapping[str, Any], run: RunFolder) -> None:
    """The test scores of the best and the last weights, and where to look."""
    for which in ("best", "last"):
        test, epoch = scores[which]["test"], scores[which]["epoch"]
        values = "  ".join(f"{name} {test[name]:.4f}" for name in ("accuracy", "f1", "loss"))
        log.info(f"test     {which}, epoch {epoch}: {values}")
    log.info(f"report   {run.report}")
