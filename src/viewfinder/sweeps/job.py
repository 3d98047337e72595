"""A job of a sweep or a search: a run in a folder that is given, begun or continued in a process of its own."""

import contextlib
import json
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from viewfinder.errors import FAILED, UserError
from viewfinder.runs.atomic import DISK
from viewfinder.runs.folder import RunFolder
from viewfinder.training.callbacks.signals import Pruned

if TYPE_CHECKING:
    from viewfinder.training.callbacks.checkpointing import AfterEpoch

NO_DISK = 3
"""Exit code of a process of a job that the disk took no more from: the next one would fare no better."""


class Job(NamedTuple):
    """What there is to train, and where."""

    folder: Path
    config: dict[str, Any]
    """resolved, as conf/ composes it"""
    overrides: list[str]
    """what was typed to get it"""


def run_job(job: Job, after_epoch: "AfterEpoch | None" = None) -> int:
    """Train from the beginning, or from where an earlier process has come to: the exit code of this one.

    0 when the run has finished or was pruned, 128 and a signal's number when it was stopped; FAILED or NO_DISK when it
    has failed, whose reason is in run.json then if the disk took it.

    Args:
        after_epoch: may give the run up when an epoch is over.
    """
    from viewfinder.experiment.resume import resume_experiment
    from viewfinder.experiment.run import run_experiment

    cfg = OmegaConf.create(job.config)
    run = RunFolder(job.folder)
    try:
        if run.is_begun():
            resume_experiment(run, _words(run, cfg), after_epoch)
        else:
            run.clear()
            run_experiment(cfg, job.folder, job.overrides, after_epoch)
    except Pruned:
        return 0
    except UserError as error:
        print(error, file=sys.stderr)
        record_failure(job, error.reason)
        return NO_DISK if error.stage == DISK else FAILED
    except Exception as error:
        traceback.print_exc()
        record_failure(job, " ".join(f"{type(error).__name__}: {error}".split()))
        return FAILED
    return 0


def record_failure(job: Job, reason: str) -> None:
    """Leave why a job failed in its folder, unless its run has said so itself, or the disk takes nothing."""
    with contextlib.suppress(OSError):
        RunFolder.record_failure(job.folder, OmegaConf.create(job.config), job.overrides, reason)


def _words(run: RunFolder, cfg: DictConfig) -> list[str]:
    """What is another than when the run was begun and may be; and what counts only where it is typed."""
    from viewfinder.experiment.failures import allowing
    from viewfinder.experiment.resume import CHANGEABLE

    before = run.read_config()
    words = []
    for key in CHANGEABLE:
        value = OmegaConf.select(cfg, key)
        if value != OmegaConf.select(before, key) or (key == "data.download" and value is not None):
            words.append(f"{key}={json.dumps(value)}")
    return [*words, *allowing(cfg)]
