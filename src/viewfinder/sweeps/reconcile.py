"""A command line meets the sweep that is there: which jobs are known, which are new, and what has changed since."""

from collections.abc import Sequence

from viewfinder.errors import Problem, UserError, join_names
from viewfinder.sweeps.changes import other_code, other_data, other_values, pair
from viewfinder.sweeps.folder import SweepFolder, SweepJob
from viewfinder.sweeps.plan import Plan, Planned


def merge(sweep: SweepFolder, plan: Plan) -> list[SweepJob]:
    """The jobs of a command line, as the sweep has them; new ones are added to it.

    Raises:
        UserError: if jobs were begun by other code or data, or the line has other values than the sweep, and
            `sweep.rerun` does not say what is to become of them.
    """
    rerun = plan.settings.rerun
    known = pair(plan.jobs, [*sweep.jobs, *reversed(sweep.earlier)])
    values = other_values(plan.jobs, sweep.jobs) if rerun is not False else []
    changed = _changed(sweep, plan.jobs, known, looks=rerun is not False)
    asked = [folder for folder in changed if sweep.status(folder) != "failed"]
    if rerun is None and (values or asked):
        raise UserError("the sweep", _questions(sweep, values, {name: changed[name] for name in asked}))
    if values:
        leaving = [job for job in sweep.jobs if job not in known]
        sweep.earlier += leaving
        sweep.left = len(leaving)
        sweep.jobs = [job for job in sweep.jobs if job in known]
    jobs = []
    for planned, job in zip(plan.jobs, known, strict=True):
        if job is None:
            job = SweepJob(sweep.next_folder(), planned.overrides, planned.config)
            sweep.jobs.append(job)
        elif job in sweep.earlier:
            sweep.earlier.remove(job)
            sweep.jobs.append(job)
        if job.folder in changed:
            again = sweep.another_folder(job)
            sweep.earlier.append(SweepJob(job.folder, job.overrides, job.config))
            job.folder = again
        job.overrides, job.config = planned.overrides, planned.config
        jobs.append(job)
    return jobs


def _changed(
    sweep: SweepFolder, planned: Sequence[Planned], known: Sequence[SweepJob | None], looks: bool
) -> dict[str, list[str]]:
    """Folders of begun jobs, each with what has changed since: code, versions, pictures, scores.

    Args:
        looks: at more than the scores.
    """
    begun = [
        (job, each)
        for job, each in zip(known, planned, strict=True)
        if job is not None and sweep.run(job.folder).is_begun()
    ]
    changed = other_code(sweep.run(job.folder) for job, _ in begun) if looks else {job.folder: [] for job, _ in begun}
    for job, _ in begun:
        if sweep.is_damaged(job.folder):
            changed[job.folder].append("its scores are lost")
    looked = [(job, each) for job, each in begun if looks and sweep.run(job.folder).data.is_file()]
    for folder, splits in (other_data(sweep, looked) if looked else {}).items():
        changed[folder].append(f"the pictures ({join_names(splits)})")
    return {folder: what for folder, what in changed.items() if what}


def _questions(sweep: SweepFolder, values: list[str], changed: dict[str, list[str]]) -> list[Problem]:
    problems = []
    if values:
        rule = f"has other values than this line: {join_names(values)}"
        remedy = (
            "sweep.rerun=true goes on with the new ones alone: the old jobs leave the sweep, and keep their folders.\n"
            "sweep.rerun=false keeps them in it. Or give the new line a sweep.name of its own."
        )
        problems.append(Problem(str(sweep.path), rule, remedy=remedy))
    if changed:
        what = join_names(dict.fromkeys(each for differences in changed.values() for each in differences))
        count = f"{len(changed)} job{'s' * (len(changed) > 1)}"
        rule = f"{count} of this line began before a change of: {what}"
        remedy = (
            "sweep.rerun=true runs them again, in folders of their own.\n"
            "sweep.rerun=false takes what is finished as it is, and goes on with the rest."
        )
        problems.append(Problem(str(sweep.path), rule, remedy=remedy))
    return problems
