"""Parameters, multiply-adds and training time, as runs recorded them."""

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from viewfinder.errors import UserError
from viewfinder.runs.folder import RunFolder


def read_costs(runs: Sequence[str], settings: Sequence[str]) -> pd.DataFrame:
    """Read the costs of runs from run.json, and average them over the runs of each setting.

    Args:
        runs: paths of run folders.
        settings: setting of each run.

    Returns:
        Columns parameters, multiply_adds (of one image) and epoch_seconds, by setting; NaN where a run lacks them.
    """
    rows = []
    for path, setting in zip(runs, settings, strict=True):
        try:
            facts = RunFolder(Path(path)).read_run()
        except UserError:
            facts = {}
        network, seconds = facts.get("network", {}), facts.get("epoch_seconds", [])
        rows.append({
            "setting": setting,
            "parameters": network.get("parameters"),
            "multiply_adds": network.get("multiply_adds"),
            "epoch_seconds": statistics.median(seconds) if seconds else None,
        })  # fmt: skip
    table: Any = pd.DataFrame(rows).set_index("setting").astype(float)
    return table.groupby("setting", sort=False).mean()


BACKWARD = 2
"""Multiply-adds of the backward pass (gradients of inputs and of weights), as a multiple of the forward pass's."""


class TrainingCost(NamedTuple):
    """Cost of the training of a run; NaN where the run does not tell."""

    seconds: float
    """of all epochs with their validation, and of the pass that computed cached features"""
    multiply_adds: float
    """of the forward and backward passes of all training images of all epochs"""
    missing: list[str]
    """what the run does not tell, and why"""


def read_training_cost(run: RunFolder) -> TrainingCost:
    """Read the cost of a training from run.json, data.json and config.yaml.

    A frozen backbone has no backward pass, and with cached features a single forward pass for all epochs; the costs of
    its head are left out.

    Raises:
        UserError: if a file cannot be read.
    """
    facts, data, settings = run.read_run(), run.read_data(), run.read_settings()
    epochs, features, missing = facts.get("epoch_seconds", []), facts.get("features") or {}, []
    if not epochs:
        missing.append("seconds: run.json has no epoch_seconds")
    seconds = sum(epochs) + (features.get("seconds", 0.0) if features.get("computed") else 0.0)
    if reason := _find_unknown_cost(facts):
        missing.append(f"multiply-adds: {reason}")
    images, options = data["split_sizes"].get("train", 0), settings["trainer"]
    if limit := options.get("limit_batches"):
        processes = options.get("devices", 1) * options.get("num_nodes", 1)
        images = min(images, limit * processes * settings["data"]["batch_size"])
    network = facts.get("network", {})
    is_frozen = network.get("trained") != network.get("parameters")
    forward = network.get("multiply_adds", 0) * images * (1 if features else len(epochs))
    cost = forward * (1 if is_frozen else 1 + BACKWARD)
    return TrainingCost(seconds if epochs else math.nan, math.nan if reason else cost, missing)


def _find_unknown_cost(facts: Mapping[str, Any]) -> str:
    """Return why the multiply-adds of a training cannot be told from run.json, or ''."""
    if "network" not in facts or not facts.get("epoch_seconds"):
        return "run.json has no network or no epoch_seconds"
    return "its phases train different parts of the network" if facts.get("phases") else ""
