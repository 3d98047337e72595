"""Execution of a sweep, from its overrides to its results."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from viewfinder.config.hydra_internals import Override
from viewfinder.data.resources import count_cores
from viewfinder.errors import FAILED, Problem, UserError
from viewfinder.runs.naming import make_dated_folder
from viewfinder.runs.provenance import read_command
from viewfinder.sweeps.executors.local import LocalExecutor, describe_exit
from viewfinder.sweeps.executors.open import open_executor
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.job import DISK_FULL, Job, record_failure, run_job
from viewfinder.sweeps.launcher import is_local
from viewfinder.sweeps.plan import Plan, plan_jobs
from viewfinder.sweeps.preflight import find_invalid_jobs
from viewfinder.sweeps.queue import QueueDriver, open_queue, refuse_other_launcher
from viewfinder.sweeps.queue_output import print_left
from viewfinder.sweeps.reconcile import reconcile_jobs
from viewfinder.sweeps.table import (
    describe_overrides,
    print_dry_run,
    print_invalid_jobs,
    print_job_end,
    print_start,
    report_results,
)


def run_sweep(parsed: Sequence[Override]) -> int:
    """Run the unfinished jobs of a sweep, each in its own process, and report the results of all.

    Args:
        parsed: overrides that `parse_overrides` has accepted.

    Returns:
        Exit code: 0 if every job of the command line has finished, FAILED if not, or 128 plus the number of the signal
        that stopped the sweep.

    Raises:
        UserError: if an override is unsupported, or the existing sweep has other code, data or values.
    """
    plan = plan_jobs(parsed)
    max_parallel = _divide_cores(plan) if is_local(plan.launcher) else 1
    if not is_local(plan.launcher):
        executor = open_executor(plan.launcher, Path(plan.settings.output_dir))
        executor.check([job.config for job in plan.jobs])
    sweep = _choose_folder(plan)
    if plan.settings.dry_run:
        sweep.read()
        jobs = reconcile_jobs(sweep, plan)
        invalid, stop_signal = find_invalid_jobs(sweep, jobs)
        print_dry_run(sweep, jobs, max_parallel, invalid)
        return 128 + stop_signal if stop_signal else 0
    with sweep.locked():
        sweep.read()
        unfinished = (job.folder for job in sweep.jobs if sweep.status(job.folder) != "finished")
        refuse_other_launcher(sweep.path, unfinished, plan.launcher)
        if sweep.jobs:
            sweep.write()  # names this process as the owner
        jobs = reconcile_jobs(sweep, plan)
        sweep.command = read_command()
        sweep.write()
        if is_local(plan.launcher):
            stop_signal = run_jobs(sweep, jobs, max_parallel, plan)
        else:
            stop_signal = queue_jobs(sweep, jobs, plan)
            if not plan.settings.wait and any(sweep.status(job.folder) != "finished" for job in jobs):
                return 128 + stop_signal if stop_signal else 0
        is_finished = report_results(sweep, jobs)
    return 128 + stop_signal if stop_signal else 0 if is_finished else FAILED


def run_jobs(sweep: SweepFolder, jobs: Sequence[SweepJob], max_parallel: int, plan: Plan) -> int | None:
    """Start or resume each unfinished job; return the number of the signal that stopped them, if any."""
    unfinished, failures, stop_signal = prepare_jobs(sweep, jobs, max_parallel, plan)
    if stop_signal or not unfinished:
        return stop_signal
    is_sequential, max_failures = max_parallel == 1, plan.settings.max_failures

    def announce_jobs() -> Iterator[Job]:
        settings = describe_overrides(sweep)
        for number, job in enumerate(unfinished.values(), 1):
            gap = "\n" if is_sequential else ""
            print(f"{gap}job {job.folder} ({number} of {len(unfinished)}): {settings[job.folder]}", flush=True)
            yield Job(sweep.path / job.folder, job.config, job.overrides)

    def log_path(job: Job) -> Path | None:
        return None if is_sequential else sweep.path / f"{job.folder.name}.log"

    with LocalExecutor(run_job, max_parallel, log_path) as executor:
        for job, code in executor.run(announce_jobs()):
            if code not in (0, FAILED, DISK_FULL) and executor.stop_signal is None:
                record_failure(job, describe_exit(code))
            if not is_sequential:
                print_job_end(sweep, unfinished[job.folder.name])
            failures += code != 0
            limit = "the disk is full" if code == DISK_FULL else _describe_failure_limit(failures, max_failures)
            if limit and not executor.is_draining:
                executor.is_draining = True
                print(f"\n{limit}: no further job starts", flush=True)
    return executor.stop_signal


def queue_jobs(sweep: SweepFolder, jobs: Sequence[SweepJob], plan: Plan) -> int | None:
    """Submit each unfinished job that is not with the scheduler yet, and wait for all if `sweep.wait`.

    Returns:
        Number of the signal that stopped the preparation, if any.

    Raises:
        Stopped: after Ctrl-C; submitted jobs go on.
    """
    unfinished, failures, stop_signal = prepare_jobs(sweep, jobs, 1, plan)
    if stop_signal or not unfinished:
        return stop_signal
    executor, queue = open_executor(plan.launcher, sweep.path), open_queue(sweep, plan.launcher)
    driver = QueueDriver(sweep, queue, executor, sys.orig_argv, plan.settings.max_failures, failures)
    driver.attach(unfinished)
    driver.submit()
    if plan.settings.wait:
        driver.wait()
    else:
        print_left(sweep, len(driver.queued), len(driver.waiting))
    return None


def prepare_jobs(
    sweep: SweepFolder, jobs: Sequence[SweepJob], max_parallel: int, plan: Plan
) -> tuple[dict[str, SweepJob], int, int | None]:
    """Print the status of the jobs, and record a failure for those whose configuration is invalid.

    Returns:
        Valid unfinished jobs by folder, none if too many have failed; the number of invalid jobs; and the number of
        the signal that stopped the validation, if any.
    """
    unfinished = {job.folder: job for job in jobs if sweep.status(job.folder) != "finished"}
    print_start(sweep, jobs, max_parallel, plan.duplicates)
    if not unfinished:
        return {}, 0, None
    invalid, stop_signal = find_invalid_jobs(sweep, jobs)
    if stop_signal:
        return {}, 0, stop_signal
    print_invalid_jobs(invalid)
    for folder, reason in invalid.items():
        job = unfinished.pop(folder)
        record_failure(Job(sweep.path / folder, job.config, job.overrides), reason)
    if limit := _describe_failure_limit(len(invalid), plan.settings.max_failures):
        print(f"{limit}: no job starts", flush=True)
        return {}, len(invalid), None
    return unfinished, len(invalid), None


def _describe_failure_limit(failures: int, limit: int | None) -> str:
    return f"{failures} failed, and sweep.max_failures is {limit}" if limit is not None and failures >= limit else ""


def _divide_cores(plan: Plan) -> int:
    """Return the number of jobs that run at once, and give each its share of the cores.

    The environment is changed before the fork server starts, because the server passes it on to the jobs.
    """
    max_parallel, cores = plan.settings.n_jobs, count_cores()
    if max_parallel is None and any(job.config["trainer"].get("accelerator") != "cpu" for job in plan.jobs):
        import torch

        max_parallel = torch.accelerator.device_count() or None
    max_parallel = cores if max_parallel in (None, -1) else max_parallel
    max_parallel = min(max_parallel, len(plan.jobs))
    if max_parallel > 1:
        os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // max_parallel)))
    return max_parallel


def _choose_folder(plan: Plan) -> SweepFolder:
    """Return <output_dir>/<sweep.name>, or a dated folder named after the experiments or models.

    Raises:
        UserError: if the name leads out of output_dir.
    """
    name, output_dir = plan.settings.name, Path(plan.settings.output_dir)
    if name is None:
        path = output_dir / "-".join(dict.fromkeys(str(job.config["name"]) for job in plan.jobs))
        path = path / "<time>" if plan.settings.dry_run else make_dated_folder(path)
        return SweepFolder(path, str(path.relative_to(output_dir)), is_named=False)
    if Path(name).anchor or ".." in Path(name).parts or Path(name) == Path():
        rule = "must name a folder below output_dir"
        raise UserError("the command line", [Problem("sweep.name", rule, name, "For example sweep.name=lr.")])
    return SweepFolder(output_dir / name, name)
