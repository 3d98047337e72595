"""Terminal output of a verification: each recorded accuracy, the range of another run, and that of this run."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from viewfinder.config.record import Record
from viewfinder.errors import join_names, printable
from viewfinder.evaluation.agreement import LEVEL, Compared, Verdict
from viewfinder.reporting.tables import format_duration, format_spread, print_wrapped

LEGEND = f"""\
Accuracy in percent. A run like the recorded ones lies in all of its ranges with
a probability of {LEVEL:.0%}: prediction intervals by Student's t for the recorded mean,
standard deviation and number of seeds, corrected for several accuracies."""


def print_record(console: Console, experiment: str, record: Record, changes: Sequence[str]) -> None:
    """Print what was recorded, and the overrides that differ from it."""
    seeds = f"seeds {join_names(map(str, record.seeds))}" if len(record.seeds) > 1 else f"seed {record.seeds[0]}"
    facts = [f"{record.date}", record.machine, record.data, seeds, record.time]
    print_wrapped(console, printable(f"record   {experiment}: {join_names(fact for fact in facts if fact)}"))
    if record.note:
        print_wrapped(console, printable(f"note     {record.note}"))
    if changes:
        print_wrapped(console, printable(f"changed  {join_names(changes)}: accuracies may differ from the record"))


def print_verified(
    console: Console, overrides: Sequence[str], facts: tuple[str, float, str], compared: Sequence[Compared], note: str
) -> None:
    """Print a run and the table of its accuracies.

    Args:
        overrides: overrides of the run.
        facts: folder, seconds and precision of the run.
        compared: its accuracies.
        note: why they cannot be compared, or ''.
    """
    folder, seconds, precision = facts
    console.print()
    print_wrapped(console, printable(f"run      {' '.join(overrides)}"))
    print_wrapped(console, printable(f"         {folder}, {precision}, {format_duration(seconds)}"))
    if compared:
        console.print()
        console.print(_tabulate(compared))
    if note:
        console.print()
        print_wrapped(console, printable(note), indent="")


def print_verdict(console: Console, experiment: str, verdict: Verdict, has_ranges: bool) -> None:
    """Print the legend and the verdict on all runs."""
    if has_ranges:
        console.print(f"\n{LEGEND}", style="dim", soft_wrap=True)
    sentences: dict[Verdict, str] = {
        "agrees": f"{experiment} agrees with its record.",
        "disagrees": f"{experiment} disagrees with its record.",
        "cannot tell": f"Cannot tell whether {experiment} agrees with its record: nothing could be compared.",
    }
    console.print()
    print_wrapped(console, printable(sentences[verdict]), indent="")


def _tabulate(compared: Sequence[Compared]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("accuracy")
    for column in ("recorded", "range", "here"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("verdict")
    for each in compared:
        mean, deviation, _ = each.recorded
        recorded = format_spread(mean, float("nan") if deviation is None else deviation)
        interval = "" if each.interval is None else f"{100 * each.interval[0]:.2f} to {100 * each.interval[1]:.2f}"
        value = "" if each.value is None else f"{100 * each.value:.2f}"
        reason = ": no spread recorded" if each.interval is None and each.value is not None else ""
        table.add_row(each.name, recorded, interval, value, f"{each.verdict}{reason}")
    return table
