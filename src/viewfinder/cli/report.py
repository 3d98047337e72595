"""`viewfinder report`: new reports of existing runs and sweeps."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.errors import printable


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN-OR-SWEEP...", help="Run folders, or folders above them.")],
) -> None:
    """Rewrite report.html and its charts from the files of each run folder, and the report of each sweep.

    Exits with 2 if no run has scores, or a file of a run is invalid.
    """
    from viewfinder.errors import Problem, UserError
    from viewfinder.reporting.pages.run import write_report
    from viewfinder.reporting.pages.sweep import rewrite_sweep_report
    from viewfinder.runs.find import expand_home, find_runs
    from viewfinder.runs.naming import RUN_FILE, SWEEP_FILE

    runs = [expand_home(path) for path in runs]
    sweeps = [path for path in runs if (path / SWEEP_FILE).is_file()]
    # A sweep has a report even if none of its jobs has a run folder.
    folders = [run for path in runs if path not in sweeps or any(path.rglob(RUN_FILE)) for run in find_runs(path)]
    problems: list[Problem] = []
    for run in folders:
        try:
            if run.scores.is_file():
                write_report(run)
                print(printable(str(run.report)))
            else:
                print(printable(f"left out: {run.path}: {run.status}, without scores"))
        except UserError as error:
            problems += error.problems
    for path in sweeps:
        try:
            print(printable(str(rewrite_sweep_report(path))))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError("the run folders", problems)
    if not any(run.scores.is_file() for run in folders):
        raise typer.Exit(2)
