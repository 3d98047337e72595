"""In what runs differ: the settings that a comparison is about."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from viewfinder.config.flatten import NO_MATTER

NOT_SETTINGS = ("seed", *NO_MATTER)
"""The seed is averaged over."""
CLASS = "._target_"
PHASES = "phases"


def with_phases(configs: Sequence[dict[str, Any]], typed: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Flat configurations, each with what its phases are called under the key `phases`.

    That is none, or what some run was given to choose phases of these names, or else the names.

    Args:
        typed: the overrides of each.
    """
    names = [tuple(dict.fromkeys(key.split(".")[1] for key in config if _is_of_phases(key))) for config in configs]
    choices: dict[tuple[str, ...], set[str]] = {(): {"none"}}
    for phases, words in zip(names, typed, strict=True):
        chosen = [word.removeprefix("phases=") for word in words if word.startswith("phases=")]
        choices.setdefault(phases, set()).update(chosen[-1:] if phases else [])
    used = Counter(choice for found in choices.values() for choice in found)
    called = {
        phases: next(iter(found)) if len(found) == 1 and used[next(iter(found))] == 1 else ",".join(phases) or "none"
        for phases, found in choices.items()
    }
    return [{**config, PHASES: called[phases]} for config, phases in zip(configs, names, strict=True)]


def _is_of_phases(key: str) -> bool:
    return key.startswith(f"{PHASES}.")


def differing(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each flat configuration, the keys in which it differs from some other, with its values.

    Within a group, arguments are compared only among runs that share the class; or of phases, what they are called.
    """
    differences: list[dict[str, Any]] = [{} for _ in configs]
    for key in sorted({key for config in configs for key in config}):
        if key in NOT_SETTINGS:
            continue
        group = PHASES if _is_of_phases(key) else f"{key.partition('.')[0]}{CLASS}"
        values: dict[str, set[str]] = {}
        for config in configs:
            peers = "" if key == group else str(config.get(group))
            values.setdefault(peers, set()).add(repr(config.get(key)))
        for config, difference in zip(configs, differences, strict=True):
            peers = "" if key == group else str(config.get(group))
            if key in config and len(values[peers]) > 1:
                difference[key] = config[key]
    return differences


def describe(configs: Sequence[dict[str, Any]]) -> list[str]:
    """For each configuration, that in which it differs from some other: 'AdamW lr=0.001'; else its network."""
    differences = differing(configs)
    names = short_names({key for each in differences for key in each})
    classes = {str(value) for each in differences for key, value in each.items() if key.endswith(CLASS)}
    shared = Counter(written(each, CLASS) for each in classes)

    def said(key: str, value: Any) -> str:
        if not key.endswith(CLASS):
            return f"{names[key]}={written(value, key)}"
        return written(value, key) if shared[written(value, key)] == 1 else str(value)

    return [
        " ".join(said(key, value) for key, value in each.items()) or written(config.get(f"model{CLASS}", ""), CLASS)
        for each, config in zip(differences, configs, strict=True)
    ]


def short_names(keys: set[str]) -> dict[str, str]:
    """Each key without its group, where no other ends in the same word.

    A class's is its group's name alone; a phase's has the name of the phase, whose `lr` is not the optimizer's.
    """
    ends = Counter(key.rpartition(".")[2] for key in keys if not _is_of_phases(key))

    def short(key: str) -> str:
        if key.endswith(CLASS):
            return key.removesuffix(CLASS)
        if _is_of_phases(key):
            return key.removeprefix(f"{PHASES}.")
        end = key.rpartition(".")[2]
        return end if ends[end] == 1 else key

    return {key: short(key) for key in keys}


def written(value: Any, key: str = "") -> str:
    """A value as one types it: null, true, [1,2]; a class by its name."""
    if key.endswith(CLASS):
        return str(value).rpartition(".")[2]
    if isinstance(value, str) and _is_text(value):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _is_text(value: str) -> bool:
    """Whether it would be read back as it stands, and not as a number, say."""
    try:
        return yaml.safe_load(value) == value
    except yaml.YAMLError:
        return False


def is_number(value: Any) -> bool:
    """Whether it can stand on an axis."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
