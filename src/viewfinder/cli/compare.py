"""`viewfinder compare`: runs side by side, with mean and standard deviation over seeds and folds."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from viewfinder.cli.output_file import check_output_file, write_output

if TYPE_CHECKING:
    from rich.console import Console

    from viewfinder.evaluation.comparison import BestSetting


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN-OR-SWEEP...", help="Run folders, or folders above them.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=check_output_file, help="Write one row per run to this file."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=check_output_file, help="Write verdict, table and learning curves to this page."
        ),
    ] = None,
    out_of_fold: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=check_output_file, help="Write the test predictions of all folds to this file."
        ),
    ] = None,
) -> None:
    """Compare runs; runs that differ only in their seed or fold share a row, with mean and standard deviation.

    Below the table: the lead of the best setting over the next with its 95% interval, a verdict on the test images,
    the keys in which the two differ, and the command that repeats the best.
    """
    from viewfinder.errors import printable
    from viewfinder.evaluation.comparison import (
        describe_best,
        list_repeats,
        read_runs,
        require_finished,
        summarise_settings,
    )
    from viewfinder.evaluation.out_of_fold import collect_out_of_fold, describe_pooled
    from viewfinder.reporting.tables import make_legend, open_console, print_comparison, print_wrapped
    from viewfinder.runs.find import find_runs

    compared = read_runs([run for path in runs for run in find_runs(path)])
    require_finished(compared)
    predictions = collect_out_of_fold(compared) if out_of_fold is not None else None
    table, summary = compared.table, summarise_settings(compared.table)
    console = open_console()
    print_comparison(summary, markdown)
    console.print(f"\n{make_legend(summary)}", style="dim", soft_wrap=True)
    if repeats := int(table.duplicated(["setting", *list_repeats(table)]).sum()):
        same = " and ".join(["setting", *list_repeats(table)])
        console.print(f"{repeats} of {len(table)} runs repeat the {same} of another; the last of them counts.")
    for note in compared.notes:
        print_wrapped(console, printable(note), indent="")
    for path, reason in compared.skipped:
        print_wrapped(console, printable(f"left out: {path}: {reason}"), indent="  ")
    if not markdown or page is not None:
        best = describe_best(compared, summary)
        if not markdown:
            _print_best(console, best)
        if page is not None:
            from viewfinder.reporting.pages.comparison import render_comparison  # imports Matplotlib

            write_output(page, render_comparison(compared, summary, best))
    if out_of_fold is not None and predictions is not None:
        console.print()
        print_wrapped(console, describe_pooled(predictions), indent="  ")
        write_output(out_of_fold, predictions.to_csv(index=False))
    if csv is not None:
        write_output(csv, table.to_csv(index=False))


def _print_best(console: "Console", best: "BestSetting") -> None:
    """Print the lead of the best setting, the verdict, the differing keys and the command."""
    from viewfinder.errors import printable
    from viewfinder.reporting.tables import build_difference_table, print_wrapped

    for number, line in enumerate(best.lead):
        if number == 0:
            console.print()
        print_wrapped(console, printable(line), indent=8 * " " if number else "")
    if best.verdict is not None:
        console.print()
        for sentence in (best.verdict.sentence, *best.verdict.details):
            if sentence:
                print_wrapped(console, printable(sentence), indent="  ")
    if best.differences:
        console.print()
        console.print(build_difference_table(best.differences))
    if best.command:
        console.print(f"\nRepeat the best setting:\n  {best.command}", soft_wrap=True)
