"""What is left of a sweep will take, by what its finished jobs took."""

import statistics
from collections.abc import Sequence
from datetime import datetime

from viewfinder.sweeps.folder import SweepFolder, SweepJob


def say_cost(sweep: SweepFolder, jobs: Sequence[SweepJob], at_once: int) -> str:
    """A sentence about the jobs of a line that are left.

    By the median seconds of an epoch, and of all around the epochs, of the sweep's finished jobs with the same network;
    of any network where there is none.
    """
    left = [job for job in jobs if sweep.status(job.folder) != "finished"]
    if not left:
        return "All of it is done."
    known = [(job.config["model"], *_taken(sweep, job)) for job in sweep.jobs if sweep.status(job.folder) == "finished"]
    known = [each for each in known if each[1]]
    if not known:
        return "What it will cost is known when the first job has finished."
    seconds = 0.0
    for job in left:
        like = [each for each in known if each[0] == job.config["model"]] or known
        run = sweep.run(job.folder)
        done = len(run.read_run().get("epoch_seconds", [])) if run.run.is_file() else 0
        epoch, around = (statistics.median(each[place] for each in like) for place in (1, 2))
        seconds += epoch * max(0, job.config["trainer"]["max_epochs"] - done) + around
    plural = f"{len(left)} jobs are" if len(left) > 1 else "1 job is"
    share = f", some {_duration(seconds / at_once)} with {at_once} at once" if at_once > 1 else ""
    return f"{plural} left: some {_duration(seconds)} one by one, as the finished ones took{share}."


def _taken(sweep: SweepFolder, job: SweepJob) -> tuple[float, float]:
    """Seconds of an epoch, 0 where they are unknown, and of all around the epochs, 0 where the run was interrupted."""
    facts = sweep.run(job.folder).read_run()
    epochs = facts.get("epoch_seconds", [])
    if not epochs:
        return 0.0, 0.0
    whole = 0.0
    if not facts.get("resumed") and "ended" in facts and "started" in facts:
        began, ended = (datetime.fromisoformat(facts[name]) for name in ("started", "ended"))
        whole = (ended - began).total_seconds()
    return statistics.mean(epochs), max(0.0, whole - sum(epochs))


def _duration(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {name}"
    return f"{seconds:.0f} seconds"
