"""Tables for the terminal."""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd
from rich import box
from rich.table import Table

NAMES = ("accuracy", "f1", "precision", "recall", "loss")


def score_table(scores: Mapping[str, Any], title: str) -> Table:
    """A split's scores over all classes, then a row a class."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for column in ("", "pictures", *NAMES):
        table.add_column(column, justify="right" if column else "left")
    table.add_row("all", f"{scores['pictures']:,}", *(f"{scores[name]:.4f}" for name in NAMES), end_section=True)
    for name, values in scores["per_class"].items():
        cells = (f"{values[column]:.4f}" if column in values else "" for column in NAMES)
        table.add_row(name, f"{values['pictures']:,}", *cells)
    return table


def comparison_table(summary: pd.DataFrame, markdown: bool) -> Table:
    """A row a setting: accuracy on validation and test at the best epoch, test F1 there, and test at the last epoch."""
    style = box.MARKDOWN if markdown else None
    table = Table(box=style, pad_edge=markdown)
    table.add_column("setting", overflow="fold")
    columns = {"best_val": "val", "best_test": "test", "best_f1": "test F1", "last_test": "test, last"}
    for column in ("seeds", "best epoch", *columns.values()):
        table.add_column(column, justify="right")
    for row in summary.to_dict("records"):
        cells = [spread(row[f"{name}_mean"], row[f"{name}_std"]) for name in columns]
        epoch = f"{row['best_epoch']:.1f}".removesuffix(".0")
        table.add_row(str(row["setting"]), str(row["seeds"]), epoch, *cells)
    return table


def spread(mean: float, deviation: float) -> str:
    """'0.6120 ± 0.0031', or the mean alone where there is one seed."""
    return f"{mean:.4f}" if math.isnan(deviation) else f"{mean:.4f} ± {deviation:.4f}"
