"""Terminal table of accuracy and cost, and its CSV file."""

import math
import textwrap
from typing import Any

from rich.console import Console
from rich.table import Table

from viewfinder.errors import printable
from viewfinder.evaluation.frontier import SPLIT_NAMES, Frontier
from viewfinder.reporting.tables import format_count, format_spread, measure_width, print_wrapped

LEGEND = """\
{split} accuracy at the best epoch in percent, and seconds and multiply-adds of the whole training: mean and standard
deviation over {repeats}. Multiply-adds are 3 times the forward pass for each training image of each epoch. The
frontier: no other setting is at least as accurate for fewer seconds (s) or multiply-adds (x)."""
WIDTH = 78


def print_frontier(console: Console, frontier: Frontier) -> None:
    """Print a row for each setting, the highest accuracy first, and the notes.

    On a narrow terminal the settings are numbered and listed below the table.
    """
    names = [printable(str(name)) for name in frontier.settings["setting"]]
    table = _tabulate(frontier, names)
    is_numbered = measure_width(table) > console.width
    console.print(_tabulate(frontier, [str(number + 1) for number in range(len(names))]) if is_numbered else table)
    for number, name in enumerate(names if is_numbered else [], 1):
        console.print(f"{number}  {name}", soft_wrap=True)
    console.print(f"\n{describe_columns(frontier)}", style="dim", soft_wrap=True)
    for note in frontier.notes:
        print_wrapped(console, printable(note), indent="  ")


def describe_columns(frontier: Frontier) -> str:
    """Return the text below a table."""
    repeats = "seeds and folds" if "folds" in frontier.settings else "seeds"
    text = LEGEND.format(split=SPLIT_NAMES[frontier.split].capitalize(), repeats=repeats)
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def format_row(row: dict[Any, Any]) -> list[str]:
    """Format accuracy, seconds and multiply-adds of a setting, and the frontiers that it is on."""
    marks = [mark for mark, cost in (("s", "seconds"), ("x", "multiply_adds")) if row[f"on_{cost}_frontier"]]
    return [
        format_spread(row["accuracy_mean"], row["accuracy_std"]),
        _format_seconds(row["seconds_mean"], row["seconds_std"]),
        format_count(row["multiply_adds_mean"]),
        " ".join(marks),
    ]


def _format_seconds(mean: float, deviation: float) -> str:
    if math.isnan(mean):
        return ""
    digits = 0 if mean >= 100 else 1
    return f"{mean:.{digits}f}" if math.isnan(deviation) else f"{mean:.{digits}f} ±{deviation:.{digits}f}"


def _tabulate(frontier: Frontier, labels: list[str]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("setting", overflow="fold")
    repeats = [name for name in ("seeds", "folds") if name in frontier.settings]
    for column in (*repeats, frontier.split, "seconds", "multiply-adds", "frontier"):
        table.add_column(column, justify="right", no_wrap=True)
    for label, row in zip(labels, frontier.settings.to_dict("records"), strict=True):
        table.add_row(label, *(str(row[name]) for name in repeats), *format_row(row))
    return table
