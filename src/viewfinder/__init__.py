"""Viewfinder: image-classification experiments from small YAML files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from viewfinder.config.moved import MovedModules

if TYPE_CHECKING:
    from viewfinder.experiment.load import OpenedRun

__all__ = ["load_run", "train"]

sys.meta_path.append(MovedModules())


def train(*overrides: str) -> dict[str, Any]:
    """Train, score and report one run, as `python train.py` with the same overrides.

    Returns:
        The content of scores.json.

    Raises:
        UserError: if the configuration or the data is invalid, or this machine lacks a device.
    """
    from viewfinder.config.overrides import compose_config
    from viewfinder.runs.launcher import own_launcher

    with own_launcher(devices=None):  # before Lightning is imported
        from viewfinder.experiment.run import run_experiment

        return run_experiment(compose_config([*overrides]), overrides=overrides)


def load_run(path: str | Path, weights: Literal["best", "last"] = "best", overrides: Sequence[str] = ()) -> "OpenedRun":
    """Load the network of a run folder, ready to score and predict.

    Args:
        overrides: key=value for keys in the run's config.yaml, such as data.root=/new/place. allow=NAME also trusts the
            classes of the package or module NAME.

    Raises:
        UserError: if the folder is not a run, has no weights, or names a class that is not allowed.
    """
    from viewfinder.runs.launcher import own_launcher

    with own_launcher(devices=None):  # before Lightning is imported
        from viewfinder.experiment.load import open_run

        return open_run(Path(path), overrides, weights)
