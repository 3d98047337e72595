"""Reconciliation of a command line with the jobs of an existing sweep."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from viewfinder.config.flatten import find_varying_keys
from viewfinder.config.paths import DATA_KEYS
from viewfinder.errors import Problem, UserError, join_names
from viewfinder.sweeps.changes import (
    describe_new_values,
    find_code_changes,
    find_data_changes,
    flatten_job,
    is_identifying,
)
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.plan import Plan, PlannedJob


def reconcile_jobs(sweep: SweepFolder, plan: Plan) -> list[SweepJob]:
    """Match a command line with a sweep, and return the sweep's jobs for it.

    Changes `sweep` in memory: adds new jobs, removes outdated ones, and gives jobs that run again new folders.

    Raises:
        UserError: if code, data or fixed values have changed, and `sweep.rerun` does not decide what to do.
    """
    rerun = plan.settings.rerun
    matched = match_jobs(plan.jobs, [*sweep.jobs, *reversed(sweep.earlier)])  # newest first
    new_values = describe_new_values(plan.jobs, sweep.jobs) if rerun is not False else []
    changes = _find_changes(sweep, plan.jobs, matched, scores_only=rerun is False)
    undecided = {folder: changes[folder] for folder in changes if sweep.status(folder) != "failed"}
    if rerun is None and (new_values or undecided):
        raise UserError("the sweep", _describe_conflicts(sweep, new_values, undecided))
    if new_values:
        removed = [job for job in sweep.jobs if job not in matched]
        sweep.earlier += removed
        sweep.removed_count = len(removed)
        sweep.jobs = [job for job in sweep.jobs if job in matched]
    jobs = []
    for planned, job in zip(plan.jobs, matched, strict=True):
        if job is None:
            job = SweepJob(sweep.next_folder(), planned.overrides, planned.config)
            sweep.jobs.append(job)
        elif job in sweep.earlier:
            sweep.earlier.remove(job)
            sweep.jobs.append(job)
        if job.folder in changes:
            new_folder = sweep.next_rerun_folder(job)
            sweep.earlier.append(SweepJob(job.folder, job.overrides, job.config))
            job.folder = new_folder
        job.overrides, job.config = planned.overrides, planned.config
        jobs.append(job)
    return jobs


def match_jobs(planned: Sequence[PlannedJob], existing: Sequence[SweepJob]) -> list[SweepJob | None]:
    """Find the existing job for each planned job: equal in all swept keys and in all keys that can change a score.

    Args:
        planned: jobs of the command line.
        existing: jobs of the sweep; the first of several equal jobs is used.
    """
    new, old = ([flatten_job(job) for job in jobs] for jobs in (planned, existing))
    swept = find_varying_keys(new)
    by_values, by_values_and_root = (
        {_identify(config, keys): job for config, job in zip(reversed(old), reversed(existing), strict=True)}
        for keys in (swept, {*swept, *DATA_KEYS})
    )
    return [
        by_values_and_root.get(_identify(config, {*swept, *DATA_KEYS}), by_values.get(_identify(config, swept)))
        for config in new
    ]


def _identify(config: Mapping[str, Any], swept: set[str]) -> str:
    """Return the values of a flat configuration that tell its job from others; null is as no value."""
    values = {key: value for key, value in config.items() if is_identifying(key) or key in swept}
    return json.dumps({key: value for key, value in values.items() if value is not None}, sort_keys=True)


def _find_changes(
    sweep: SweepFolder, planned: Sequence[PlannedJob], matched: Sequence[SweepJob | None], scores_only: bool
) -> dict[str, list[str]]:
    """List the reasons to run a job again, by started job: changed code, versions or images, or lost scores.

    Args:
        sweep: the sweep.
        planned: jobs of the command line.
        matched: their jobs in the sweep; None for a new job.
        scores_only: check only for lost scores.
    """
    started = [
        (job, planned_job)
        for job, planned_job in zip(matched, planned, strict=True)
        if job is not None and sweep.run_folder(job.folder).has_started()
    ]
    changes: dict[str, list[str]] = {job.folder: [] for job, _ in started}
    if not scores_only:
        changes = find_code_changes(sweep.run_folder(job.folder) for job, _ in started)
    for job, _ in started:
        if sweep.is_damaged(job.folder):
            changes[job.folder].append("lost scores")
    with_data = [pair for pair in started if sweep.run_folder(pair[0].folder).data.is_file()]
    if with_data and not scores_only:
        for folder, splits in find_data_changes(sweep, with_data).items():
            changes[folder].append(f"the images ({join_names(splits)})")
    return {folder: reasons for folder, reasons in changes.items() if reasons}


def _describe_conflicts(sweep: SweepFolder, new_values: list[str], changes: dict[str, list[str]]) -> list[Problem]:
    problems = []
    if new_values:
        rule = f"was started with other values than this command: {join_names(new_values)}"
        remedy = (
            "sweep.rerun=true continues with the new values alone; the old jobs leave the sweep, but their folders "
            "remain.\nsweep.rerun=false keeps the old jobs in it. Or give the new command its own sweep.name."
        )
        problems.append(Problem(str(sweep.path), rule, remedy=remedy))
    if changes:
        reasons = join_names(dict.fromkeys(reason for reasons in changes.values() for reason in reasons))
        count = f"{len(changes)} job{'s' * (len(changes) > 1)}"
        rule = f"{count} of this command started before the following changed: {reasons}"
        remedy = (
            "sweep.rerun=true runs them again, in new folders.\n"
            "sweep.rerun=false keeps finished jobs as they are, and runs the rest."
        )
        problems.append(Problem(str(sweep.path), rule, remedy=remedy))
    return problems
