"""Viewfinder: image-classification experiments from small YAML files."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from viewfinder.config.moved import MovedModules

if TYPE_CHECKING:
    from torch import nn

    from viewfinder.data.module import ImageData
    from viewfinder.experiment.trained_run import TrainedRun

__all__ = ["load_run", "resume", "train"]

sys.meta_path.append(MovedModules())


def train(
    *words: str, overrides: Sequence[str] = (), model: "nn.Module | None" = None, data: "ImageData | None" = None
) -> "TrainedRun":
    """Train, score and report one run, as `python train.py` with the same overrides.

    Args:
        words: overrides, such as "model=simple_cnn".
        overrides: further overrides.
        model: network to train in place of the configuration's; a copy is trained. Its attribute `preprocess` is a
            viewfinder.data.preprocess.Preprocess.
        data: data module to use in place of the configuration's.

    Returns:
        The run, with its best weights.

    Raises:
        UserError: if the configuration or the data is invalid, or this machine lacks a device.
        TypeError: if an override is not a string.
    """
    _check_types(words, overrides)
    from viewfinder.config.overrides import compose_config
    from viewfinder.runs.launcher import own_launcher

    with own_launcher():  # before Lightning is imported
        from viewfinder.experiment.failures import format_allow_override
        from viewfinder.experiment.python_objects import PythonObjects, record_objects
        from viewfinder.experiment.run import run_experiment

        typed, objects = [*words, *overrides], PythonObjects(model, data)
        cfg = compose_config(typed)
        record_objects(cfg, objects, typed)
        run = run_experiment(cfg, overrides=typed, objects=objects)
        allowed = format_allow_override(run.read_settings())  # this process has run that code already
    return load_run(run.path, "best", allowed, model, data)


def load_run(
    path: str | Path,
    weights: Literal["best", "last"] = "best",
    overrides: Sequence[str] = (),
    model: "nn.Module | None" = None,
    data: "ImageData | None" = None,
    tta: str | None = None,
) -> "TrainedRun":
    """Load the network of a run folder, ready to score and predict.

    Args:
        path: a run folder; FOLDER/latest, the run in FOLDER that was written last; or latest, the last in outputs/.
        overrides: key=value for keys in the run's config.yaml, such as data.root=/new/place. allow=NAME also trusts the
            classes of the package or module NAME.
        model: a network like the one that `train` was given, for its weights; a copy is used.
        data: the data module that `train` was given.
        tta: a choice of the group `tta`, such as mirror or none, in place of the run's.

    Raises:
        UserError: if the folder is not a run, has no weights, or names a class that is not allowed.
        TypeError: if an override is not a string.
        ValueError: if `weights` is neither "best" nor "last".
    """
    _check_types((), overrides)
    from viewfinder.runs.launcher import own_launcher

    if weights not in ("best", "last"):
        raise ValueError(f"weights must be 'best' or 'last', not {weights!r}")
    with own_launcher():  # before Lightning is imported
        from viewfinder.experiment.load import open_run
        from viewfinder.experiment.python_objects import PythonObjects
        from viewfinder.experiment.trained_run import TrainedRun

        return TrainedRun(open_run(path, overrides, weights, objects=PythonObjects(model, data), tta=tta), weights)


def resume(
    path: str | Path,
    overrides: Sequence[str] = (),
    model: "nn.Module | None" = None,
    data: "ImageData | None" = None,
) -> "TrainedRun":
    """Continue a run that was stopped or killed, as `viewfinder resume`.

    Args:
        path, overrides, model, data: as for `load_run`; trainer.max_epochs=N extends a run.

    Returns:
        The run, with its best weights.

    Raises:
        UserError: if the run is complete or locked, or the overrides or the data make it another experiment.
        TypeError: if an override is not a string.
    """
    _check_types((), overrides)
    from viewfinder.runs.launcher import own_launcher

    with own_launcher():  # before Lightning is imported
        from viewfinder.experiment.failures import format_allow_override
        from viewfinder.experiment.find_run import find_run
        from viewfinder.experiment.python_objects import PythonObjects
        from viewfinder.experiment.resume import resume_experiment

        folder, remaining = find_run(path, overrides)
        run = resume_experiment(folder, remaining, objects=PythonObjects(model, data))
        allowed = format_allow_override(run.read_settings())
    return load_run(run.path, "best", allowed, model, data)


def _check_types(words: Sequence[str], overrides: Sequence[str]) -> None:
    """Raise a TypeError if `overrides` is one string, or if an override is not a string."""
    if isinstance(overrides, str):
        raise TypeError(f"overrides is a list of strings, not one string: overrides=[{overrides!r}]")
    for override in [*words, *overrides]:
        if not isinstance(override, str):
            kind = type(override).__name__
            raise TypeError(
                f"an override is a string such as 'model=mlp', not of type {kind}; a list is overrides=[...]"
            )
