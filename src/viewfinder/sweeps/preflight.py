"""Jobs whose configuration cannot work, found before the first of the others begins."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from viewfinder.errors import UserError
from viewfinder.sweeps.executors.local import ask
from viewfinder.sweeps.folder import SweepFolder, SweepJob


def refused(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> tuple[dict[str, str], int | None]:
    """Folders of jobs that have not begun and cannot, each with the reason on one line; and a signal that came."""
    waiting = {job.folder: job.config for job in jobs if not sweep.run(job.folder).is_begun()}
    if not waiting:
        return {}, None
    (reasons,), stopped = ask(check, [waiting])
    return reasons or {}, stopped


def check(configs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """What the constructors refuse: folder -> reason; it imports whatever a configuration names."""
    from viewfinder.experiment.build import check_config

    reasons = {}
    for folder, config in configs.items():
        try:
            check_config(OmegaConf.create(config))
        except UserError as error:
            reasons[folder] = error.reason
    return reasons
