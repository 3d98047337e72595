"""`viewfinder report`: make a run's page again, or a sweep's."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.errors import printable


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN-OR-SWEEP...", help="Run folders, or folders above some.")],
) -> None:
    """Write report.html and its charts again, from the run folder's own files; of a sweep its own page too.

    Exits with 2 where no run has scores, or a file of one is not as Viewfinder writes it.
    """
    from viewfinder.errors import Problem, UserError
    from viewfinder.reporting.pages.run import write_report
    from viewfinder.reporting.pages.sweep import rewrite_sweep_report
    from viewfinder.runs.find import find_runs
    from viewfinder.runs.folder import FACTS, SWEEP

    sweeps = [path for path in runs if (path / SWEEP).is_file()]
    # A sweep has a page also where none of its jobs came to a run folder.
    found = [run for path in runs if path not in sweeps or any(path.rglob(FACTS)) for run in find_runs(path)]
    problems: list[Problem] = []
    for run in found:
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
    if not any(run.scores.is_file() for run in found):
        raise typer.Exit(2)
