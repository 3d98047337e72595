"""Run that a command or a call names."""

from collections.abc import Sequence
from pathlib import Path

from viewfinder.config.overrides import read_path
from viewfinder.runs.find import LATEST, open_run_folder
from viewfinder.runs.folder import RunFolder


def find_run(path: str | Path, overrides: Sequence[str] = ()) -> tuple[RunFolder, list[str]]:
    """Return a run, and the overrides that are for its configuration.

    Args:
        path: as for `open_run_folder`. For `latest`, the override output_dir=PATH names the folder to search.
        overrides: key=value.

    Raises:
        UserError: if there is no such run.
    """
    is_latest = Path(path) == LATEST
    output_dirs = [override for override in overrides if is_latest and override.startswith("output_dir=")]
    remaining = [override for override in overrides if override not in output_dirs]
    return open_run_folder(path, *map(read_path, output_dirs[-1:])), remaining
