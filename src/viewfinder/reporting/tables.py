"""Tables printed on the terminal."""

import math
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from viewfinder.errors import printable

LEGEND = """\
Accuracy and macro F1 in percent, mean and standard deviation over seeds. val, test
and test F1 are scores of the epoch with the best validation accuracy; epoch is its
mean. last is the test accuracy of the last epoch."""
FOLD_LEGEND = """\
Accuracy and macro F1 in percent, mean and standard deviation over seeds and
folds. val, test and test F1 are scores of the epoch with the best validation
accuracy; epoch is its mean. last is the test accuracy of the last epoch."""
SCORE_NAMES = ("accuracy", "f1", "precision", "recall", "loss")
RANKING_NAMES = {
    "top3": "top-3 accuracy", "top5": "top-5 accuracy", "auroc": "AUROC", "average_precision": "average precision",
    "calibration_error": "calibration error",
}  # fmt: skip
"""Labels of the scores in scores.json that need probabilities."""
MIN_WIDTH = 20
"""Least width for wrapped lines, in columns, even if the terminal is narrower."""
UNLIMITED_WIDTH = 10_000
"""Columns of output to a file or a pipe."""


def open_console() -> Console:
    """Return a console on standard output; lines are wrapped on a terminal, but not in a file or a pipe."""
    return Console(highlight=False, markup=False, emoji=False, width=None if sys.stdout.isatty() else UNLIMITED_WIDTH)


def print_wrapped(console: Console, text: str, indent: str = 9 * " ") -> None:
    """Print a line, wrapped between words to the width of a terminal.

    Args:
        indent: beginning of the lines after the first.
    """
    width = max(console.width, MIN_WIDTH)
    lines = textwrap.wrap(text, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    print("\n".join(lines), file=console.file)


def build_score_table(scores: Mapping[str, Any]) -> Table:
    """Tabulate the scores of a split over all classes."""
    table = Table(box=None, pad_edge=False)
    for column in ("images", *SCORE_NAMES):
        table.add_column(column, justify="right")
    table.add_row(f"{scores['pictures']:,}", *(f"{scores[name]:.4f}" for name in SCORE_NAMES))
    return table


def make_legend(summary: pd.DataFrame) -> str:
    """Return the text below a table of settings."""
    return FOLD_LEGEND if "folds" in summary else LEGEND


def print_comparison(summary: pd.DataFrame, markdown: bool) -> None:
    """Print a row for each setting with its scores in percent.

    On a narrow terminal the settings are numbered and listed below the table.
    """
    terminal = open_console()
    table = _build_comparison(summary, markdown)
    settings = []
    if not markdown and measure_width(table) > terminal.width:
        settings = list(summary["setting"])
        table = _build_comparison(summary.assign(setting=range(1, len(summary) + 1)), markdown)
    terminal.print(table)
    for number, setting in enumerate(settings, 1):
        terminal.print(f"{number}  {printable(setting)}", soft_wrap=True)


def measure_width(table: Table) -> int:
    """Return the width in characters that a table needs so that no cell is wrapped."""
    console = Console(width=UNLIMITED_WIDTH, height=1)  # without a height, Rich ignores the width on a dumb terminal
    return console.measure(table).maximum


def _build_comparison(summary: pd.DataFrame, markdown: bool) -> Table:
    table = Table(box=box.MARKDOWN if markdown else None, pad_edge=markdown)
    table.add_column("setting", overflow="fold")
    columns = {"best_val": "val", "best_test": "test", "best_f1": "test F1", "last_test": "last"}
    repeats = [name for name in ("seeds", "folds") if name in summary]
    for column in (*repeats, "epoch", *columns.values()):
        table.add_column(column, justify="right", no_wrap=True)
    for row in summary.to_dict("records"):
        cells = [*(str(row[name]) for name in repeats), format_epoch(row["best_epoch"])]
        cells += [format_spread(row[f"{name}_mean"], row[f"{name}_std"]) for name in columns]
        table.add_row(printable(str(row["setting"])), *cells)
    return table


def build_difference_table(differences: Sequence[tuple[str, str, str]]) -> Table:
    """Tabulate the keys in which the best setting and the next differ."""
    table = Table(box=None, pad_edge=False)
    for column in ("differing key", "best", "next"):
        table.add_column(column, overflow="fold")
    for cells in differences:
        table.add_row(*map(printable, cells))
    return table


def format_spread(mean: float, deviation: float) -> str:
    """Format shares such as 0.6120 and 0.0031 as '61.20 ±0.31', without the deviation for a single seed."""
    return f"{100 * mean:.2f}" if math.isnan(deviation) else f"{100 * mean:.2f} ±{100 * deviation:.2f}"


def format_duration(seconds: float) -> str:
    """Format a duration in the largest unit that fits into it twice: '2.5 minutes', but '90 seconds'."""
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    if seconds < 0.1:
        return "less than 0.1 seconds"
    return f"{seconds:.0f} seconds" if seconds >= 10 else f"{seconds:.1f} seconds"


def format_epoch(mean: float) -> str:
    """Format a mean epoch: 7.5, but 8 for 8.0."""
    return f"{mean:.1f}".removesuffix(".0")


def format_count(value: float) -> str:
    """Format a count in three digits, such as 26.6k and 1.73M; '' for NaN."""
    if math.isnan(value):
        return ""
    for size, letter in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= 0.9995 * size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"
