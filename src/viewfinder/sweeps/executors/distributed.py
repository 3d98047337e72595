"""Decision of the first process of a distributed job, which its other processes follow."""

import os
import time
from enum import StrEnum
from pathlib import Path

from viewfinder.errors import Problem, UserError
from viewfinder.runs.atomic import replace_text

DECISION_VARIABLE = "VIEWFINDER_DECISION"
"""Environment variable that gives the decision to the processes that the first one starts."""
TIMEOUT = 600.0
"""Seconds to wait for the decision."""


class Decision(StrEnum):
    """Work of a job's processes."""

    BEGIN = "begin"
    RESUME = "resume"
    LEAVE = "leave"


def publish_decision(claims: Path, job: str, decision: Decision) -> None:
    """Tell the other processes of a job what to do.

    Args:
        claims: folder that the machines of the job share.
        job: name of the job's run folder.
        decision: the decision.
    """
    os.environ[DECISION_VARIABLE] = decision
    if (name := _name_step(job)) is not None:
        replace_text(claims / name, decision)


def follow_decision(claims: Path, job: str) -> Decision:
    """Wait for the decision of the first process; arguments as of `publish_decision`.

    Raises:
        UserError: if it does not come.
    """
    if decision := os.environ.get(DECISION_VARIABLE):
        return Decision(decision)
    name, start = _name_step(job), time.monotonic()
    while name is None or not (claims / name).exists():
        if name is None or time.monotonic() - start > TIMEOUT:
            rule = "does not say whether the run begins or resumes"
            raise UserError("the job", [Problem("the first process", rule, remedy="Look at its output.")])
        time.sleep(0.2)
    return Decision((claims / name).read_text(encoding="utf-8"))


def _name_step(job: str) -> str | None:
    """Return the name of the file for this start of a SLURM job; None if srun has not started several tasks."""
    if int(os.environ.get("SLURM_STEP_NUM_TASKS") or 1) < 2:
        return None
    parts = (os.environ.get(f"SLURM_{name}", "0") for name in ("JOB_ID", "RESTART_COUNT", "STEP_ID"))
    return ".".join([job, *parts])
