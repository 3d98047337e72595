"""Search for the run folders that a path names."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

from viewfinder.errors import Problem, UserError
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import RUN_FILE, SWEEP_FILE

LATEST = Path("latest")
OUTPUT_DIR = "outputs"
"""Value of output_dir in conf/config.yaml."""


def find_runs(path: Path) -> list[RunFolder]:
    """Return the run folders at or below a path, sorted by name, without jobs that were removed from their sweep.

    Args:
        path: a folder, or a run as `open_run_folder` takes it.

    Raises:
        UserError: if there are none.
    """
    path = expand_home(path)
    if path.name == LATEST.name and not path.exists():
        return [open_run_folder(path)]
    removed = {run for file in path.rglob(SWEEP_FILE) for run in _list_removed_jobs(file)}
    runs = [RunFolder(file.parent) for file in path.rglob(RUN_FILE) if file.parent not in removed]
    if not runs:
        remedy = "Pass a run folder, a sweep folder, or a folder that contains some, such as outputs/."
        rule = "contains no run" if path.exists() else "does not exist"
        raise UserError("the run folder", [Problem("RUN", rule, str(path), remedy)])
    return sorted(runs, key=lambda run: [(len(part), part) for part in run.path.parts])


def open_run_folder(path: str | Path, output_dir: str = OUTPUT_DIR) -> RunFolder:
    """Return the run that a path names.

    Args:
        path: a run folder; FOLDER/latest for the run in or below FOLDER that was written last; or latest for the last
            run below `output_dir` or, without a folder of that name, below the working folder.

    Raises:
        UserError: if there is no such run.
    """
    path = expand_home(Path(path))
    if path.exists() or path.name != LATEST.name:
        return RunFolder.open(path)
    if path != LATEST:
        return find_latest(find_runs(path.parent))
    is_default = output_dir == OUTPUT_DIR and not Path(output_dir).exists()
    try:
        return find_latest(find_runs(Path() if is_default else Path(output_dir)))
    except UserError as error:
        rule = f"no run found below {output_dir.rstrip('/')}/ in this folder"
        remedy = "Pass a run folder, or the folder of its runs as output_dir=PATH."
        raise UserError("the run folder", [Problem("RUN", rule, str(path), remedy)]) from error


def find_latest(runs: Sequence[RunFolder]) -> RunFolder:
    """Return the run whose run.json was written last."""
    return max(runs, key=lambda run: run.run.stat().st_mtime)


def expand_home(path: Path) -> Path:
    """Return a path with ~ at its beginning replaced by the home folder; a path that exists stays as it is."""
    return path if path.exists() else Path(os.path.expanduser(path))  # noqa: PTH111 pathlib raises for unknown users


def _list_removed_jobs(sweep: Path) -> list[Path]:
    """Return the folders of jobs that were removed from the sweep of a sweep.json; [] if the file is invalid."""
    from viewfinder.runs.read import read_validated_json
    from viewfinder.runs.schemas.sweep import Sweep

    with contextlib.suppress(UserError):
        return [sweep.parent / job["folder"] for job in read_validated_json(sweep, Sweep)["earlier"]]
    return []
