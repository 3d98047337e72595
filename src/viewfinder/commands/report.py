"""`viewfinder report`: make a run's page again."""

from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN-OR-SWEEP...", help="Run folders, or folders above some.")],
) -> None:
    """Write report.html and its charts again, from the run folder's own files.

    Exits with 2 where no run has scores.
    """
    from viewfinder.report.page import write_report
    from viewfinder.run_folder import find_runs

    found = [run for path in runs for run in find_runs(path)]
    for run in found:
        if run.scores.is_file():
            write_report(run)
            print(run.report)
        else:
            print(f"left out: {run.path}: {run.read_run().get('status')}, without scores")
    if not any(run.scores.is_file() for run in found):
        raise typer.Exit(2)
