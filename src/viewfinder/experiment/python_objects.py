"""Networks and data modules that Python code constructs, in place of the configuration's."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf
from torch import nn

from viewfinder.data.module import ImageData
from viewfinder.errors import Problem, UserError

STAND_INS = {
    "model": "viewfinder.models.python_object.python_object",
    "data": "viewfinder.data.sources.python_object.PythonObject",
}


class PythonObjects(NamedTuple):
    """Objects that replace those of a configuration; None for what the configuration constructs."""

    model: nn.Module | None = None
    """network, with an attribute `preprocess`"""
    data: ImageData | None = None


def record_objects(cfg: DictConfig, objects: PythonObjects, overrides: Sequence[str]) -> None:
    """Put a stand-in for each object into a configuration, and name the run after the network.

    Args:
        cfg: a composed configuration; it is changed.
        objects: the objects.
        overrides: overrides from which it was composed.

    Raises:
        UserError: if an override sets what an object replaces, or an object has the wrong type.
    """
    problems = []
    for group, value, required in (("model", objects.model, nn.Module), ("data", objects.data, ImageData)):
        if value is None:
            continue
        name = type(value).__name__
        if not isinstance(value, required):
            rule = f"must be a {required.__module__}.{required.__qualname__}"
            problems.append(Problem(group, rule, name, f"Pass an object of that class as {group}=."))
            continue
        for override in overrides:
            if override.lstrip("+~").startswith((f"{group}=", f"{group}.")):
                rule = f"has no effect, because {group} is passed as a Python object"
                problems.append(Problem(override, rule, remedy="Remove it, and set the object's own arguments."))
        node = {"_target_": STAND_INS[group], "object_class": name}
        if isinstance(value, ImageData):
            node |= {f.name: getattr(value, f.name) for f in dataclasses.fields(ImageData) if f.init}
        OmegaConf.update(cfg, group, node, merge=False)
    if problems:
        raise UserError("the arguments", problems)
    if objects.model is not None and not any(override.startswith("name=") for override in overrides):
        cfg.name = type(objects.model).__name__
