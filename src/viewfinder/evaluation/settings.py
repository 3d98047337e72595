"""Settings in which runs differ, as a comparison names them."""

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from viewfinder.config.flatten import ADDED_KEYS, is_neutral

CLASS = "._target_"
PHASES = "phases"


def name_phases(configs: Sequence[dict[str, Any]], overrides: Sequence[Sequence[str]]) -> list[dict[str, Any]]:
    """Return flat configurations with a name for their phases under the key `phases`.

    The name is "none", the option of the group `phases` that some run chose, or the names of the phases.

    Args:
        configs: flat configurations.
        overrides: overrides of each run.
    """
    names = [tuple(dict.fromkeys(key.split(".")[1] for key in config if _is_phase_key(key))) for config in configs]
    options: dict[tuple[str, ...], set[str]] = {(): {"none"}}
    for phases, run_overrides in zip(names, overrides, strict=True):
        chosen = [override.removeprefix("phases=") for override in run_overrides if override.startswith("phases=")]
        options.setdefault(phases, set()).update(chosen[-1:] if phases else [])
    counts = Counter(option for group in options.values() for option in group)
    labels = {
        phases: next(iter(group)) if len(group) == 1 and counts[next(iter(group))] == 1 else ",".join(phases) or "none"
        for phases, group in options.items()
    }
    return [{**config, PHASES: labels[phases]} for config, phases in zip(configs, names, strict=True)]


def is_setting(key: str) -> bool:
    """Return whether a dotted key tells settings apart; scores are averaged over the seed and the fold."""
    return key not in ("seed", "data.fold") and not is_neutral(key)


def _is_phase_key(key: str) -> bool:
    return key.startswith(f"{PHASES}.")


def find_differences(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """List, for each flat configuration, its values of the keys that differ between configurations.

    Within a group, arguments are compared only among runs with the same class, or with the same name of phases.
    """
    differences: list[dict[str, Any]] = [{} for _ in configs]
    for key in sorted({key for config in configs for key in config}):
        if not is_setting(key):
            continue
        group = PHASES if _is_phase_key(key) else f"{key.partition('.')[0]}{CLASS}"
        values: dict[str, set[str]] = {}
        for config in configs:
            peers = "" if key == group else str(config.get(group))
            values.setdefault(peers, set()).add(repr(config.get(key, ADDED_KEYS.get(key))))
        for config, difference in zip(configs, differences, strict=True):
            peers = "" if key == group else str(config.get(group))
            if key in config and len(values[peers]) > 1:
                difference[key] = config[key]
    return differences


def describe_settings(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Name each flat configuration by its differences, such as 'AdamW lr=0.001', or else by its network."""
    differences = find_differences(configs)
    names = shorten_keys({key for difference in differences for key in difference})
    classes = {str(value) for difference in differences for key, value in difference.items() if key.endswith(CLASS)}
    counts = Counter(format_value(path, CLASS) for path in classes)

    def describe(key: str, value: Any) -> str:
        if not key.endswith(CLASS):
            return f"{names[key]}={format_value(value, key)}"
        name = format_value(value, key)
        return name if counts[name] == 1 else str(value)

    return [
        " ".join(describe(key, value) for key, value in difference.items())
        or format_value(config.get(f"model{CLASS}", ""), CLASS)
        for difference, config in zip(differences, configs, strict=True)
    ]


def shorten_keys(keys: set[str]) -> dict[str, str]:
    """Map each key to its last word if no other key ends in it, else to itself.

    The key of a class becomes its group. The key of a phase keeps the phase's name: its `lr` is not the optimizer's.
    """
    counts = Counter(key.rpartition(".")[2] for key in keys if not _is_phase_key(key))

    def shorten(key: str) -> str:
        if key.endswith(CLASS):
            return key.removesuffix(CLASS)
        if _is_phase_key(key):
            return key.removeprefix(f"{PHASES}.")
        last = key.rpartition(".")[2]
        return last if counts[last] == 1 else key

    return {key: shorten(key) for key in keys}


def format_value(value: Any, key: str = "") -> str:
    """Format a value as on the command line: null, true, [1,2]; a class by its name."""
    if key.endswith(CLASS):
        return str(value).rpartition(".")[2]
    if isinstance(value, str) and _is_plain_text(value):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _is_plain_text(value: str) -> bool:
    """Return whether YAML reads the unquoted text back as the same string, and not as a number, for example."""
    try:
        return yaml.safe_load(value) == value
    except yaml.YAMLError:
        return False


def is_number(value: Any) -> bool:
    """Return whether a value can be drawn on a numeric axis."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
