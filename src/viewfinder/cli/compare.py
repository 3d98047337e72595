"""`viewfinder compare`: runs side by side, with mean and spread over seeds."""

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN-OR-SWEEP...", help="Run folders, or folders above some.")],
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = False,
    csv: Annotated[Path | None, typer.Option(metavar="FILE", help="Write a row a run there.")] = None,
) -> None:
    """Runs that differ in nothing but their seed become one row: mean and standard deviation over the seeds.

    Then the best setting's lead over the next, seed by seed, with its 95% interval, and the command that repeats it.
    """
    from viewfinder.errors import printable
    from viewfinder.evaluation.comparison import describe_best, read_runs, require_finished, summarise_settings
    from viewfinder.reporting.tables import LEGEND, open_console, print_comparison
    from viewfinder.runs.atomic import replace_text
    from viewfinder.runs.find import find_runs

    folders = [run for path in runs for run in find_runs(path)]
    compared = read_runs(folders)
    require_finished(compared)
    table, summary = compared.table, summarise_settings(compared.table)
    terminal = open_console()
    print_comparison(summary, markdown)
    terminal.print(f"\n{LEGEND}", style="dim", soft_wrap=True)
    if again := int(table.duplicated(["setting", "seed"]).sum()):
        terminal.print(f"{again} of {len(table)} runs repeat another's setting and seed: of those the last counts.")
    for note in compared.notes:
        terminal.print(printable(note), soft_wrap=True)
    for path, reason in compared.skipped:
        terminal.print(printable(f"left out: {path}: {reason}"), soft_wrap=True)
    if not markdown:
        best = describe_best(compared, summary)
        for number, line in enumerate(best.lead):
            terminal.print(printable(line) if number else f"\n{printable(line)}")
        if best.command:
            terminal.print(f"\nRepeat the best setting:\n  {best.command}", soft_wrap=True)
    if csv is not None:
        replace_text(csv, table.to_csv(index=False))
