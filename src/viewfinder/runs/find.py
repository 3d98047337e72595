"""Search for run folders below a folder."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from viewfinder.errors import Problem, UserError
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import RUN_FILE, SWEEP_FILE


def find_runs(path: Path) -> list[RunFolder]:
    """Return the run folders at or below a path, sorted by name, without jobs that were removed from their sweep.

    Raises:
        UserError: if there are none.
    """
    removed = {run for file in Path(path).rglob(SWEEP_FILE) for run in _list_removed_jobs(file)}
    runs = [RunFolder(file.parent) for file in Path(path).rglob(RUN_FILE) if file.parent not in removed]
    if not runs:
        remedy = "Pass a run folder, a sweep folder, or a folder that contains some, such as outputs/."
        rule = "contains no run" if Path(path).exists() else "does not exist"
        raise UserError("the run folder", [Problem("RUN", rule, str(path), remedy)])
    return sorted(runs, key=lambda run: [(len(part), part) for part in run.path.parts])


def open_run_folder(path: Path) -> RunFolder:
    """Return an existing run folder; FOLDER/latest is the run in or below FOLDER that was written last.

    Raises:
        UserError: if `path` is not a run folder.
    """
    if path.name == "latest" and path.parent.is_dir() and not path.exists():
        return find_latest(find_runs(path.parent))
    return RunFolder.open(path)


def find_latest(runs: Sequence[RunFolder]) -> RunFolder:
    """Return the run whose run.json was written last."""
    return max(runs, key=lambda run: run.run.stat().st_mtime)


def _list_removed_jobs(sweep: Path) -> list[Path]:
    """Return the folders of jobs that were removed from the sweep of a sweep.json; [] if the file is invalid."""
    from viewfinder.runs.read import read_validated_json
    from viewfinder.runs.schemas import Sweep

    with contextlib.suppress(UserError):
        return [sweep.parent / job["folder"] for job in read_validated_json(sweep, Sweep)["earlier"]]
    return []
