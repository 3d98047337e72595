"""Terminal output and result table of a sweep."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.table import Table

from viewfinder.errors import join_names, printable
from viewfinder.reporting.tables import open_console
from viewfinder.runs.atomic import replace_text
from viewfinder.runs.provenance import read_command
from viewfinder.sweeps.estimate import describe_remaining_time
from viewfinder.sweeps.folder import SweepFolder, SweepJob

STATUSES = ("finished", "interrupted", "killed", "failed", "running", "waiting")


def print_start(sweep: SweepFolder, jobs: Sequence[SweepJob], max_parallel: int, duplicates: int) -> None:
    """Print the sweep's folder and the status of its jobs."""
    terminal = open_console()
    _print_overview(sweep, jobs)
    if duplicates:
        terminal.print(f"left out: {duplicates} duplicate job{'s' * (duplicates > 1)}")
    if max_parallel > 1:
        logs = printable(str(sweep.path / "<job>.log"))
        terminal.print(f"{max_parallel} at once; the output of each job is in {logs}", soft_wrap=True)


def print_invalid_jobs(reasons: Mapping[str, str]) -> None:
    """Print why each of these jobs cannot start."""
    for folder, reason in reasons.items():
        open_console().print(printable(f"job {folder} cannot start: {reason}"), soft_wrap=True)


def print_dry_run(
    sweep: SweepFolder, jobs: Sequence[SweepJob], max_parallel: int, invalid_jobs: Mapping[str, str]
) -> None:
    """Print the jobs, why some are invalid, and how long the others may take."""
    terminal = open_console()
    _print_overview(sweep, jobs, " (dry run)")
    terminal.print()
    terminal.print(_format_table(build_job_table(sweep, jobs)))
    terminal.print()
    print_invalid_jobs(invalid_jobs)
    valid_jobs = [job for job in jobs if job.folder not in invalid_jobs]
    terminal.print(describe_remaining_time(sweep, valid_jobs, max_parallel), soft_wrap=True)


def _print_overview(sweep: SweepFolder, jobs: Sequence[SweepJob], suffix: str = "") -> None:
    terminal = open_console()
    counts = _describe_statuses(sweep, jobs)
    terminal.print(f"sweep {printable(str(sweep.path))}{suffix}: {counts}", soft_wrap=True)
    if not sweep.is_named:
        name = printable(shlex.quote(f"sweep.name={sweep.name}"))
        terminal.print(f"to continue it later, add {name}", soft_wrap=True)
    if others := len(sweep.jobs) - len(jobs):
        terminal.print(f"not in this command: {others} more of the sweep's jobs")
    if sweep.removed_count:
        terminal.print(
            f"sweep.rerun=true: {sweep.removed_count} jobs leave the sweep; their folders remain", soft_wrap=True
        )


def _describe_statuses(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> str:
    """Count jobs by status, such as '12 jobs: 3 finished, 9 waiting'; '12 jobs' if all are waiting."""
    counts = Counter(sweep.status(job.folder) for job in jobs)
    parts = [f"{counts[status]} {status}" for status in STATUSES if counts[status]]
    return f"{len(jobs)} job{'s' * (len(jobs) != 1)}" + (f": {join_names(parts)}" if set(counts) != {"waiting"} else "")


def print_job_end(sweep: SweepFolder, job: SweepJob) -> None:
    """Print the result of a parallel job in one line."""
    status = sweep.status(job.folder)
    result = ""
    if status == "finished":
        best = sweep.run_folder(job.folder).read_scores()["best"]
        result = f", val accuracy {best['val']['accuracy']:.4f}"
    elif status == "failed":
        result = f": {describe_failure(sweep, job)}"
    open_console().print(printable(f"job {job.folder} {status}{result}"), soft_wrap=True)


def report_results(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> bool:
    """Print the results of a command line's jobs, and write jobs.csv and report.html for the whole sweep.

    Returns:
        True if all jobs of the command line have finished.
    """
    from viewfinder.reporting.pages.sweep import rewrite_sweep_report

    terminal = open_console()
    shared = printable(" ".join(_find_shared_overrides(sweep)))
    terminal.print(f"\nsweep {printable(str(sweep.path))}, {shared}".rstrip(", "), soft_wrap=True)
    terminal.print("accuracy on val and test with the best weights\n", style="dim")
    full_table = build_job_table(sweep, sweep.jobs)
    table = full_table.set_index("job", drop=False).loc[[job.folder for job in jobs]]
    terminal.print(_format_table(table))
    unfinished = [row for row in table.to_dict("records") if row["status"] != "finished"]
    failures = {row["job"]: row["reason"] for row in unfinished if row["reason"]}
    if failures:
        terminal.print(f"\n{len(failures)} of {len(jobs)} jobs failed:", style="red")
        for folder, reason in failures.items():
            terminal.print(f"  job {folder}: {reason}", soft_wrap=True)
    if unfinished:
        purpose = "run the failed jobs again" if len(failures) == len(unfinished) else "continue"
        name = "" if sweep.is_named else f" {shlex.quote(f'sweep.name={sweep.name}')}"
        terminal.print(f"\nTo {purpose}: {read_command()}{name}", soft_wrap=True)
    terminal.print(f"\ncompare  {shlex.join(['viewfinder', 'compare', str(sweep.path)])}", soft_wrap=True)
    replace_text(sweep.path / "jobs.csv", _split_settings(full_table, sweep).to_csv(index=False))
    terminal.print(f"report   {printable(str(rewrite_sweep_report(sweep.path)))}", soft_wrap=True)
    return not unfinished


def describe_failure(sweep: SweepFolder, job: SweepJob) -> str:
    """Return, in one line, why a job with the status 'failed' has failed."""
    facts = sweep.run_folder(job.folder).read_run()
    if facts["status"] == "finished":
        return "its scores.json is missing or damaged; the same command runs it again in a new folder"
    return printable(facts.get("error", "unknown reason"))


def describe_overrides(sweep: SweepFolder) -> dict[str, str]:
    """Map each job's folder to its overrides, without those that all jobs share."""
    shared = set(_find_shared_overrides(sweep))
    return {job.folder: printable(" ".join(word for word in job.overrides if word not in shared)) for job in sweep.jobs}


def _find_shared_overrides(sweep: SweepFolder) -> list[str]:
    first = sweep.jobs[0].overrides if sweep.jobs else []
    return [word for word in first if all(word in job.overrides for job in sweep.jobs)]


def build_job_table(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> pd.DataFrame:
    """Tabulate jobs: columns job, settings, status, val, test, reason; accuracies of the best weights, or NaN."""
    settings, rows = describe_overrides(sweep), []
    for job in jobs:
        status = sweep.status(job.folder)
        best = sweep.run_folder(job.folder).read_scores()["best"] if status == "finished" else {}
        rows.append({
            "job": job.folder,
            "settings": settings[job.folder],
            "status": status,
            **{split: best[split]["accuracy"] if best else math.nan for split in ("val", "test")},
            "reason": describe_failure(sweep, job) if status == "failed" else "",
        })  # fmt: skip
    return pd.DataFrame(rows)


def _format_table(jobs: pd.DataFrame) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("job", "settings", "status", "val", "test"):
        table.add_column(column, justify="right" if column in ("val", "test") else "left", overflow="fold")
    for row in jobs.to_dict("records"):
        accuracies = (f"{row[name]:.4f}" if pd.notna(row[name]) else "" for name in ("val", "test"))
        table.add_row(row["job"], row["settings"], row["status"], *accuracies)
    return table


def _split_settings(table: pd.DataFrame, sweep: SweepFolder) -> pd.DataFrame:
    """Replace the column of settings by a column for each key."""
    shared = set(_find_shared_overrides(sweep))
    overrides = [[word.partition("=") for word in job.overrides if word not in shared] for job in sweep.jobs]
    settings = pd.DataFrame([{key: value for key, _, value in parts} for parts in overrides], index=table.index)
    return pd.concat([table[["job"]], settings, table.drop(columns=["job", "settings"])], axis=1)
