"""Report of a sweep: report.html with a link to the report of each job, and the charts beside it."""

import os
import re
import urllib.parse
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from viewfinder.errors import UserError, printable
from viewfinder.evaluation.comparison import Comparison, describe_best, read_runs, summarise_settings
from viewfinder.reporting.charts.epochs import draw_epochs
from viewfinder.reporting.charts.files import encode_svg, save_figure
from viewfinder.reporting.charts.sweep import draw_sweep
from viewfinder.reporting.pages.render import render_page
from viewfinder.reporting.tables import format_epoch, format_spread, make_legend
from viewfinder.runs.atomic import replace_text
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import SWEEP_FILE
from viewfinder.runs.read import read_validated_json
from viewfinder.runs.schemas.sweep import Sweep

BROAD = 6.5
"""Inches beyond which a chart scrolls within its box on a phone."""


def rewrite_sweep_report(folder: Path) -> Path:
    """Write the report of a sweep from sweep.json and the files of its jobs; the folder may have been moved.

    Raises:
        UserError: if sweep.json is invalid.
    """
    sweep = read_validated_json(folder / SWEEP_FILE, Sweep)
    jobs = [RunFolder(folder / job["folder"]) for job in sweep["jobs"]]
    runs = [job for job in jobs if job.run.is_file()]
    waiting = [(job.path.name, "not started") for job in jobs if job not in runs]
    return write_sweep_report(folder, runs, waiting, sweep["command"])


def write_sweep_report(
    folder: Path, runs: Sequence[RunFolder], failed: Sequence[tuple[str, str]] = (), command: str | None = None
) -> Path:
    """Write report.html and, once a run has finished, the charts sweep.png and epochs.png.

    Args:
        folder: folder of the sweep.
        runs: run folders of the jobs, finished or not.
        failed: names and reasons of jobs without a run folder.
        command: command line of the sweep; None to leave it out.

    Returns:
        Path of report.html.
    """
    comparison = read_runs(runs)
    summary = summarise_settings(comparison.table)
    charts = {"sweep": folder / "sweep.png", "epochs": folder / "epochs.png"}
    for chart in charts.values():
        chart.unlink(missing_ok=True)
    figures: dict[str, Figure] = {}
    if not summary.empty:
        figures["sweep"] = draw_sweep(comparison, summary)
        if curves := read_curves(comparison, summary):
            figures["epochs"] = draw_epochs(curves)
    for name, figure in figures.items():
        save_figure(figure, charts[name])
    reasons = dict(failed) | {path.name: reason for path, reason in comparison.skipped if path.name not in dict(failed)}
    best = describe_best(comparison, summary)
    page = render_page(
        "sweep.html.j2",
        title=_format_title(folder.absolute()),
        command=command and printable(command),
        settings=summary.to_dict("records"),
        lead=best.lead,
        verdict=best.verdict,
        repeat_command=best.command,
        finished=[_format_job(folder, row) for row in comparison.table.to_dict("records")],
        failures=[(printable(name), printable(reason)) for name, reason in sorted(reasons.items(), key=_natural_order)],
        images={name: encode_svg(figure) for name, figure in figures.items()},
        is_broad="sweep" in figures and figures["sweep"].get_figwidth() > BROAD,
        legend=make_legend(summary),
        has_folds="folds" in summary,
        notes=comparison.notes,
        format_spread=format_spread,
        format_epoch=format_epoch,
        count=lambda number, noun: f"{number} {noun}{'' if number == 1 else 's'}",
    )
    path = folder / "report.html"
    replace_text(path, page)
    return path


def _format_title(folder: Path) -> str:
    """Return the sweep's name, after the experiment's name if it is a timestamp."""
    is_dated = re.match(r"\d{4}-\d\d-\d\d_", folder.name)
    return f"{folder.parent.name} {folder.name}" if is_dated else folder.name


def _natural_order(item: tuple[str, str]) -> tuple[int, str]:
    """Sort job 2 before job 10."""
    name, _ = item
    return len(name), name


def read_curves(comparison: Comparison, summary: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """Read metrics.csv of each setting's runs, the best setting first; unreadable files are left out."""
    rows, curves = comparison.unique_rows(), {}
    for setting in summary["setting"]:
        tables = []
        for path in rows[rows["setting"] == setting]["run"]:
            try:
                tables.append(RunFolder(Path(path)).read_metrics())
            except UserError:
                continue  # reported with the run itself
        if tables:
            curves[setting] = tables
    return curves


def _format_job(folder: Path, row: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """Return the row of a finished run; its link to the report is relative, so that the sweep can be moved."""
    run = RunFolder(Path(row["run"]))
    relative = os.path.relpath(run.report, folder)
    link = urllib.parse.quote(os.fsencode(relative)) if run.report.is_file() else None
    return {**row, "name": printable(run.path.name), "link": link}
