"""States of SLURM jobs: from squeue while they wait or run, then from sacct if the cluster has accounting."""

import re
import shutil
from collections.abc import Sequence
from datetime import datetime, timedelta

from viewfinder.errors import UserError
from viewfinder.sweeps.executors.protocol import Batch, JobState, QueuedJob, State, list_latest
from viewfinder.sweeps.executors.slurm_commands import describe_silence, run_command

WAITING_STATES = {
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "RESV_DEL_HOLD", "SPECIAL_EXIT",
}  # fmt: skip
RUNNING_STATES = {"RUNNING", "SUSPENDED", "COMPLETING", "STAGE_OUT", "STOPPED", "SIGNALING", "RESIZING"}
"""States of squeue's manual; a job in any other state has ended."""
NO_TEXT = {"", "None", "none", "None assigned", "N/A", "Unknown", "(null)"}
"""Values that SLURM prints for nothing."""
SQUEUE_FORMAT = "%i|%T|%N|%V|%S|%r|%j"
"""Id, state, nodes, times of submission and start, reason and name of a job."""
MAX_NAMES = 200
"""Names of jobs in one command line."""


def read_slurm_states(batches: Sequence[Batch]) -> dict[str, JobState]:
    """Map the run folder of each job to its state.

    Jobs are found by the name of their batch, which no other job has, so that an id that was never written or that
    SLURM has given to another job since does no harm.

    Raises:
        UserError: if squeue does not answer.
    """
    names = [batch.name for batch in batches]
    chunks = [names[start : start + MAX_NAMES] for start in range(0, len(names), MAX_NAMES)]
    found = {key: state for chunk in chunks for key, state in _ask_squeue(chunk).items()}
    latest = list_latest(batches)
    ended = [batch for batch in batches if any(_get_state(found, *latest[job.folder]) is None for job in batch.jobs)]
    for batch in ended:
        found = _ask_sacct(batch) | found
    return {
        folder: _get_state(found, batch, job) or JobState(State.GONE, job.id or "")
        for folder, (batch, job) in latest.items()
    }


def _get_state(found: dict[tuple[str, int], JobState], batch: Batch, job: QueuedJob) -> JobState | None:
    """Return the state of a job: an element of the array that its batch is, or a job of its own."""
    return found.get((batch.name, batch.jobs.index(job)))


def _ask_squeue(names: Sequence[str]) -> dict[tuple[str, int], JobState]:
    """Map the name and the array index of each job that squeue lists to its state; the index is 0 without an array."""
    command = ["squeue", "--array", "--noheader", "--states=all", f"--name={','.join(names)}"]
    answer = run_command([*command, f"--format={SQUEUE_FORMAT}"])
    if answer.returncode:
        raise describe_silence("squeue", answer.stderr)
    found = {}
    for line in answer.stdout.splitlines():
        if line.count("|") < SQUEUE_FORMAT.count("|"):  # a message of the cluster
            continue
        job_id, state, place, submitted, started, reason, name = line.strip().split("|", 6)
        key = name, _read_index(job_id)
        if state in WAITING_STATES:
            found[key] = JobState(State.WAITING, job_id, "", _read_time(submitted), _read_text(reason))
        elif state in RUNNING_STATES:
            found[key] = JobState(State.RUNNING, job_id, _read_text(place), _read_time(started))
        else:
            found.setdefault(key, _describe_end(job_id, state, place))
    return found


def _ask_sacct(batch: Batch) -> dict[tuple[str, int], JobState]:
    """Map the name and the array index of the batch's jobs that have ended to their states; {} without accounting."""
    if shutil.which("sacct") is None:
        return {}
    try:
        day = datetime.fromisoformat(batch.submitted) - timedelta(days=1)
        command = ["sacct", "--allocations", "--noheader", "--parsable2", f"--starttime={day:%Y-%m-%d}"]
        answer = run_command([*command, f"--name={batch.name}", "--format=JobID,State,NodeList"])
    except (UserError, ValueError):
        return {}
    found = {}
    for line in answer.stdout.splitlines() if answer.returncode == 0 else []:
        job_id, state, place, *_ = [*line.strip().split("|"), "", ""]
        is_single = re.fullmatch(r"\d+(_\d+)?", job_id)  # not a range of elements, which wait
        if is_single and state.partition(" ")[0] not in WAITING_STATES | RUNNING_STATES:
            found[batch.name, _read_index(job_id)] = _describe_end(job_id, state, place)
    return found


def _describe_end(job_id: str, state: str, place: str) -> JobState:
    reason = "" if state == "COMPLETED" else state
    return JobState(State.GONE, job_id, _read_text(place), "", reason, is_cancelled=state.startswith("CANCELLED"))


def _read_index(job_id: str) -> int:
    """Return the index of an element of an array, as 3 of 123_3; 0 for another job."""
    index = job_id.partition("_")[2]
    return int(index) if index.isdecimal() else 0


def _read_time(text: str) -> str:
    try:
        return datetime.fromisoformat(text).astimezone().isoformat(timespec="seconds")
    except ValueError:
        return ""


def _read_text(text: str) -> str:
    return "" if text.strip() in NO_TEXT else text.strip()
