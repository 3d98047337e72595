"""Recognition of folders that Viewfinder wrote, by the contents of their files."""

import json
from pathlib import Path

from viewfinder.runs.naming import CONFIG_FILE, RANGE_TEST_FILE, RUN_FILE, SEARCH_FILE, SWEEP_FILE

OUTPUT_KEYS = {
    RUN_FILE: {"status"},
    RANGE_TEST_FILE: {"proposal", "planned"},
    SWEEP_FILE: {"jobs", "earlier"},
    SEARCH_FILE: {"space", "fixed"},
}
"""File -> keys that every version of Viewfinder writes to it; other programs have files of these names, too."""
BESIDE_CONFIG = (RUN_FILE, RANGE_TEST_FILE)
"""Files beside which there is always a config.yaml."""


def is_output_folder(folder: Path) -> bool:
    """Return whether Viewfinder wrote a folder: a run, a range test, a sweep or a search."""
    return any(
        _has_keys(folder / name, keys) and (name not in BESIDE_CONFIG or (folder / CONFIG_FILE).is_file())
        for name, keys in OUTPUT_KEYS.items()
    )


def _has_keys(path: Path, keys: set[str]) -> bool:
    """Return whether a file contains a JSON object with these keys."""
    try:
        content = json.loads(path.read_bytes()) if path.is_file() else None
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and keys <= content.keys()
