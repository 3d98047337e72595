"""Terminal tables of robustness."""

from rich.console import Console
from rich.table import Table

from viewfinder.errors import printable
from viewfinder.evaluation.robustness import Measured, list_corruptions
from viewfinder.reporting.tables import format_count, format_spread, measure_width, print_wrapped

LEGEND = """\
Test accuracy in percent, mean and standard deviation over seeds. relative is
the mean relative accuracy: over corruptions, the mean over their strengths of
the accuracy divided by that of the original images. The accuracy under a
corruption is the mean over its strengths. Multiply-adds are of one image,
seconds of training."""
COSTS = {"parameters": "parameters", "multiply_adds": "multiply-adds", "epoch_seconds": "seconds an epoch"}
SCORES = ("accuracy", "corrupted", "relative")
MAX_SETTINGS = 6
"""Settings in the table of corruptions; robustness.csv has all of them."""


def print_robustness(console: Console, measured: Measured) -> None:
    """Print a table of the settings, a table of their accuracy under each corruption and their costs, and the notes.

    On a narrow terminal the settings are numbered and listed between the tables.
    """
    names = list(measured.summary.settings["setting"])
    numbers = [str(number) for number in range(1, len(names) + 1)]
    is_numbered = any(
        measure_width(table) > console.width
        for table in (_tabulate_settings(measured, names), _tabulate_corruptions(measured, names))
    )
    labels = numbers if is_numbered else names
    console.print(_tabulate_settings(measured, labels))
    if is_numbered:
        for number, name in zip(numbers, names, strict=True):
            console.print(f"{number}  {printable(name)}", soft_wrap=True)
    console.print()
    console.print(_tabulate_corruptions(measured, labels))
    console.print(f"\n{LEGEND}", style="dim", soft_wrap=True)
    for note in measured.notes:
        print_wrapped(console, printable(note), indent="  ")


def _tabulate_settings(measured: Measured, labels: list[str]) -> Table:
    settings = measured.summary.settings
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", overflow="fold")
    repeats = [name for name in ("seeds", "folds") if name in settings]
    for column in (*repeats, "original", "corrupted", "relative"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, row in zip(labels, settings.to_dict("records"), strict=True):
        counts = (str(row[name]) for name in repeats)
        spreads = (format_spread(row[f"{score}_mean"], row[f"{score}_std"]) for score in SCORES)
        table.add_row(printable(label), *counts, *spreads)
    return table


def _tabulate_corruptions(measured: Measured, labels: list[str]) -> Table:
    corruptions, costs = measured.summary.corruptions, measured.costs
    table = Table(box=None, pad_edge=False)
    table.add_column("accuracy under")
    shown = list(measured.summary.settings["setting"][:MAX_SETTINGS])
    for label in labels[:MAX_SETTINGS]:
        table.add_column(printable(label), justify="right", no_wrap=True)
    spreads = {
        (row["corruption"], row["setting"]): format_spread(row["accuracy_mean"], row["accuracy_std"])
        for row in corruptions.to_dict("records")
    }
    for name, corruption in list_corruptions(corruptions).items():
        table.add_row(corruption.title, *(spreads[name, setting] for setting in shown))
    table.add_section()
    for column, title in COSTS.items():
        table.add_row(title, *(format_count(costs.loc[setting, column]) for setting in shown))
    return table
