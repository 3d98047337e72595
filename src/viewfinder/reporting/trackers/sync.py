"""Sending of runs that have ended."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from viewfinder.errors import Problem, UserError
from viewfinder.reporting.trackers.addresses import KEY, find_unknown_address, remember_address
from viewfinder.reporting.trackers.sender import Sender, fix_id
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.lock import refuse_links

STAGE = "the tracker"
PATIENCE = 2.0
"""Seconds to wait for another process that sends the same run."""


def sync_run(run: RunFolder, name: str, node: Mapping[str, Any], typed_in: Path | None = None) -> str:
    """Send to a tracker what it lacks of a run that has ended.

    Args:
        run: the run.
        name: name of the tracker.
        node: its `_target_` and arguments.
        typed_in: folder to which relative paths of the node belong; None for the folder where the run was started.

    Returns:
        A line about the result.

    Raises:
        UserError: if the tracker cannot be reached or refuses the run, or the run folder contains links.
    """
    refuse_links(run.path)
    if typed_in is not None:
        remember_address(node)
    elif address := find_unknown_address(node):
        rule = f"names {address} as its {name}, which this user has not used before; it would get your credentials"
        remedy = f"If you trust it, add logger={name} logger.{name}.{KEY}={address}"
        raise UserError("the run folder", [Problem(str(run.path), rule, remedy=remedy)])
    if not run.has_started():
        return f"left out     {run.path}: it never started"
    status = run.status
    if status == "running":
        return f"left out     {run.path}: it is running, and sends by itself"
    if "tracking_id" not in run.read_run():
        with run.locked():
            fix_id(run)
    sender = Sender(run, name, node, typed_in)
    try:
        with sender.lock().acquire(PATIENCE):
            if sender.is_complete():
                return f"up to date   {run.path}"
            sender.send(status)
    except Timeout:
        return f"left out     {run.path}: another process is sending it"
    except UserError:
        raise
    except Exception as error:  # of another package, which may raise anything
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        rule = f"{name} did not get it: {reason}"
        remedy = f"It goes to {sender.place}. Once that can be reached, run the same command again."
        raise UserError(STAGE, [Problem(str(run.path), rule, remedy=remedy)]) from error
    return f"sent         {run.path}, to {sender.place}"
