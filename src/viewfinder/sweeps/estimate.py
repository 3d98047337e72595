"""Estimate of the time that the remaining jobs of a sweep take."""

import statistics
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from viewfinder.reporting.tables import format_duration
from viewfinder.sweeps.folder import SweepFolder, SweepJob


class Durations(NamedTuple):
    """Measured durations of a finished job, in seconds."""

    model: Any
    """configuration of its network"""
    epoch: float
    """mean over its epochs"""
    overhead: float
    """time outside the epochs; 0 if the run was interrupted"""


def describe_remaining_time(sweep: SweepFolder, jobs: Sequence[SweepJob], max_parallel: int) -> str:
    """Estimate how long the unfinished jobs take, in a sentence.

    The estimate uses medians over the sweep's finished jobs with the same network, or with any network if there is
    none.
    """
    unfinished = [job for job in jobs if sweep.status(job.folder) != "finished"]
    if not unfinished:
        return "All jobs are finished."
    measured = [_read_durations(sweep, job) for job in sweep.jobs if sweep.status(job.folder) == "finished"]
    measured = [durations for durations in measured if durations.epoch]
    if not measured:
        return "The time can be estimated once the first job has finished."
    seconds = 0.0
    for job in unfinished:
        similar = [durations for durations in measured if durations.model == job.config["model"]] or measured
        run = sweep.run_folder(job.folder)
        trained = len(run.read_run().get("epoch_seconds", [])) if run.run.is_file() else 0
        epoch = statistics.median(durations.epoch for durations in similar)
        overhead = statistics.median(durations.overhead for durations in similar)
        seconds += epoch * max(0, job.config["trainer"]["max_epochs"] - trained) + overhead
    count = f"{len(unfinished)} job{'s' * (len(unfinished) > 1)}"
    parallel = f", or {format_duration(seconds / max_parallel)} with {max_parallel} at once" if max_parallel > 1 else ""
    return f"{count} left: about {format_duration(seconds)} one at a time{parallel}, judging by the finished jobs."


def _read_durations(sweep: SweepFolder, job: SweepJob) -> Durations:
    """Read the durations of a finished job; all are 0 if its epochs were not recorded."""
    facts = sweep.run_folder(job.folder).read_run()
    epochs = facts.get("epoch_seconds", [])
    if not epochs:
        return Durations(job.config["model"], 0.0, 0.0)
    total = 0.0
    if not facts.get("resumed") and "ended" in facts and "started" in facts:
        started, ended = (datetime.fromisoformat(facts[name]) for name in ("started", "ended"))
        total = (ended - started).total_seconds()
    return Durations(job.config["model"], statistics.mean(epochs), max(0.0, total - sum(epochs)))
