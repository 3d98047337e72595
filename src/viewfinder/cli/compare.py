"""`viewfinder compare`: runs side by side, with mean and standard deviation over seeds and folds."""

from pathlib import Path
from typing import Annotated

import typer

from viewfinder.cli.output_file import check_output_file, write_output


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN-OR-SWEEP...", help="Run folders, or folders above them.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    csv: Annotated[
        Path | None,
        typer.Option(metavar="FILE", callback=check_output_file, help="Write one row per run to this file."),
    ] = None,
    out_of_fold: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", callback=check_output_file, help="Write the test predictions of all folds to this file."
        ),
    ] = None,
) -> None:
    """Compare runs; runs that differ only in their seed or fold share a row, with mean and standard deviation.

    Below the table: the lead of the best setting over the next, seed by seed, with its 95% interval, and the command
    that repeats it.
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
    if not markdown:
        best = describe_best(compared, summary)
        for number, line in enumerate(best.lead):
            console.print(printable(line) if number else f"\n{printable(line)}")
        if best.command:
            console.print(f"\nRepeat the best setting:\n  {best.command}", soft_wrap=True)
    if out_of_fold is not None and predictions is not None:
        console.print()
        print_wrapped(console, describe_pooled(predictions), indent="  ")
        write_output(out_of_fold, predictions.to_csv(index=False))
    if csv is not None:
        write_output(csv, table.to_csv(index=False))
