"""Suggestions for override keys that conf/ does not contain, or contains already."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from viewfinder.config.hydra_internals import Override, list_group_options
from viewfinder.errors import Problem, did_you_mean, join_names


def map_keys(config: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    """Map every dotted key, 'trainer' and 'trainer.max_epochs' alike, to its value; leave out keys that are not text.

    Args:
        config: plain values, with interpolations as text.
    """
    keys: dict[str, Any] = {}
    for name, value in config.items():
        if isinstance(name, str):
            keys[f"{prefix}{name}"] = value
            keys |= map_keys(value, f"{prefix}{name}.") if isinstance(value, dict) else {}
    return keys


def describe_existing_key(override: Override) -> Problem:
    """Return the problem with adding a key or group that exists."""
    text = override.input_line or override.key_or_group
    return Problem(text, f"{override.key_or_group} already exists", remedy=f"Remove the +: {text.lstrip('+')}")


def describe_unknown_key(
    override: Override, existing_keys: Collection[str], groups: Sequence[str], cfg: DictConfig
) -> list[Problem]:
    """Return the problem with an override of an unknown key; [] if it may add an argument of a class.

    Args:
        override: an override whose key is unknown, or that adds an existing key.
        existing_keys: every dotted key of the configuration.
        groups: config groups.
        cfg: configuration composed from the choices of groups alone.
    """
    key, text = override.key_or_group, override.input_line or override.key_or_group
    parent, _, name = key.rpartition(".")
    if override.is_add() and key in existing_keys:
        return [describe_existing_key(override)]
    siblings = [other.rpartition(".")[2] for other in existing_keys if other.rpartition(".")[0] == parent]
    suggestion = did_you_mean(name, siblings) if parent in existing_keys or not parent else ""
    node = OmegaConf.select(cfg, parent) if parent in existing_keys else None
    is_open = isinstance(node, DictConfig) and ("_target_" in node or not len(node))
    is_open = is_open or key.startswith("parameter_groups.")  # a new rule, or an argument of any optimizer
    if override.is_add() and is_open and not suggestion:
        return []  # possibly an argument missing from the YAML, checked after its class is imported
    if problem := _describe_absent_choice(text, key, existing_keys):
        return [problem]
    if key.startswith("phases.") and (problems := _describe_phase_key(override, existing_keys)) is not None:
        return problems
    if suggestion:
        rule = suggestion.replace("mean ", f"mean {parent}.") if parent else suggestion
    elif not parent or parent not in existing_keys:
        rule = did_you_mean(key, [*existing_keys, *groups]) or "unknown key or group"
    else:
        rule = "unknown key"
    if parent in existing_keys and siblings:
        remedy = f"Keys of {parent}: {join_names(sibling for sibling in siblings if sibling != '_target_')}."
    elif isinstance(node, DictConfig) and not len(node):
        remedy = f"Add it with a plus: +{text}."
    else:
        remedy = f"Groups: {join_names(groups)}. For all keys, run python train.py --cfg job."
    return [Problem(text, rule, remedy=remedy)]


def _describe_absent_choice(text: str, key: str, existing_keys: Collection[str]) -> Problem | None:
    """Return the problem with the key of a logger or an augmentation that exists, but is not chosen; None otherwise."""
    group, _, rest = key.partition(".")
    name = rest.partition(".")[0]
    title, other = {"logger": ("logger", "tensorboard"), "augment": ("augmentation", "crop")}.get(group, ("", ""))
    if not title or f"{group}.{name}" in existing_keys or name not in list_group_options(group, []):
        return None
    rule = f"belongs to the {title} {name}, which is not chosen"
    return Problem(text, rule, remedy=f"Add {group}={name}, or several as '{group}=[{other},{name}]'.")


def _describe_phase_key(override: Override, existing_keys: Collection[str]) -> list[Problem] | None:
    """Return the problem with an unknown phase, or with a key that the phase's file lacks.

    Returns:
        [] if the override may add the key; None if the phase or the key looks misspelt.
    """
    from viewfinder.config.phases import Phase  # imports pydantic, which most command lines do not need

    _, name, *rest = override.key_or_group.split(".")
    names = [key.removeprefix("phases.") for key in existing_keys if key.startswith("phases.") and key.count(".") == 1]
    text = override.input_line or override.key_or_group
    if name not in names and not did_you_mean(name, names):
        rule = f"unknown phase {name}; phases: {join_names(names) or 'none'}"
        remedy = "Define it in a file of your own, such as conf/phases/mine.yaml, and add phases=mine."
        if not names:
            remedy = "Add phases=fine_tune, or phases=mine with a file of your own, conf/phases/mine.yaml."
        return [Problem(text, rule, remedy=remedy)]
    if name not in names or ".".join(rest) not in {field.name for field in dataclasses.fields(Phase)}:
        return None
    if override.is_add() or override.is_force_add():
        return []
    return [Problem(text, f"is missing from the file of phase {name}", remedy=f"Add it with +{text.lstrip('+')}")]
