"""The runs below a folder."""

import contextlib
from collections.abc import Sequence
from pathlib import Path

from viewfinder.errors import Problem, UserError
from viewfinder.runs.folder import FACTS, SWEEP, RunFolder


def find_runs(path: Path) -> list[RunFolder]:
    """The run folders at or below a path, by name; without those that have left their sweep.

    Raises:
        UserError: if there is none.
    """
    left = {run for file in Path(path).rglob(SWEEP) for run in _earlier(file)}
    runs = [RunFolder(file.parent) for file in Path(path).rglob(FACTS) if file.parent not in left]
    if not runs:
        remedy = "Give a run folder, a sweep's folder, or a folder above some, such as outputs/."
        rule = "holds no run" if Path(path).exists() else "does not exist"
        raise UserError("the run folder", [Problem("RUN", rule, str(path), remedy)])
    return sorted(runs, key=lambda run: [(len(part), part) for part in run.path.parts])


def latest(runs: Sequence[RunFolder]) -> RunFolder:
    """The one whose run.json was written last."""
    return max(runs, key=lambda run: run.run.stat().st_mtime)


def _earlier(sweep: Path) -> list[Path]:
    """Folders of jobs that have left the sweep of a sweep.json; none where it is something else of that name."""
    from viewfinder.runs.schemas import Sweep, read_kept

    with contextlib.suppress(UserError):
        return [sweep.parent / job["folder"] for job in read_kept(sweep, Sweep)["earlier"]]
    return []
