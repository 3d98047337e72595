"""Paths in a configuration: as typed, with ~ for a home folder, and relative to the folder where a run was started."""

import os
from collections.abc import Sequence
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from viewfinder.config.hydra_internals import parse_override, quote
from viewfinder.errors import Problem, UserError

DATA_KEYS = ("data.root", "data.path")
"""Keys of the place of the data."""
INPUT_KEYS = (*DATA_KEYS, "model.weights")
"""Keys of files and folders that a run reads."""
PATH_KEYS = ("output_dir", "run_dir", *INPUT_KEYS)
GRAMMAR = "[]{}(),='\"$\\"
"""Characters with a meaning in the value of an override."""


def quote_texts(overrides: Sequence[str]) -> list[str]:
    """Return overrides with quotes around every value that is text, but that Hydra's grammar does not read as text.

    Such values are paths like 2024, ~/runs, /data/grün or /data/set #1, and other words with letters outside ASCII.
    """
    return [_quote_text(override) for override in overrides]


def _quote_text(override: str) -> str:
    key, equals, value = override.partition("=")
    if not equals or not key.lstrip("+") or key.startswith("~") or not value or "${" in value:
        return override
    is_path = key in PATH_KEYS and value[0] not in "'\"[{"
    try:
        parsed = parse_override(override)
    except HydraException:
        is_text = "," not in value if is_path else not set(value).intersection(GRAMMAR)
    else:
        is_text = is_path and not parsed.is_sweep_override() and _is_read_differently(parsed.value(), value)
    return f"{key}={quote(value)}" if is_text else override


def _is_read_differently(parsed: object, value: str) -> bool:
    """Return whether Hydra reads a path as a number or without its outer spaces."""
    return parsed is not None and (not isinstance(parsed, str) or ("\\" not in value and parsed != value))


def expand_paths(cfg: DictConfig) -> None:
    """Replace ~ at the beginning of the paths of a resolved configuration, in place.

    Raises:
        UserError: if the home folder is unknown.
    """
    for key in PATH_KEYS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and value.startswith("~"):
            OmegaConf.update(cfg, key, expand_home(key, value))


def expand_home(key: str, path: str) -> str:
    """Replace ~ at the beginning of a path.

    Args:
        key: key of the path, for the error.
        path: the path.

    Raises:
        UserError: if the home folder is unknown.
    """
    expanded = os.path.expanduser(path)  # noqa: PTH111 pathlib would drop a trailing slash and ./
    if expanded.startswith("~"):
        rule, remedy = "names a home folder that is unknown", f"For a folder of this name, write ./{path}."
        raise UserError("the configuration", [Problem(key, rule, path, remedy)])
    return expanded


def find_started_paths(cfg: DictConfig, folder: str | None, typed_keys: Sequence[str]) -> None:
    """Look for the relative paths of an earlier run also where it was started; change those found there alone.

    Args:
        cfg: configuration of the run, changed in place.
        folder: folder where the run was started; None if unknown.
        typed_keys: keys given on the command line, which are relative to the present working folder.
    """
    for key in INPUT_KEYS:
        value = OmegaConf.select(cfg, key)
        if folder is None or key in typed_keys or not isinstance(value, str) or os.path.lexists(value):
            continue
        if os.path.lexists(path := Path(folder) / value):
            OmegaConf.update(cfg, key, str(path))
