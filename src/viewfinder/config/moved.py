"""Import paths of earlier versions, in stored configurations and in users' own modules."""

import copy
import importlib
import importlib.abc
import importlib.machinery
import sys
from types import ModuleType
from typing import Any

MOVED = {
    "viewfinder.data.cifar10": "viewfinder.data.sources.cifar10",
    "viewfinder.data.digits": "viewfinder.data.sources.digits",
    "viewfinder.data.image_data": "viewfinder.data.module",
    "viewfinder.data.image_folder": "viewfinder.data.sources.image_folder",
    "viewfinder.loss": "viewfinder.training.losses",
    "viewfinder.preprocess": "viewfinder.data.preprocess",
    "viewfinder.schedulers": "viewfinder.training.schedulers",
    "viewfinder.seeds": "viewfinder.data.seeding",
    "viewfinder.trainer": "viewfinder.training.trainer",
}
MOVED_CLASSES: dict[str, tuple[str, dict[str, Any]]] = {
    "viewfinder.models.resnet50.ResNet50": (
        "viewfinder.models.pretrained.Pretrained",
        {"variant": "resnet50", "hidden": [], "preprocess": "resize", "image_size": 224, "cache_features": True},
    ),
}
"""Replaced classes -> the present class, and the arguments that give it the earlier behaviour."""
ADDED_ARGUMENTS: dict[str, dict[str, Any]] = {
    "viewfinder.models.custom_cnn.CustomCNN": {
        "kernel_size": 3,
        "padding": "same",
        "pooling": "max",
        "batch_norm": True,
    },
}
"""Classes -> arguments that configurations of earlier versions lack, and their values there."""


def current_target(target: str) -> str:
    """Return the present dotted path of a class, given its path in this or an earlier version."""
    if target in MOVED_CLASSES:
        return MOVED_CLASSES[target][0]
    module, _, name = target.rpartition(".")
    return f"{MOVED[module]}.{name}" if module in MOVED else target


def update_targets(value: Any) -> Any:
    """Return a copy of a configuration's plain values with every `_target_` at its present path.

    For a class in MOVED_CLASSES or ADDED_ARGUMENTS, listed arguments that its node lacks are added.
    """
    if isinstance(value, list):
        return [update_targets(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    node = {key: update_targets(inner) for key, inner in value.items()}
    target = node.get("_target_")
    if not isinstance(target, str):
        return node
    if target in MOVED_CLASSES:
        node = {**copy.deepcopy(MOVED_CLASSES[target][1]), **node}
    present = current_target(target)
    return {**ADDED_ARGUMENTS.get(present, {}), **node, "_target_": present}


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import a moved module under its earlier name."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        # The import system returns this entry of sys.modules.
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])
