"""`viewfinder frontier`: accuracy of runs against the cost of their training."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.output_file import check_output_file, write_output


class ScoredSplit(StrEnum):
    """Splits with an accuracy in scores.json."""

    val = "val"
    test = "test"


def frontier(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN-OR-SWEEP...", help="Run folders, or folders above them.")],
    split: Annotated[ScoredSplit, typer.Option(help="Split of the accuracy.")] = ScoredSplit.val,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=check_output_file, help="Write one row per setting to this file."),
    ] = None,
    chart: Annotated[
        Path | None, typer.Option(metavar="FILE", callback=check_output_file, help="Write the chart to this PNG file.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=check_output_file, help="Write chart and table to this page."),
    ] = None,
) -> None:
    """Show the accuracy of runs against the seconds and the multiply-adds of their training.

    Runs that differ only in their seed or fold share a row, with mean and standard deviation. Settings that no other
    beats in both accuracy and cost are marked: they are the Pareto frontier.
    """
    from viewfinder.evaluation.frontier import read_frontier
    from viewfinder.reporting.frontier import print_frontier
    from viewfinder.reporting.tables import open_console
    from viewfinder.runs.find import find_runs

    found = list({run.path: run for path in runs for run in find_runs(path)}.values())
    result = read_frontier(found, split.value)
    print_frontier(open_console(), result)
    if csv is not None:
        write_output(csv, result.settings.to_csv(index=False))
    if chart is not None:
        from viewfinder.reporting.charts.files import save_figure
        from viewfinder.reporting.charts.frontier import draw_frontier

        save_figure(draw_frontier(result), chart)
    if page is not None:
        from viewfinder.reporting.pages.frontier import render_frontier
        from viewfinder.runs.provenance import read_command

        write_output(page, render_frontier(result, ", ".join(map(str, runs)), read_command()))
