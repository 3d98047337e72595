"""Output of `viewfinder evaluate`: scores, confused classes, confident mistakes and calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table

from viewfinder.errors import printable
from viewfinder.evaluation.calibration import BINS, measure_reliability, scale_probabilities
from viewfinder.evaluation.confusion import compute_class_intervals, find_most_confused
from viewfinder.evaluation.mistakes import Mistake, get_probabilities, list_confident_mistakes
from viewfinder.reporting.tables import RANKING_NAMES, build_score_table, print_wrapped
from viewfinder.runs.folder import RunFolder

SHOWN = 5
"""Confused pairs, and mistakes."""


def print_scores(console: Console, scores: Mapping[str, Any], title: str) -> None:
    """Print the scores of a split over all classes and for each class, and the most confused pairs of classes."""
    counts, class_names = np.array(scores["confusion"]), list(scores["per_class"])
    console.print(printable(title), style="italic", soft_wrap=True)
    console.print(build_score_table(scores))
    console.print()
    console.print(_build_class_table(scores, compute_class_intervals(counts, class_names)))
    console.print()
    if pairs := find_most_confused(counts, class_names, SHOWN):
        console.print(_build_confused_table(pairs))
        console.print()


def print_mistakes(console: Console, table: pd.DataFrame, scores: Mapping[str, Any], temperature: float | None) -> None:
    """Print the most confident mistakes of a split, and the scores that need probabilities.

    Args:
        console: the console.
        table: predictions of the split, as in predictions.csv.
        scores: scores of the split.
        temperature: temperature of the calibrated weights; None without.
    """
    if mistakes := list_confident_mistakes(table, SHOWN):
        console.print(_build_mistake_table(mistakes))
        console.print()
    if ranking := [f"{label} {scores[name]:.4f}" for name, label in RANKING_NAMES.items() if name in scores]:
        line = f"{', '.join(ranking)} ({BINS} bins)"
        if temperature is not None:
            labels = pd.Index(list(scores["per_class"]), dtype=object).get_indexer(
                pd.Index(table["true"], dtype=object)
            )
            scaled = measure_reliability(scale_probabilities(get_probabilities(table), temperature), labels)
            line += f"; after division of the logits by the temperature {temperature:.4g}, {scaled.error:.4f}"
        print_wrapped(console, line, indent="")
        console.print()


def describe_calibration(run: RunFolder, entry: Mapping[str, Any]) -> str:
    """Describe a new entry of calibration.json in a sentence."""
    loss, error = ("{:.4f} to {:.4f}".format(*entry[name]) for name in ("loss", "calibration_error"))
    fitted = f"temperature {entry['temperature']:.4g}, fitted on {entry['pictures']:,} images of the val split"
    return (
        f"{fitted}: cross-entropy {loss}, calibration error {error} there. {run.calibration.name} keeps it for predict "
        "and export."
    )


def _build_class_table(scores: Mapping[str, Any], intervals: Mapping[str, Mapping[str, tuple[float, float]]]) -> Table:
    """Tabulate the scores of each class, with the 95% intervals of precision and recall."""
    table = Table(box=None, pad_edge=False)
    table.add_column("class", overflow="fold")
    for column in ("images", "f1", "precision (95%)", "recall (95%)"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, values in scores["per_class"].items():
        cells = (f"{values[score]:.4f} ({low:.2f}-{high:.2f})" for score, (low, high) in intervals[name].items())
        table.add_row(printable(name), f"{values['pictures']:,}", f"{values['f1']:.4f}", *cells)
    return table


def _build_confused_table(pairs: Sequence[Mapping[str, Any]]) -> Table:
    """Tabulate the most confused pairs of classes."""
    table = Table(box=None, pad_edge=False)
    table.add_column("most confused", overflow="fold")
    for column in ("images", "of the class"):
        table.add_column(column, justify="right", no_wrap=True)
    for pair in pairs:
        name = printable(f"{pair['true']} as {pair['predicted']}")
        table.add_row(name, f"{pair['pictures']:,}", f"{100 * pair['share']:.1f}%")
    return table


def _build_mistake_table(mistakes: Sequence[Mistake]) -> Table:
    """Tabulate the most confident mistakes."""
    table = Table(box=None, pad_edge=False)
    for column in ("most confident mistakes", "label", "predicted"):
        table.add_column(column, overflow="fold")
    for mistake in mistakes:
        predicted = f"{mistake.predicted} {100 * mistake.confidence:.1f}%"
        table.add_row(*map(printable, (mistake.picture, mistake.true, predicted)))
    return table
