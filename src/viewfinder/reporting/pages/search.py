"""Page of a search: search.html, one file without network access."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from viewfinder.errors import printable
from viewfinder.reporting.charts.files import encode_svg
from viewfinder.reporting.charts.search import Axis, draw_search
from viewfinder.reporting.pages.render import render_page

FACTS = ("trial", "status", "epochs", "accuracy", "reason")
"""Columns of the table of trials that are no parameters."""


def render_search(
    trials: pd.DataFrame, axes: Mapping[str, Axis], title: str, command: str, repeat_command: str | None
) -> str:
    """Return the page.

    Args:
        trials: a row for each trial, the best first: FACTS and a column for each parameter.
        axes: axes of the numeric parameters.
        title: name of the search.
        command: command that continues the search.
        repeat_command: command that repeats the best trial; None until a trial is complete.
    """
    parameters = [str(name) for name in trials if name not in FACTS]
    rows = trials.to_dict("records")
    return render_page(
        "search.html.j2",
        title=printable(title),
        command=printable(command),
        repeat_command=repeat_command and printable(repeat_command),
        parameters=[printable(name) for name in parameters],
        trials=[
            {
                **{name: row[name] for name in ("trial", "status", "epochs")},
                "accuracy": "" if pd.isna(row["accuracy"]) else f"{100 * row['accuracy']:.2f}",
                "values": [_format_value(row[name]) for name in parameters],
                "reason": printable(row["reason"]),
            }
            for row in rows
        ],
        chart=encode_svg(draw_search(trials, axes)),
        narrow_chart=encode_svg(draw_search(trials, axes, max_columns=1)),
    )


def _format_value(value: Any) -> str:
    if value is None or pd.isna(value):
        return ""
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))
