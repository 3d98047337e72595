"""Loggers in a configuration: the group `logger` and its validation."""

import re
from collections.abc import Mapping
from typing import Any

from viewfinder.config.instantiate import import_target, instantiate, iterate_nodes, validate_node
from viewfinder.config.validate import format_value
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

TENSORBOARD = "viewfinder.reporting.tensorboard.writer.TensorBoard"
TRACKERS = ("viewfinder.reporting.trackers.mlflow.MLflow", "viewfinder.reporting.trackers.wandb.Wandb")
NAME = r"[a-z][a-z0-9_]*"
"""Names of loggers, which are part of the names of files."""
EXAMPLE = "For example logger=tensorboard, 'logger=[tensorboard,mlflow]' or logger=none."


def has_tensorboard(settings: Mapping[str, Any]) -> bool:
    """Return whether a run writes TensorBoard events, as every run did before there was the group `logger`."""
    return "logger" not in settings or TENSORBOARD in map(_read_target, settings["logger"].values())


def list_trackers(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Map the name of each tracker of a run, such as mlflow, to its node; the group `logger` is valid."""
    return {name: node for name, node in settings.get("logger", {}).items() if _read_target(node) != TENSORBOARD}


def validate_loggers(loggers: Any) -> list[Problem]:
    """Validate the group `logger`; return the problems.

    Args:
        loggers: maps the name of each logger to its node.
    """
    if not isinstance(loggers, dict) or "_target_" in loggers:
        return [Problem("logger", "must map names to loggers", format_value(loggers), EXAMPLE)]
    problems: list[Problem] = []
    for name, node in loggers.items():
        key, target = f"logger.{name}", _read_target(node)
        if not re.fullmatch(NAME, str(name)):
            problems.append(Problem(key, "must consist of lower-case letters, digits and _", remedy=EXAMPLE))
        elif target not in (TENSORBOARD, *TRACKERS):
            names = (TENSORBOARD, *TRACKERS)
            rule = f"is not a logger of Viewfinder. {did_you_mean(str(target), names)}".strip()
            problems.append(Problem(f"{key}._target_", rule, format_value(target), f"Choices: {join_names(names)}."))
        elif target == TENSORBOARD:  # whose import takes seconds
            rule = "is not an argument of TensorBoard, which has none"
            problems += [Problem(f"{key}.{extra}", rule, remedy="Remove it.") for extra in node if extra != "_target_"]
        elif nested := _find_calls(key, node):
            rule = "is not a plain value, as an argument of a logger must be"
            problems += [Problem(each, rule, remedy="Remove it.") for each in nested]
        else:
            problems += validate_node(key, node, set(), lambda name, _: import_target(name))
    return problems


def try_trackers(settings: Mapping[str, Any]) -> list[Problem]:
    """Construct each tracker of valid settings; return the problems, such as a package that is not installed."""
    problems: list[Problem] = []
    for name, node in list_trackers(settings).items():
        try:
            instantiate(node, f"logger.{name}")
        except UserError as error:
            problems += error.problems
    return problems


def _find_calls(key: str, node: Mapping[str, Any]) -> list[str]:
    """Return the keys of a tracker's node that could call something else: nested nodes, and Hydra's own arguments."""
    nested = [inner for inner, _ in iterate_nodes(key, node) if inner != key]
    return nested + [f"{key}.{name}" for name in node if str(name).startswith("_") and name != "_target_"]


def _read_target(node: Any) -> Any:
    return node.get("_target_") if isinstance(node, dict) else None
