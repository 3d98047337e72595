"""States of jobs as a Ray cluster reports them."""

from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from viewfinder.sweeps.executors.protocol import JobState, State

if TYPE_CHECKING:
    from ray.job_submission import JobDetails

FOLDER_MISSING = 66
"""Exit code of a job on a node that does not see the sweep's folder."""
START_TIMEOUT = "RAY_JOB_START_TIMEOUT_SECONDS"
"""Environment variable of the head node: Ray drops a job that has waited longer for free resources."""


def describe_ray_job(name: str, job: "JobDetails | None") -> JobState:
    """Return the state of a job.

    Args:
        name: its submission id.
        job: the cluster's report; None if the cluster does not know the job.
    """
    if job is None:
        return JobState(State.GONE, name, reason="the cluster does not know it")
    status, message = str(job.status), job.message or ""
    if status == "PENDING":
        return JobState(State.WAITING, name, since=_format_time(job.start_time), reason="waits for free resources")
    if status == "RUNNING":  # Ray keeps no time at which a job left the queue
        return JobState(State.RUNNING, name, place=urlsplit(job.driver_agent_http_address or "").hostname or "")
    ended = _format_time(job.end_time)
    if status == "STOPPED":
        return JobState(State.GONE, name, since=ended, reason="stopped", is_cancelled=True)
    if status == "SUCCEEDED":
        return JobState(State.GONE, name, since=ended)
    reason = _describe_failure(job.driver_exit_code, message)
    return JobState(State.GONE, name, since=ended, reason=reason, has_begun=START_TIMEOUT not in message)


def _describe_failure(exit_code: int | None, message: str) -> str:
    """Return, in one line, why a job failed, from the exit code of its process and Ray's message."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["unknown reason"]
    if exit_code == FOLDER_MISSING:
        return lines[-1]
    if exit_code is not None:  # the message ends with the last lines of the output, if there is any
        return f"exit code {exit_code}" + (f": {lines[-1][:200]}" if len(lines) > 1 else "")
    if "node has died" in message:
        return "its node was lost"
    if START_TIMEOUT in message:
        return f"it waited longer than {START_TIMEOUT} of the cluster's head node"
    return lines[0][:300]


def _format_time(milliseconds: int | None) -> str:
    if milliseconds is None:
        return ""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().isoformat(timespec="seconds")
