"""What a sweep says: before it begins, and when it ends."""

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

import pandas as pd
from rich.table import Table

from viewfinder.errors import join_names, printable
from viewfinder.reporting.tables import open_console
from viewfinder.runs.atomic import replace_text
from viewfinder.runs.provenance import command
from viewfinder.sweeps.estimate import say_cost
from viewfinder.sweeps.folder import SweepFolder, SweepJob

ORDER = ("finished", "interrupted", "killed", "failed", "running", "waiting")


def say_begin(sweep: SweepFolder, jobs: Sequence[SweepJob], at_once: int, repeated: int) -> None:
    """Where the sweep is, and how far."""
    terminal = open_console()
    _say_jobs(sweep, jobs, "")
    if repeated:
        terminal.print(f"left out: {repeated} more of the line, each equal to one of these")
    if at_once > 1:
        output = printable(str(sweep.path / "<job>.log"))
        terminal.print(f"{at_once} at once; what each prints is in {output}", soft_wrap=True)


def say_refused(refused: Mapping[str, str]) -> None:
    """Jobs that will not begin."""
    for folder, why in refused.items():
        open_console().print(printable(f"job {folder} cannot begin: {why}"), soft_wrap=True)


def _say_jobs(sweep: SweepFolder, jobs: Sequence[SweepJob], what: str) -> None:
    terminal = open_console()
    terminal.print(f"sweep {printable(str(sweep.path))}{what}: {_counted(sweep, jobs)}", soft_wrap=True)
    if not sweep.is_named:
        name = printable(shlex.quote(f"sweep.name={sweep.name}"))
        terminal.print(f"to go on with it later, add {name}", soft_wrap=True)
    if others := len(sweep.jobs) - len(jobs):
        terminal.print(f"not in this line: {others} more of the sweep's jobs")
    if sweep.left:
        terminal.print(f"sweep.rerun=true: {sweep.left} jobs leave the sweep; their folders stay", soft_wrap=True)


def say_ended(sweep: SweepFolder, job: SweepJob) -> None:
    """A line about one of several that run at once."""
    status, run = sweep.status(job.folder), sweep.run(job.folder)
    found = f", val accuracy {run.read_scores()['best']['val']['accuracy']:.4f}" if status == "finished" else ""
    why = f": {reason(sweep, job, status)}" if status == "failed" else ""
    open_console().print(printable(f"job {job.folder} {status}{found}{why}"), soft_wrap=True)


def say_dry_run(sweep: SweepFolder, jobs: Sequence[SweepJob], at_once: int, refused: Mapping[str, str]) -> None:
    """What would run, what would be refused, and how long it may take."""
    terminal = open_console()
    _say_jobs(sweep, jobs, ", a dry run")
    terminal.print()
    terminal.print(_table(rows(sweep, jobs)))
    terminal.print()
    say_refused(refused)
    terminal.print(say_cost(sweep, [job for job in jobs if job.folder not in refused], at_once), soft_wrap=True)


def say_end(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> bool:
    """A row a job, why those failed that did, and how to go on: on the terminal, in jobs.csv and in report.html.

    Returns:
        Whether all of them have finished.
    """
    from viewfinder.reporting.pages.sweep import rewrite_sweep_report

    terminal = open_console()
    shared = printable(" ".join(_shared(sweep)))
    terminal.print(f"\nsweep {printable(str(sweep.path))}, {shared}".rstrip(", "), soft_wrap=True)
    terminal.print("accuracy on val and test with the best weights\n", style="dim")
    every = rows(sweep, sweep.jobs)
    table = every.set_index("job", drop=False).loc[[job.folder for job in jobs]]
    terminal.print(_table(table))
    unfinished = [row for row in table.to_dict("records") if row["status"] != "finished"]
    failed = {row["job"]: row["reason"] for row in unfinished if row["reason"]}
    if failed:
        terminal.print(f"\n{len(failed)} of {len(jobs)} jobs failed:", style="red")
        for folder, why in failed.items():
            terminal.print(f"  job {folder}: {why}", soft_wrap=True)
    if unfinished:
        again = "run the failed ones again" if len(failed) == len(unfinished) else "go on"
        name = "" if sweep.is_named else f" {shlex.quote(f'sweep.name={sweep.name}')}"
        terminal.print(f"\nTo {again}: {command()}{name}", soft_wrap=True)
    terminal.print(f"\ncompare  {shlex.join(['viewfinder', 'compare', str(sweep.path)])}", soft_wrap=True)
    replace_text(sweep.path / "jobs.csv", _by_key(every, sweep).to_csv(index=False))
    terminal.print(f"report   {printable(str(rewrite_sweep_report(sweep.path)))}", soft_wrap=True)
    return not unfinished


def reason(sweep: SweepFolder, job: SweepJob, status: str) -> str:
    """Why a job of this status failed, on one line; '' where it did not."""
    if status != "failed":
        return ""
    facts = sweep.run(job.folder).read_run()
    if facts["status"] == "finished":
        return "its scores.json is missing or damaged: the same line runs it again, in a folder of its own"
    return printable(facts.get("error", "failed without a word"))


def _counted(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> str:
    """'12 jobs: 3 finished, 9 waiting'."""
    counts = Counter(sweep.status(job.folder) for job in jobs)
    parts = [f"{counts[status]} {status}" for status in ORDER if counts[status]]
    return f"{len(jobs)} job{'s' * (len(jobs) != 1)}" + (f": {join_names(parts)}" if set(counts) != {"waiting"} else "")


def differing_words(sweep: SweepFolder) -> dict[str, str]:
    """For each job's folder, what was typed for it and not for all of the sweep's."""
    shared = set(_shared(sweep))
    return {job.folder: printable(" ".join(each for each in job.overrides if each not in shared)) for job in sweep.jobs}


def _shared(sweep: SweepFolder) -> list[str]:
    """Overrides that all jobs have."""
    first = sweep.jobs[0].overrides if sweep.jobs else []
    return [each for each in first if all(each in job.overrides for job in sweep.jobs)]


def _table(found: pd.DataFrame) -> Table:
    """Of some of `rows`."""
    table = Table(box=None, pad_edge=False)
    for column in ("job", "settings", "status", "val", "test"):
        table.add_column(column, justify="right" if column in ("val", "test") else "left", overflow="fold")
    for row in found.to_dict("records"):
        accuracies = (f"{row[name]:.4f}" if pd.notna(row[name]) else "" for name in ("val", "test"))
        table.add_row(row["job"], row["settings"], row["status"], *accuracies)
    return table


def rows(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> pd.DataFrame:
    """A row a job: job, settings, status, val, test, reason; the accuracies of the best weights, or NaN."""
    said, table = differing_words(sweep), []
    for job in jobs:
        status = sweep.status(job.folder)
        best = sweep.run(job.folder).read_scores()["best"] if status == "finished" else {}
        accuracies = {split: best[split]["accuracy"] if best else math.nan for split in ("val", "test")}
        facts = {"job": job.folder, "settings": said[job.folder], "status": status, **accuracies}
        table.append(facts | {"reason": reason(sweep, job, status)})
    return pd.DataFrame(table)


def _by_key(table: pd.DataFrame, sweep: SweepFolder) -> pd.DataFrame:
    """With a column for each key that was typed differently, instead of all in one."""
    shared = set(_shared(sweep))
    words = [[word.partition("=") for word in job.overrides if word not in shared] for job in sweep.jobs]
    typed = pd.DataFrame([{key: value for key, _, value in each} for each in words], index=table.index)
    return pd.concat([table[["job"]], typed, table.drop(columns=["job", "settings"])], axis=1)
