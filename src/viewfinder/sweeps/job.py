"""Job of a sweep or search: a run in a given folder, started or resumed."""

import contextlib
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import OmegaConf

from viewfinder.config.flatten import flatten
from viewfinder.config.hydra_internals import quote
from viewfinder.errors import FAILED, Pruned, UserError
from viewfinder.runs.atomic import DISK
from viewfinder.runs.create import write_failure
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.launcher import is_helper

if TYPE_CHECKING:
    from viewfinder.training.callbacks.checkpointing import AfterEpoch

DISK_FULL = 3
"""Exit code of a job that could not write to the disk; the next job would fail as well."""


class Job(NamedTuple):
    """A training run to execute, and its folder."""

    folder: Path
    config: dict[str, Any]
    """resolved configuration, composed from conf/"""
    overrides: list[str]
    """overrides that compose it"""


def run_job(job: Job, after_epoch: "AfterEpoch | None" = None, is_resumed: bool | None = None) -> int:
    """Train a job, or resume the run that an earlier process left in its folder.

    Args:
        job: the run to train.
        after_epoch: called after each epoch; it may prune the run.
        is_resumed: whether the run in the folder goes on; by default, if one has started there.

    Returns:
        Exit code for the process: 0 if the run finished or was pruned, else FAILED or DISK_FULL, with the reason in
        run.json if the disk can be written.

    Raises:
        Stopped: after a signal.
    """
    from viewfinder.experiment.resume import resume_experiment
    from viewfinder.experiment.run import run_experiment

    run = RunFolder(job.folder)
    try:
        if run.has_started() if is_resumed is None else is_resumed:
            resume_experiment(run, find_changed_overrides(run, job.config), after_epoch)
        else:
            if run.is_writer:
                run.clear()
            run_experiment(OmegaConf.create(job.config), job.folder, job.overrides, after_epoch)
    except Pruned:
        return 0
    except UserError as error:
        print(error, file=sys.stderr)
        record_failure(job, error.reason)
        return DISK_FULL if error.stage == DISK else FAILED
    except Exception as error:
        traceback.print_exc()
        record_failure(job, " ".join(f"{type(error).__name__}: {error}".split()))
        return FAILED
    return 0


def record_failure(job: Job, reason: str) -> None:
    """Record in a job's folder why the job failed, unless its run did so itself or the disk cannot be written."""
    if is_helper():
        return
    with contextlib.suppress(OSError):
        write_failure(job.folder, job.config, job.overrides, reason)


def find_changed_overrides(run: RunFolder, config: dict[str, Any]) -> list[str]:
    """Return overrides for changeable keys whose values differ from the run's, or that a run does not store."""
    from viewfinder.experiment.failures import format_allow_override
    from viewfinder.experiment.resume import CHANGEABLE

    current, stored = flatten(config), flatten(run.read_settings())
    overrides = []
    for key in CHANGEABLE:
        value = current.get(key)
        if value != stored.get(key) or (key == "data.download" and value is not None):
            overrides.append(f"{key}={quote(value) if isinstance(value, str) else json.dumps(value)}")
    return [*overrides, *format_allow_override(config)]
