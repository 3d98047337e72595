"""A sweep, from what was typed to its table."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import joblib

from viewfinder.config.hydra_internals import Override
from viewfinder.errors import FAILED, Problem, UserError
from viewfinder.runs.naming import make_dated
from viewfinder.runs.provenance import command
from viewfinder.sweeps.executors.local import Processes, cause_of_death
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.job import NO_DISK, Job, record_failure, run_job
from viewfinder.sweeps.plan import Plan, plan
from viewfinder.sweeps.preflight import refused
from viewfinder.sweeps.reconcile import merge
from viewfinder.sweeps.table import differing_words, say_begin, say_dry_run, say_end, say_ended, say_refused


def run_sweep(parsed: Sequence[Override]) -> int:
    """Run the jobs of a sweep that are not done, each in a process of its own, and say what all of them came to.

    Args:
        parsed: the overrides, checked.

    Returns:
        The exit code: 0 when every job of the line has finished, FAILED when one has not, 128 and a signal's number
        after that.

    Raises:
        UserError: if the line asks for what cannot be, or for something else than the sweep has been so far.
    """
    planned = plan(parsed)
    at_once = _share_the_machine(planned)
    sweep = _folder(planned)
    if planned.settings.dry_run:
        sweep.read()
        jobs = merge(sweep, planned)
        wrong, stopped = refused(sweep, jobs)
        say_dry_run(sweep, jobs, at_once, wrong)
        return 128 + stopped if stopped else 0
    with sweep.taken():
        sweep.read()
        if sweep.jobs:
            sweep.write()  # whose it is now
        jobs = merge(sweep, planned)
        sweep.command = command()
        sweep.write()
        stopped = run_jobs(sweep, jobs, at_once, planned)
        is_done = say_end(sweep, jobs)
    return 128 + stopped if stopped else 0 if is_done else FAILED


def run_jobs(sweep: SweepFolder, jobs: Sequence[SweepJob], at_once: int, planned: Plan) -> int | None:
    """Begin or continue each job that has not finished; the number of the signal that ended this, if one did."""
    todo = {job.folder: job for job in jobs if sweep.status(job.folder) != "finished"}
    say_begin(sweep, jobs, at_once, planned.repeated)
    if not todo:
        return None
    wrong, stopped = refused(sweep, jobs)
    if stopped:
        return stopped
    say_refused(wrong)
    for folder, why in wrong.items():
        job = todo.pop(folder)
        record_failure(Job(sweep.path / folder, job.config, job.overrides), why)
    said = differing_words(sweep)
    is_alone, failures = at_once == 1, len(wrong)

    def each() -> Iterator[Job]:
        for number, job in enumerate(todo.values(), 1):
            gap = "\n" if is_alone else ""
            print(f"{gap}job {job.folder} ({number} of {len(todo)}): {said[job.folder]}", flush=True)
            yield Job(sweep.path / job.folder, job.config, job.overrides)

    def output(job: Job) -> Path | None:
        return None if is_alone else sweep.path / f"{job.folder.name}.log"

    most = planned.settings.max_failures
    if over := _over(failures, most):
        print(f"{over}: no job begins", flush=True)
        return None
    with Processes(run_job, at_once, output) as processes:
        for job, code in processes.run(each()):
            if code not in (0, FAILED, NO_DISK) and processes.requested is None:
                record_failure(job, cause_of_death(code))
            if not is_alone:
                say_ended(sweep, todo[job.folder.name])
            failures += code != 0
            over = "the disk takes no more" if code == NO_DISK else _over(failures, most)
            if over and not processes.is_over:
                processes.is_over = True
                print(f"\n{over}: no other job begins", flush=True)
    return processes.requested


def _over(failures: int, most: int | None) -> str:
    return f"{failures} failed, and sweep.max_failures is {most}" if most is not None and failures >= most else ""


def _share_the_machine(planned: Plan) -> int:
    """How many jobs run at once; each gets its part of the cores, from which the server of processes is started."""
    at_once, cores = planned.settings.n_jobs, joblib.cpu_count()
    if at_once is None and any(job.config["trainer"].get("accelerator") != "cpu" for job in planned.jobs):
        import torch

        at_once = torch.accelerator.device_count() or None
    at_once = cores if at_once in (None, -1) else at_once
    at_once = min(at_once, len(planned.jobs))
    if at_once > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // at_once)))
    return at_once


def _folder(planned: Plan) -> SweepFolder:
    """<output_dir>/<sweep.name>, or a dated one below the names of the experiments or models that it runs."""
    name, output_dir = planned.settings.name, Path(planned.settings.output_dir)
    if name is None:
        path = output_dir / "-".join(dict.fromkeys(str(job.config["name"]) for job in planned.jobs))
        path = path / "<time>" if planned.settings.dry_run else make_dated(path)
        return SweepFolder(path, str(path.relative_to(output_dir)), is_named=False)
    if Path(name).anchor or ".." in Path(name).parts or Path(name) == Path():
        rule = "must be a folder's name below output_dir"
        raise UserError("the command line", [Problem("sweep.name", rule, name, "Such as sweep.name=lr.")])
    return SweepFolder(output_dir / name, name)
