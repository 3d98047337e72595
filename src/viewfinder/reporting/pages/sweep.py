"""A sweep's report.html: what it came to on one page that leads to each job's own, and its charts beside it."""

import os
import re
import urllib.parse
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from viewfinder.errors import UserError, printable
from viewfinder.evaluation.comparison import Comparison, describe_best, read_runs, summarise_settings
from viewfinder.reporting.charts.epochs import draw_epochs
from viewfinder.reporting.charts.files import encode_data_url, save_figure
from viewfinder.reporting.charts.sweep import draw_sweep
from viewfinder.reporting.pages.run import render
from viewfinder.reporting.tables import EXPLAINED, mean_epoch, spread
from viewfinder.runs.atomic import replace_text
from viewfinder.runs.folder import SWEEP, RunFolder
from viewfinder.runs.schemas import Sweep, read_kept


def rewrite_sweep_report(folder: Path) -> Path:
    """The page of a sweep whose folder may have been moved, from sweep.json and the jobs' own files.

    Raises:
        UserError: if sweep.json is not as Viewfinder writes it.
    """
    sweep = read_kept(folder / SWEEP, Sweep)
    jobs = [RunFolder(folder / job["folder"]) for job in sweep["jobs"]]
    runs = [job for job in jobs if job.run.is_file()]
    waiting = [(job.path.name, "has not begun") for job in jobs if job not in runs]
    return write_sweep_report(folder, runs, waiting, sweep["command"])


def write_sweep_report(
    folder: Path, runs: Sequence[RunFolder], failed: Sequence[tuple[str, str]] = (), command: str | None = None
) -> Path:
    """report.html, sweep.png and epochs.png in a sweep's folder; without charts where no run has finished.

    Args:
        folder: holds a run folder for each job.
        runs: the jobs that count, finished or not.
        failed: names and reasons of jobs, such as those that came to no run folder; of a run its own reason is known.
        command: what was typed; None is not told.

    Returns:
        The page.
    """
    compared = read_runs(runs)
    summary = summarise_settings(compared.table)
    charts = {"sweep": folder / "sweep.png", "epochs": folder / "epochs.png"}
    for chart in charts.values():
        chart.unlink(missing_ok=True)
    if not summary.empty:
        save_figure(draw_sweep(compared, summary), charts["sweep"])
        if curves := _curves(compared, summary):
            save_figure(draw_epochs(curves), charts["epochs"])
    reasons = dict(failed) | {path.name: reason for path, reason in compared.skipped if path.name not in dict(failed)}
    best = describe_best(compared, summary)
    page = render(
        "sweep.html.j2",
        title=_title(folder.absolute()),
        command=command and printable(command),
        settings=summary.to_dict("records"),
        lead=best.lead,
        again=best.command,
        finished=[_job(folder, row) for row in compared.table.to_dict("records")],
        failures=[(printable(name), printable(reason)) for name, reason in sorted(reasons.items(), key=_number)],
        images={name: encode_data_url(chart) for name, chart in charts.items() if chart.is_file()},
        explained=EXPLAINED,
        notes=compared.notes,
        spread=spread,
        mean_epoch=mean_epoch,
        counted=lambda count, noun: f"{count} {noun}{'' if count == 1 else 's'}",
    )
    path = folder / "report.html"
    replace_text(path, page)
    return path


def _title(folder: Path) -> str:
    """The sweep's name; of one that is named by the time, what it runs too."""
    is_dated = re.match(r"\d{4}-\d\d-\d\d_", folder.name)
    return f"{folder.parent.name} {folder.name}" if is_dated else folder.name


def _number(item: tuple[str, str]) -> tuple[int, str]:
    """Jobs 2 and 10 in this order."""
    name, _ = item
    return len(name), name


def _curves(compared: Comparison, summary: pd.DataFrame) -> dict[str, list[pd.DataFrame]]:
    """For each setting, the best first, the rows of metrics.csv of those of its runs that have some."""
    rows, found = compared.unique_rows(), {}
    for setting in summary["setting"]:
        tables = []
        for path in rows[rows["setting"] == setting]["run"]:
            try:
                tables.append(RunFolder(Path(path)).read_metrics())
            except UserError:
                continue  # the run's own report says what is wrong with that file
        if tables:
            found[setting] = tables
    return found


def _job(folder: Path, row: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
    """A finished run's row, with a link that still leads to its page when the sweep's folder has been moved."""
    run = RunFolder(Path(row["run"]))
    place = os.path.relpath(run.report, folder)
    link = urllib.parse.quote(os.fsencode(place)) if run.report.is_file() else None
    return {**row, "name": printable(run.path.name), "link": link}
