"""Page of `viewfinder compare`: verdict, settings and learning curves in one file without network access."""

import pandas as pd

from viewfinder.evaluation.comparison import BestSetting, Comparison
from viewfinder.reporting.charts.epochs import CURVES, draw_epochs
from viewfinder.reporting.charts.files import encode_svg
from viewfinder.reporting.pages.render import render_page
from viewfinder.reporting.pages.sweep import read_curves
from viewfinder.reporting.tables import format_epoch, format_spread, make_legend


def render_comparison(comparison: Comparison, summary: pd.DataFrame, best: BestSetting) -> str:
    """Return the page of a comparison.

    Args:
        comparison: the runs, at least one of them finished.
        summary: their settings, from `summarise_settings`.
        best: the best setting, from `describe_best`.
    """
    charts = {}
    if curves := read_curves(comparison, summary):
        for column, label in CURVES.items():
            charts[label] = encode_svg(draw_epochs(curves, column))
    return render_page(
        "comparison.html.j2",
        title=" · ".join(summary["setting"].head(2)),
        settings=summary.to_dict("records"),
        lead=best.lead,
        verdict=best.verdict,
        differences=best.differences,
        repeat_command=best.command,
        charts=charts,
        legend=make_legend(summary),
        has_folds="folds" in summary,
        notes=comparison.notes,
        skipped=comparison.skipped,
        format_spread=format_spread,
        format_epoch=format_epoch,
    )
