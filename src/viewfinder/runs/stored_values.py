"""What a run folder's config.yaml must be to be read again, whoever wrote it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from viewfinder.config.moved import update_targets
from viewfinder.runs.schemas import read_text, wrong

DEEPEST = 50
"""Lists and keys within each other; to read some thousand levels takes hours."""


def read_config(path: Path) -> DictConfig:
    """Read config.yaml as a configuration; see `read_settings`."""
    return OmegaConf.create(read_settings(path))


def read_settings(path: Path) -> dict[str, Any]:
    """Read config.yaml as plain values: resolved, as it was written; nothing in it is imported.

    Raises:
        UserError: if it is no YAML, or holds tags, aliases, interpolations or other values than plain ones.
    """
    text = read_text(path)
    try:
        depth = 0
        for event in yaml.parse(text, yaml.SafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if isinstance(event, yaml.AliasEvent) or depth > DEEPEST:  # a few lines that would take hours to read
                raise wrong(path, f"holds an alias (*name), or lists and keys {DEEPEST} deep")
        cfg = OmegaConf.create(text)
        values = OmegaConf.to_container(cfg, resolve=False)
    except (yaml.YAMLError, OmegaConfBaseException, ValueError, TypeError, AssertionError) as error:
        raise wrong(path, f"is no YAML that Viewfinder writes: {error}") from error
    if not isinstance(cfg, DictConfig) or not isinstance(values, dict):
        raise wrong(path, "must hold keys and values")
    _check_plain(path, "", values)
    check_keys(path, values, {"name": str, "seed": int})
    return update_targets(values)


def check_keys(path: Path, values: Mapping[Any, Any], kinds: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raises UserError if a key is missing, or holds nothing of its kind."""
    for key, kind in kinds.items():
        if not isinstance(values.get(key), kind):
            raise wrong(path, f"{key} is missing, or holds what it cannot")


def _check_plain(path: Path, key: str, value: Any) -> None:
    if isinstance(value, dict):
        for name, child in value.items():
            _check_plain(path, "", name)
            if not isinstance(name, str):
                raise wrong(path, f"{key}: a key must be text, not {name!r}")
            _check_plain(path, f"{key}.{name}".lstrip("."), child)
    elif isinstance(value, list):
        for index, child in enumerate(value):
            _check_plain(path, f"{key}[{index}]", child)
    elif isinstance(value, str):
        if "${" in value:
            raise wrong(path, f"{key}: holds an interpolation, {value}; a run's config.yaml is resolved")
    elif not isinstance(value, bool | int | float | None):
        raise wrong(path, f"{key}: holds a {type(value).__name__}")
