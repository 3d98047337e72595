"""Sending of runs that have ended."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import Timeout

from viewfinder.errors import Problem, UserError
from viewfinder.reporting.trackers.addresses import KEY, find_unknown_address, remember_address
from viewfinder.reporting.trackers.sender import Sender, fix_id
from viewfinder.reporting.trackers.tracker import describe_failure, find_silence
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.lock import refuse_links

PATIENCE = 2.0
"""Seconds to wait for another process that sends the same run."""


def sync_run(
    run: RunFolder,
    name: str,
    node: Mapping[str, Any],
    typed_in: Path | None = None,
    silent: set[tuple[str, str]] | None = None,
) -> str:
    """Send to a tracker what it lacks of a run that has ended.

    Args:
        run: the run.
        name: name of the tracker.
        node: its `_target_` and arguments.
        typed_in: folder to which relative paths of the node belong; None for the folder where the run was started.
        silent: names and places of trackers that have not answered, which are not asked again; this one is added if it
            does not answer.

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
    sender, silent = Sender(run, name, node, typed_in), set() if silent is None else silent
    if (name, sender.place) in silent:
        return f"left out     {run.path}: {sender.place} has not answered"
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
        if find_silence(error) is not None:
            silent.add((name, sender.place))
        rule = f"{name} did not get it: {describe_failure(error)}"
        remedy = f"It goes to {sender.place}. Once that can be reached, run the same command again."
        raise UserError("the tracker", [Problem(str(run.path), rule, remedy=remedy)]) from error
    return f"sent         {run.path}, to {sender.place}"
