"""What each group of a configuration needs."""

import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from viewfinder.data.module import ImageData
from viewfinder.training.schedulers import Schedule

OURS = "viewfinder"
KNOWN = (OURS, "torch", "torchvision", "torchmetrics", "pytorch_lightning")
"""Packages whose classes a person's own configuration may name unasked, where they are of the kind that is needed."""
TRUSTED = tuple(name for name in KNOWN if name != "torchmetrics")
"""Those that anybody's may: torchmetrics has networks and metrics that download weights when they are built."""


class Kind(NamedTuple):
    """What a place needs, in words and as a question to a class."""

    said: str
    fits: Callable[[type], bool]
    homes: tuple[str, ...]
    """The package's own modules, with those below them, that hold such classes; its others make and do other things."""
    by_function: type | None = None
    """Where not only a class that fits will do: what a function says that it returns."""


def _is_module(found: type) -> bool:
    return issubclass(found, nn.Module)


def _is_source(found: type) -> bool:
    return issubclass(found, ImageData) and found is not ImageData


def _augments(found: type) -> bool:
    """Whether its objects take (pixels, generator); of other packages' classes only modules are known to do no more."""
    home = found.__module__.partition(".")[0]
    if home in KNOWN and home != OURS and not _is_module(found):
        return False
    called = found.forward if issubclass(found, nn.Module) else None
    called = called or next((vars(base)["__call__"] for base in found.__mro__ if "__call__" in vars(base)), None)
    try:
        inspect.signature(typing.cast(Any, called)).bind(None, "pixels", "generator")
    except (TypeError, ValueError):
        return False
    return True


def _is_any(found: type) -> bool:
    return any(kind.fits(found) for place, kind in KINDS.items() if place)


MODELS, LOSSES, DATA, TRAINER = (
    (f"{OURS}.models",),
    (f"{OURS}.training.losses",),
    (f"{OURS}.data",),
    (f"{OURS}.training.trainer",),
)
OPTIMIZERS, SCHEDULERS = (
    (f"{OURS}.training.optimizers",),
    (f"{OURS}.training.schedulers",),
)  # no optimizers yet: torch has them
KINDS = {
    "model": Kind("a torch.nn.Module", _is_module, MODELS),
    "loss": Kind("a torch.nn.Module", _is_module, LOSSES),
    "optimizer": Kind("a torch.optim.Optimizer", lambda found: issubclass(found, Optimizer), OPTIMIZERS),
    "scheduler": Kind(
        "a torch.optim.lr_scheduler.LRScheduler or a viewfinder.training.schedulers.Schedule",
        lambda found: issubclass(found, LRScheduler), SCHEDULERS, Schedule,
    ),
    "data": Kind("a kind of viewfinder.data.module.ImageData", _is_source, DATA),
    "augment": Kind("callable with (pixels, generator)", _augments, DATA),
    # Lightning's own class would write logs and checkpoints wherever its arguments say.
    "trainer": Kind("a function that gives a pytorch_lightning.Trainer", lambda _: False, TRAINER, pl.Trainer),
    "": Kind(
        "a module, an optimizer, a scheduler, a source of pictures or an augmentation",
        _is_any, MODELS + LOSSES + OPTIMIZERS + SCHEDULERS + DATA,
    ),
}  # fmt: skip
"""Group -> what it needs; "" for nodes within the arguments of another."""
