"""Components of an experiment: the class that each group of a configuration requires."""

import inspect
import typing
from collections.abc import Callable
from typing import Any, NamedTuple

import pytorch_lightning as pl
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

PACKAGE = "viewfinder"
KNOWN_PACKAGES = (PACKAGE, "torch", "torchvision", "torchmetrics", "pytorch_lightning")
"""Packages whose classes a user's own configuration may name."""
TRUSTED_PACKAGES = tuple(name for name in KNOWN_PACKAGES if name != "torchmetrics")
"""Packages whose classes any run folder's configuration may name; torchmetrics has classes that download weights."""

IMAGE_DATA = f"{PACKAGE}.data.module.ImageData"
SCHEDULE = f"{PACKAGE}.training.schedulers.Schedule"
AVERAGING = f"{PACKAGE}.training.averaging.Averaging"
LOOKAHEAD = f"{PACKAGE}.training.lookahead.Lookahead"
VIEWS = f"{PACKAGE}.models.tta.AveragedViews"


def _accept_no_class(cls: type) -> bool:
    return False


class ComponentSpec(NamedTuple):
    """Requirement that a node's `_target_` must meet.

    Args:
        description: the requirement in words, for errors.
        accepts_class: tells whether a class meets the requirement.
        modules: modules of Viewfinder, each with its submodules, that contain such classes.
        accepts_return_type: whether a function may return a type that `accepts_class` rejects, by its annotation.
    """

    description: str
    accepts_class: Callable[[type], bool]
    modules: tuple[str, ...]
    accepts_return_type: Callable[[type], bool] = _accept_no_class

    def accepts_function(self, returned: Any) -> bool:
        """Return whether a function with this return annotation satisfies the requirement."""
        return inspect.isclass(returned) and (self.accepts_return_type(returned) or self.accepts_class(returned))


def is_subclass(cls: type, base: str) -> bool:
    """Return whether a class is the class at a dotted path, or a subclass of it.

    The base is named by its path, because this module cannot import classes of higher layers.
    """
    return any(f"{parent.__module__}.{parent.__qualname__}" == base for parent in cls.__mro__)


def _is_module(cls: type) -> bool:
    return issubclass(cls, nn.Module)


def _is_data(cls: type) -> bool:
    return any(is_subclass(base, IMAGE_DATA) for base in cls.__bases__)  # ImageData itself is abstract


def _is_augmentation(cls: type) -> bool:
    """Return whether instances accept (pixels, generator) or have `augment_batch`, which accepts (batch, context).

    Classes of trusted packages must be modules.
    """
    package = cls.__module__.partition(".")[0]
    if package in KNOWN_PACKAGES and package != PACKAGE and not _is_module(cls):
        return False
    method = getattr(cls, "augment_batch", None) or (cls.forward if issubclass(cls, nn.Module) else None)
    method = method or next((vars(base)["__call__"] for base in cls.__mro__ if "__call__" in vars(base)), None)
    try:
        inspect.signature(typing.cast(Any, method)).bind(None, "pixels", "generator")
    except (TypeError, ValueError):
        return False
    return True


def _is_views(cls: type) -> bool:
    return is_subclass(cls, VIEWS)


def _is_any_component(cls: type) -> bool:
    return any(spec.accepts_class(cls) for group, spec in COMPONENTS.items() if group)


MODELS = (f"{PACKAGE}.models",)
LOSSES = (f"{PACKAGE}.training.losses",)
OPTIMIZERS = (f"{PACKAGE}.training.optimizers",)
SCHEDULERS = (f"{PACKAGE}.training.schedulers",)
DATA = (f"{PACKAGE}.data",)
TRAINERS = (f"{PACKAGE}.training.trainer",)

COMPONENTS = {
    "model": ComponentSpec("a torch.nn.Module", _is_module, MODELS),
    "loss": ComponentSpec("a torch.nn.Module", _is_module, LOSSES),
    "optimizer": ComponentSpec("a torch.optim.Optimizer", lambda cls: issubclass(cls, Optimizer), OPTIMIZERS),
    "scheduler": ComponentSpec(
        f"a torch.optim.lr_scheduler.LRScheduler or a {SCHEDULE}",
        lambda cls: issubclass(cls, LRScheduler), SCHEDULERS, lambda cls: is_subclass(cls, SCHEDULE),
    ),
    "averaging": ComponentSpec(
        f"a subclass of {AVERAGING}", lambda cls: any(is_subclass(base, AVERAGING) for base in cls.__bases__),
        (f"{PACKAGE}.training.averaging",),
    ),
    "lookahead": ComponentSpec(
        f"a {LOOKAHEAD}", lambda cls: is_subclass(cls, LOOKAHEAD), (f"{PACKAGE}.training.lookahead",)
    ),
    "data": ComponentSpec(f"a subclass of {IMAGE_DATA}", _is_data, DATA),
    "augment": ComponentSpec("callable with (pixels, generator)", _is_augmentation, DATA),
    "tta": ComponentSpec(f"{VIEWS} or a subclass", _is_views, MODELS),
    # pytorch_lightning.Trainer itself could write logs and checkpoints to any path.
    "trainer": ComponentSpec(
        "a function that returns a pytorch_lightning.Trainer", _accept_no_class, TRAINERS, lambda cls: cls is pl.Trainer
    ),
    "": ComponentSpec(
        "a module, an optimizer, a scheduler, a data source or an augmentation",
        _is_any_component, MODELS + LOSSES + OPTIMIZERS + SCHEDULERS + DATA,
    ),
}  # fmt: skip
"""Requirement of each group; "" for nodes within the arguments of another."""
