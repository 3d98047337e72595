"""Validation of a sweep's new jobs before the first of them starts."""

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from viewfinder.errors import UserError
from viewfinder.sweeps.executors.local import run_in_subprocess
from viewfinder.sweeps.folder import SweepFolder, SweepJob


def find_invalid_jobs(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> tuple[dict[str, str], int | None]:
    """Find jobs that have not started and whose configuration is invalid.

    Returns:
        Folder of each invalid job with the reason in one line; and the number of the signal that stopped the
        validation, or None.
    """
    configs = {job.folder: job.config for job in jobs if not sweep.run_folder(job.folder).has_started()}
    if not configs:
        return {}, None
    (reasons,), stop_signal = run_in_subprocess(validate_configs, [configs])
    return reasons or {}, stop_signal


def validate_configs(configs: dict[str, dict[str, Any]]) -> dict[str, str]:
    """Return the reason for each invalid configuration. This imports every module that a configuration names."""
    from viewfinder.experiment.check import check_config

    reasons = {}
    for folder, config in configs.items():
        try:
            check_config(OmegaConf.create(config))
        except UserError as error:
            reasons[folder] = error.reason
    return reasons
