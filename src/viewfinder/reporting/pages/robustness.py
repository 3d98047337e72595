"""Files of a measurement of robustness: table, chart, and a page with both and the corrupted images."""

import math
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

from viewfinder.errors import printable
from viewfinder.evaluation.robustness import ORIGINAL, Measured, list_corruptions, list_levels
from viewfinder.reporting.charts.files import encode_svg, save_figure
from viewfinder.reporting.charts.robustness import draw_robustness, format_level
from viewfinder.reporting.charts.thumbnails import encode_thumbnail
from viewfinder.reporting.pages.render import render_page
from viewfinder.reporting.tables import format_count, format_spread
from viewfinder.runs.atomic import replace_text

CSV, CHART, PAGE = "robustness.csv", "robustness.png", "robustness.html"
EXAMPLE_SIDE = 84
"""Longer side in pixels of an example on the page; smaller images are enlarged by the browser."""


def write_robustness(folder: Path, measured: Measured, title: str, command: str) -> None:
    """Write robustness.csv, robustness.png and robustness.html.

    Args:
        folder: folder of the files.
        measured: the accuracies.
        title: names of the runs or sweeps.
        command: command line.

    Raises:
        OSError: if a file cannot be written.
    """
    summary, costs = measured.summary, measured.costs
    replace_text(folder / CSV, measured.table.to_csv(index=False))
    chart = draw_robustness(summary.levels, summary.settings)
    save_figure(chart, folder / CHART)
    corruptions = list_corruptions(summary.levels)
    settings = list(summary.settings["setting"])
    examples = dict(zip(list_levels(list(corruptions)), measured.examples, strict=True))
    examples |= {(name, None): examples[ORIGINAL, None] for name in corruptions}
    accuracies = {
        (row["corruption"], None if math.isnan(row["strength"]) else row["strength"], row["setting"]): _format(row)
        for row in summary.levels.to_dict("records")
    }
    means = {(row["corruption"], row["setting"]): _format(row) for row in summary.corruptions.to_dict("records")}
    page = render_page(
        "robustness.html.j2",
        title=printable(title),
        command=printable(command),
        notes=[printable(note) for note in measured.notes],
        settings=[
            {
                **row,
                "setting": printable(row["setting"]),
                "parameters": format_count(costs.loc[row["setting"], "parameters"]),
                "multiply_adds": format_count(costs.loc[row["setting"], "multiply_adds"]),
                "seconds": _format_seconds(costs.loc[row["setting"], "epoch_seconds"]),
            }
            for row in summary.settings.to_dict("records")
        ],
        original=[accuracies[ORIGINAL, None, setting] for setting in settings],
        corruptions=[
            {
                "title": corruption.title,
                "unit": corruption.unit,
                "means": [means[name, setting] for setting in settings],
                "levels": [
                    (f"{strength:g}", [accuracies[name, strength, setting] for setting in settings])
                    for strength in corruption.strengths
                ],
                "examples": [
                    (format_level(level, corruption), encode_thumbnail(examples[name, level], EXAMPLE_SIDE))
                    for level in corruption.levels
                ],
            }
            for name, corruption in corruptions.items()
        ],
        chart=encode_svg(chart),
        narrow_chart=encode_svg(draw_robustness(summary.levels, summary.settings, columns=1)),
        has_folds="folds" in summary.settings,
        format_spread=format_spread,
    )
    replace_text(folder / PAGE, page)


def _format_seconds(seconds: float) -> str:
    return "" if math.isnan(seconds) else f"{seconds:.1f}"


def _format(row: Mapping[Hashable, Any]) -> str:
    """Format the mean accuracy of a row with its standard deviation."""
    return format_spread(row["accuracy_mean"], row["accuracy_std"])
