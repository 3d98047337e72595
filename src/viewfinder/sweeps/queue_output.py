"""Terminal output of a sweep on a scheduler."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence

from viewfinder.errors import join_names, printable
from viewfinder.reporting.tables import open_console
from viewfinder.sweeps.executors.protocol import JobState, State
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.table import print_job_end


def print_line(text: str) -> None:
    """Print a line at once."""
    open_console().print(printable(text), soft_wrap=True)


def print_attached(states: Mapping[str, JobState]) -> None:
    """Print how many jobs are with the scheduler already."""
    if states:
        counts = Counter(str(state.state).replace(State.GONE, "ending") for state in states.values())
        parts = join_names(f"{count} {name}" for name, count in counts.items())
        print_line(f"{count_jobs(len(states))} submitted before, left alone: {parts}")


def print_submitted(folders: Sequence[str], ids: Sequence[str]) -> None:
    """Print how many jobs were submitted, and the first and the last of them."""
    ends = [f"{folder} as {job_id}" for folder, job_id in zip(folders, ids, strict=True)]
    count = f"{len(folders)} jobs" if len(folders) > 1 else "job"
    print_line(f"submitted {count}: {', '.join(ends) if len(ends) < 4 else f'{ends[0]} to {ends[-1]}'}")


def print_started(job: SweepJob, state: JobState) -> None:
    """Print that a job runs, and where."""
    print_line(f"job {job.folder} runs{f' on {state.place}' if state.place else ''} as {state.id}")


def print_ended(sweep: SweepFolder, job: SweepJob) -> None:
    """Print the result of a job."""
    print_job_end(sweep, job)


def print_left(sweep: SweepFolder, queued: int, waiting: int) -> None:
    """Print what becomes of the jobs after this process, and the commands that show and cancel them.

    Args:
        sweep: the sweep.
        queued: number of jobs that are submitted.
        waiting: number of jobs that the scheduler had no room for.
    """
    print_line("")
    print_line(f"{count_jobs(queued)} submitted; they go on without this command.")
    if waiting:
        print_line(f"{count_jobs(waiting)} not submitted, for lack of room; the same command submits them later.")
    print_line("The same command attaches to them, and runs what is left.")
    for verb in ("status", "cancel"):
        print_line(f"{verb}   {shlex.join(['viewfinder', verb, str(sweep.path)])}")


def count_jobs(count: int) -> str:
    """Return a number with the word 'job'."""
    return f"{count} job{'s' * (count != 1)}"
