"""Jobs whose configuration cannot work, found before the first of the others begins."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from omegaconf import OmegaConf

from viewfinder.errors import ViewfinderError
from viewfinder.processes import Processes
from viewfinder.sweep.folder import SweepFolder, SweepJob
from viewfinder.whole_files import read_json, write_json


class Check(NamedTuple):
    """For a process of its own, since it imports whatever a configuration names."""

    configs: dict[str, dict[str, Any]]
    """by the job's folder"""
    found: Path
    """the file that takes folder -> reason"""


def refused(sweep: SweepFolder, jobs: Sequence[SweepJob]) -> tuple[dict[str, str], int | None]:
    """Folders of jobs that have not begun and cannot, each with the reason on one line; and a signal that came."""
    waiting = {job.folder: job.config for job in jobs if not sweep.run(job.folder).is_begun()}
    if not waiting:
        return {}, None
    with TemporaryDirectory() as folder, Processes(check) as processes:
        found = Path(folder) / "found.json"
        for _ in processes.run(iter([Check(waiting, found)])):
            pass
        return read_json(found) if found.exists() else {}, processes.requested


def check(what: Check) -> int:
    """Write what the constructors refuse to `what.found`; the exit code."""
    from viewfinder.assemble import check_config

    reasons = {}
    for folder, config in what.configs.items():
        try:
            check_config(OmegaConf.create(config))
        except ViewfinderError as error:
            reasons[folder] = error.reason
    write_json(what.found, reasons)
    return 0
