"""Tables for the terminal."""

import math
import sys
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from viewfinder.errors import printable

NAMES = ("accuracy", "f1", "precision", "recall", "loss")
EXPLAINED = """\
Accuracy and macro F1 in percent, mean and standard deviation over the seeds. val,
test and test F1 are those of the epoch with the best validation accuracy, of which
epoch is the mean; last is the test accuracy of the last epoch's weights."""
UNBROKEN = 10_000
"""Columns of a line that goes to a file."""


def console() -> Console:
    """Standard output: as wide as the terminal, and with no line broken in a file or a pipe."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else UNBROKEN)


def score_table(scores: Mapping[str, Any], title: str) -> Table:
    """A split's scores over all classes, then a row a class."""
    table = Table(title=printable(title), title_justify="left", box=None, pad_edge=False)
    for column in ("", "pictures", *NAMES):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("all", f"{scores['pictures']:,}", *(f"{scores[name]:.4f}" for name in NAMES), end_section=True)
    for name, values in scores["per_class"].items():
        cells = (f"{values[column]:.4f}" if column in values else "" for column in NAMES)
        table.add_row(printable(name), f"{values['pictures']:,}", *cells)
    return table


def print_comparison(summary: pd.DataFrame, markdown: bool) -> None:
    """A row a setting, in percent: accuracy on val and test and F1 on test at the best epoch, test at the last.

    Where the terminal is too narrow for the settings, they are numbered, and said below the table.
    """
    terminal = console()
    table = _comparison(summary, markdown)
    settings = []
    if not markdown and widest(table) > terminal.width:
        settings = list(summary["setting"])
        table = _comparison(summary.assign(setting=range(1, len(summary) + 1)), markdown)
    terminal.print(table)
    for number, setting in enumerate(settings, 1):
        terminal.print(f"{number}  {printable(setting)}", soft_wrap=True)


def widest(table: Table) -> int:
    """Columns of the terminal that a table takes where there is room."""
    endless = Console(width=UNBROKEN)
    return endless.measure(table).maximum


def _comparison(summary: pd.DataFrame, markdown: bool) -> Table:
    table = Table(box=box.MARKDOWN if markdown else None, pad_edge=markdown)
    table.add_column("setting", overflow="fold")
    columns = {"best_val": "val", "best_test": "test", "best_f1": "test F1", "last_test": "last"}
    for column in ("seeds", "epoch", *columns.values()):
        table.add_column(column, justify="right", no_wrap=True)
    for row in summary.to_dict("records"):
        cells = [spread(row[f"{name}_mean"], row[f"{name}_std"]) for name in columns]
        table.add_row(printable(str(row["setting"])), str(row["seeds"]), mean_epoch(row["best_epoch"]), *cells)
    return table


def spread(mean: float, deviation: float) -> str:
    """'61.20 ±0.31' of shares 0.6120 and 0.0031, or the mean alone where there is one seed."""
    return f"{100 * mean:.2f}" if math.isnan(deviation) else f"{100 * mean:.2f} ±{100 * deviation:.2f}"


def mean_epoch(mean: float) -> str:
    """'7.5', and '8' for 8.0."""
    return f"{mean:.1f}".removesuffix(".0")
