"""Import paths of earlier versions, in stored configurations and in users' own modules."""

import importlib
import importlib.abc
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


def current_target(target: str) -> str:
    """Return the present dotted path of a class, given its path in this or an earlier version."""
    module, _, name = target.rpartition(".")
    return f"{MOVED[module]}.{name}" if module in MOVED else target


def update_targets(value: Any) -> Any:
    """Return a copy of a configuration's plain values with every `_target_` at its present path."""
    if isinstance(value, dict):
        moved = {key: update_targets(inner) for key, inner in value.items()}
        target = moved.get("_target_")
        return {**moved, "_target_": current_target(target)} if isinstance(target, str) else moved
    return [update_targets(inner) for inner in value] if isinstance(value, list) else value


class MovedModules(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Import a moved module under its earlier name."""

    def find_spec(
        self, fullname: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        return importlib.machinery.ModuleSpec(fullname, self) if fullname in MOVED else None

    def exec_module(self, module: ModuleType) -> None:
        # The import system takes what stands here once the module is executed.
        sys.modules[module.__name__] = importlib.import_module(MOVED[module.__name__])
