"""Construction of executors from the keys of a launcher."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from viewfinder.config.validate import validate_arguments
from viewfinder.errors import Problem, UserError
from viewfinder.sweeps.executors.protocol import Executor

PACKAGE = "viewfinder.sweeps.executors."
"""Package of the classes that a launcher may name."""


def open_executor(launcher: Mapping[str, Any], folder: Path) -> Executor:
    """Construct the executor that a launcher names.

    Args:
        launcher: `_target_` and keys, as in conf/hydra/launcher/.
        folder: folder of the sweep.

    Raises:
        UserError: if its class is missing, or does not accept the keys, which may be those of a later version.
    """
    arguments = {name: value for name, value in launcher.items() if name != "_target_"}
    if problems := validate_launcher(launcher):
        raise UserError("the launcher", problems)
    try:
        return _import_class(launcher)(folder=folder, **arguments)
    except TypeError as error:
        raise UserError("the launcher", [Problem("hydra.launcher", f"does not fit its executor: {error}")]) from error


def validate_launcher(launcher: Mapping[str, Any]) -> list[Problem]:
    """Validate the keys of a launcher, and return the problems."""
    return validate_arguments("hydra.launcher.", _import_class(launcher), launcher)


def _import_class(launcher: Mapping[str, Any]) -> Any:
    target = str(launcher.get("_target_"))
    module, _, name = target.rpartition(".")
    if not target.startswith(PACKAGE):
        rule, remedy = "is not an executor of Viewfinder", "Choose one with hydra/launcher=NAME."
        raise UserError("the launcher", [Problem("hydra.launcher._target_", rule, target, remedy)])
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UserError("the launcher", [Problem("hydra.launcher._target_", "does not exist", target)]) from error
