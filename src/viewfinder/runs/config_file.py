"""Reading and validation of a run's config.yaml, which may be from an untrusted folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from viewfinder.config.moved import update_targets
from viewfinder.config.yaml_text import parse_settings
from viewfinder.runs.read import make_file_error, read_text


def read_settings(path: Path) -> dict[str, Any]:
    """Read config.yaml as plain values, with every class at its present path; nothing in it is imported.

    Raises:
        UserError: if the file is invalid.
    """
    text = read_text(path)
    try:
        settings = parse_settings(text)
    except ValueError as error:
        raise make_file_error(path, str(error)) from error
    check_types(path, settings, {"name": str, "seed": int})
    return update_targets(settings)


def check_types(path: Path, values: Mapping[Any, Any], types: Mapping[str, type | tuple[type, ...]]) -> None:
    """Raise UserError if a key of a file is missing, or its value has the wrong type."""
    for key, expected in types.items():
        if not isinstance(values.get(key), expected):
            raise make_file_error(path, f"{key} is missing or invalid")
