"""Status of a sweep: where each of its jobs is, since when, how far it is, and when it should end."""

import statistics
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from viewfinder.config.flatten import flatten
from viewfinder.errors import Problem, UserError, join_names, printable
from viewfinder.runs.lock import is_free
from viewfinder.runs.naming import SEARCH_FILE, SWEEP_FILE
from viewfinder.sweeps.executors.open import open_executor
from viewfinder.sweeps.executors.protocol import JobState, State
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.queue_file import QueueFile
from viewfinder.sweeps.table import describe_overrides

QUEUED, STARTING, RUNNING = "queued", "starting", "running"
ACTIVE = (QUEUED, STARTING, RUNNING)
"""Statuses of jobs that go on by themselves."""


class JobStatus(NamedTuple):
    """Status of a job."""

    folder: str
    status: str
    """queued, starting, or a status of the run; waiting if the job is not submitted"""
    place: str
    """machines"""
    job_id: str
    """the scheduler's id"""
    since: str
    """time in ISO format at which the status began, if known"""
    epochs: int
    max_epochs: int
    """0 if sweep.json does not say"""
    end: datetime | None
    """expected end of a running job"""
    note: str
    """why the job waits or has failed"""


class SweepStatus(NamedTuple):
    """Status of a sweep and its jobs."""

    sweep: SweepFolder
    owner: str
    """process that runs the sweep or waits for its jobs; '' if there is none"""
    jobs: list[JobStatus]
    note: str
    """why the scheduler's view is missing; '' if it is not"""

    @property
    def is_active(self) -> bool:
        """True while a process runs the sweep, or a scheduler has jobs of it."""
        return bool(self.owner) or any(job.status in ACTIVE for job in self.jobs)


def open_sweep(path: Path) -> SweepFolder:
    """Return an existing sweep.

    Raises:
        UserError: if the path is not a sweep.
    """
    if not (path / SWEEP_FILE).is_file():
        rule = f"is not a sweep: {SWEEP_FILE} is missing" if path.exists() else "does not exist"
        remedy = "Pass the folder of a sweep, such as outputs/lr."
        if (path / SEARCH_FILE).is_file():
            rule, remedy = "is a search, not a sweep", "Type the command of the search again, which shows its trials."
        raise UserError("the sweep", [Problem("SWEEP", rule, str(path), remedy)])
    sweep = SweepFolder(path, path.name)
    sweep.read()
    return sweep


def read_owner(sweep: SweepFolder) -> tuple[int, str] | None:
    """Return the process that holds a sweep's lock, and its machine; None if there is none."""
    from viewfinder.runs.read import read_validated_json
    from viewfinder.runs.schemas.sweep import Sweep

    content = read_validated_json(sweep.path / SWEEP_FILE, Sweep)
    process, host = content["process"], content["machine"]["host"]
    return None if is_free(sweep.path, process, host) else (process, host)


def read_status(path: Path) -> SweepStatus:
    """Read the status of a sweep from its run folders and its scheduler.

    Raises:
        UserError: if the path is not a sweep, or its launcher is unknown.
    """
    sweep = open_sweep(path)
    owner, queue = read_owner(sweep), QueueFile.read(sweep.path)
    facts = {job.folder: _read_facts(sweep, job) for job in sweep.jobs}
    unfinished = [folder for folder, content in facts.items() if content.get("status") != "finished"]
    batches = queue.list_batches(unfinished) if queue is not None else []
    states: Mapping[str, JobState] = {}
    note = ""
    if queue is not None and batches:
        executor = open_executor(queue.launcher, sweep.path)
        try:
            states = executor.read_states(batches)
        except UserError as error:
            note = f"{error.reason}; this is what the run folders say"
    gone = JobState(State.GONE)
    jobs = [_describe_job(sweep, job, facts[job.folder], states.get(job.folder, gone)) for job in sweep.jobs]
    return SweepStatus(sweep, f"process {owner[0]} on {owner[1]}" if owner else "", jobs, note)


def _read_facts(sweep: SweepFolder, job: SweepJob) -> dict[str, Any]:
    run = sweep.run_folder(job.folder)
    return run.read_run() if run.run.is_file() else {}


def _describe_job(sweep: SweepFolder, job: SweepJob, facts: Mapping[str, Any], state: JobState) -> JobStatus:
    run = sweep.run_folder(job.folder)
    planned = flatten(job.config).get("trainer.max_epochs")
    max_epochs = planned if isinstance(planned, int) else 0
    seconds = facts.get("epoch_seconds", [])
    status = run.find_status(facts) if facts else "waiting"
    since, note, end = facts.get("ended", facts.get("started", "")), facts.get("error", ""), None
    if status not in ("finished", RUNNING) and state.state != State.GONE:
        status = QUEUED if state.state == State.WAITING else STARTING
        since, note = state.since, state.reason
    elif status == RUNNING:
        since = _list_starts(facts)[-1]
        if seconds and max_epochs:
            last = datetime.fromtimestamp(run.run.stat().st_mtime).astimezone()
            end = last + timedelta(seconds=statistics.mean(seconds) * (max_epochs - len(seconds)))
    host = facts.get("machine", {}).get("host", "") if status not in ("waiting", QUEUED, STARTING) else ""
    return JobStatus(
        job.folder, status, state.place or host, state.id, since, len(seconds), max_epochs, end, note
    )  # fmt: skip


def _list_starts(facts: Mapping[str, Any]) -> list[str]:
    """Return the times at which a run was started and resumed."""
    return [facts.get("started", ""), *(session["time"] for session in facts.get("resumed", []))]


def render_status(status: SweepStatus) -> RenderableType:
    """Return a line about the sweep and a table of its jobs, for Rich."""
    counts = Counter(job.status for job in status.jobs)
    parts = join_names(f"{count} {name}" for name, count in counts.items())
    lines = [f"sweep {status.sweep.path}: {len(status.jobs)} job{'s' * (len(status.jobs) != 1)}: {parts}"]
    lines += [f"run by {status.owner}"] if status.owner else []
    lines += [status.note] if status.note else []
    return Group(*(Text(printable(line)) for line in lines), Text(), _build_table(status))


def _build_table(status: SweepStatus) -> Table:
    has_ids = any(job.job_id for job in status.jobs)
    columns = ["job", "status", "where", *(["id"] if has_ids else []), "since", "epochs", "ends"]
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right" if column == "epochs" else "left", no_wrap=True)
    table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    settings, now = describe_overrides(status.sweep), datetime.now().astimezone()
    for job in status.jobs:
        epochs = f"{job.epochs}/{job.max_epochs or '?'}" if job.epochs or job.status == RUNNING else ""
        cells = [job.folder, job.status, job.place, *([job.job_id] if has_ids else []), format_time(job.since, now)]
        end = format_time(job.end.isoformat(), now) if job.end else ""
        note = f"{job.note}; " if job.note else ""
        table.add_row(*(Text(printable(cell)) for cell in (*cells, epochs, end, f"{note}{settings[job.folder]}")))
    return table


def format_time(text: str, now: datetime) -> str:
    """Format a time in ISO format as 13:02 if it is within twelve hours of now, else as 11-28 13:02; '' for others."""
    try:
        time = datetime.fromisoformat(text).astimezone()
    except ValueError:
        return ""
    return f"{time:%H:%M}" if abs(time - now) < timedelta(hours=12) else f"{time:%m-%d %H:%M}"
