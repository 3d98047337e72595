"""Validation of a whole configuration before anything is created."""

import inspect
import math
from collections.abc import Mapping
from typing import Any

import torch
from omegaconf import DictConfig
from torch import nn

from viewfinder.config.augmentations import try_augmentations, validate_augmentations
from viewfinder.config.instantiate import STAGE, instantiate, validate_node
from viewfinder.config.loggers import try_trackers, validate_loggers
from viewfinder.config.parameter_groups import optimizer_arguments, read_rules, validate_parameter_groups
from viewfinder.config.phases import validate_phase_epochs, validate_phases
from viewfinder.config.trust import TrustPolicy, parse_allow, validate_allow
from viewfinder.config.validate import Text, Whole, validate_arguments
from viewfinder.config.yaml_text import to_settings
from viewfinder.errors import Problem, UserError, format_exception

SUPPLIED_ARGUMENTS: dict[str, frozenset[str]] = {
    "model": frozenset({"channels", "classes", "load_weights"}),
    "data": frozenset(),
    "augment": frozenset(),
    "tta": frozenset(),
    "optimizer": frozenset({"params"}),
    "scheduler": frozenset({"optimizer", "total_steps"}),
    "averaging": frozenset(),
    "lookahead": frozenset(),
    "trainer": frozenset({"callbacks"}),
    "loss": frozenset({"counts"}),
}
"""Arguments, by group, that the code passes to the group's class and no YAML file contains."""
OPTIONAL_GROUPS = {"augment", "tta", "scheduler", "averaging", "lookahead"}
TRIAL_RATE = 0.1
"""Learning rate for schedules of an optimizer without a valid `lr`."""
TRIAL_STEPS = 1_000_000
"""Steps of a training for which schedules are tried; the real number is not known yet."""


def top_level(
    seed: Whole, name: Text, output_dir: Text, run_dir: Text | None, allow: Text | list[Text] | None = None
) -> None:
    """Declare the types of the keys outside all groups."""


def check_config(cfg: DictConfig, policy: TrustPolicy | None = None) -> None:
    """Compare all arguments with the signatures of their classes, and construct everything that is cheap.

    Args:
        cfg: the configuration; all its problems are reported at once.
        policy: classes it may name; by default the user's own files and the packages in its key `allow`.

    Raises:
        UserError: if the configuration is invalid.
    """
    settings = to_settings(cfg)
    problems = validate_arguments("", top_level, settings)
    names = () if problems else parse_allow(settings.get("allow"))
    problems += validate_allow(names)
    is_new, policy = policy is None, policy or TrustPolicy(names, own_files=True)
    for group, supplied in SUPPLIED_ARGUMENTS.items():
        node = settings.get(group)
        if not node and group not in OPTIONAL_GROUPS:
            problems.append(
                Problem(
                    group, "is required but missing", remedy=f"Choose one: {group}=NAME; conf/{group}/ has the names."
                )
            )
            continue
        if group == "augment":
            problems += validate_augmentations(node, policy.import_trusted) or try_augmentations(node)
            continue
        invalid = validate_node(group, node, supplied, policy.import_trusted)
        problems += invalid or _try_constructor(settings, group)
    if "logger" in settings:
        invalid = validate_loggers(settings["logger"])
        # Without its tracker, an earlier run is scored and trained on; the tracker gets the rest later.
        problems += invalid or (try_trackers(settings) if is_new else [])
    if not problems:
        phases = settings.get("phases")
        problems += validate_phases(phases) or validate_phase_epochs(phases, settings["trainer"].get("max_epochs"))
        groups = settings.get("parameter_groups")
        problems += validate_parameter_groups(
            groups, settings["optimizer"], bool(phases), lambda target, _: policy.import_trusted(target, "optimizer")
        ) or _try_rules(groups, settings["optimizer"])
    if problems:
        raise UserError(STAGE, problems)


def _try_constructor(settings: Mapping[str, Any], group: str) -> list[Problem]:
    """Try a group's constructor and return its problems; skip networks, losses and, with phases, the schedule.

    The skipped objects cannot be constructed without the data.
    """
    if group in ("model", "loss") or not settings.get(group) or (group == "scheduler" and settings.get("phases")):
        return []
    optimizer = settings.get("optimizer")
    lr = optimizer.get("lr") if isinstance(optimizer, dict) else None
    try:
        component = try_learning_rate(
            settings[group], group, lr if isinstance(lr, int | float) and 0 < lr < math.inf else TRIAL_RATE
        )
    except UserError as error:
        return error.problems
    return _try_step(component, settings[group]) if group == "optimizer" else []


def _try_rules(groups: Mapping[str, Any] | None, optimizer: Mapping[str, Any]) -> list[Problem]:
    """Try the optimizer of each valid rule of parameter groups with its arguments; return the problems."""
    problems = []
    for name, rule in read_rules(groups).items():
        key = f"parameter_groups.{name}" + ".optimizer" * ("optimizer" in rule)
        node = {**(rule.get("optimizer") or optimizer), **optimizer_arguments(rule)}
        try:
            component = instantiate(node, key, params=[nn.Parameter(torch.zeros(2, 2))])
            problems += _try_step(component, node, key)
        except UserError as error:
            problems += error.problems
    return problems


def _try_step(optimizer: torch.optim.Optimizer, node: Mapping[str, Any], key: str = "optimizer") -> list[Problem]:
    """Return why an optimizer cannot step as the training loop asks it to: without a closure, by dense gradients."""
    if node.get("capturable"):  # requires parameters on a GPU
        return []
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    step = inspect.unwrap(type(optimizer).step)  # without hooks that count the steps of a training run
    try:
        with torch.no_grad():
            step(optimizer)  # type: ignore[call-arg]
    except Exception as error:
        rule = f"cannot be used: its step fails: {format_exception(error)}"
        if "closure" in str(error):
            rule = "cannot be used: its step needs a closure, but training calls it once per batch, without one"
        return [Problem(f"{key}._target_", rule, str(node["_target_"]), "For example optimizer=adam.")]
    return []


def try_learning_rate(node: Mapping[str, Any], group: str, lr: float) -> Any:
    """Construct a group's object once, to check its arguments; a schedule gets an optimizer of one parameter.

    Args:
        node: `_target_` and arguments.
        group: group of the node.
        lr: learning rate of the optimizer that a schedule gets.

    Returns:
        The object.

    Raises:
        UserError: if the constructor rejects its arguments or the learning rate.
    """
    parameter = nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr)
    return instantiate(node, group, params=[parameter], optimizer=optimizer, total_steps=TRIAL_STEPS)
