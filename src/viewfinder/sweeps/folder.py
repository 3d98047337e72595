"""Folder of a sweep: sweep.json with its jobs, and a run folder for each job."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from viewfinder.config.moved import update_targets
from viewfinder.errors import Problem, UserError
from viewfinder.runs import provenance
from viewfinder.runs.atomic import DISK_FULL_ERRORS, make_write_error, write_json
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.lock import refuse_links
from viewfinder.runs.naming import SWEEP_FILE

RETRY = "run the same command again, or choose another place with output_dir=PATH."


@dataclass
class SweepJob:
    """Job of a sweep, as in sweep.json."""

    folder: str
    """name of its run folder, such as 3, or 3_2 for its second run"""
    overrides: list[str]
    config: dict[str, Any]


@dataclass
class SweepFolder:
    """Jobs of a sweep and their run folders.

    Args:
        path: the folder.
        name: value of `sweep.name`; for a sweep without a name, the value that continues it.
        is_named: whether a name was given.
        jobs: current jobs.
        earlier: jobs that were replaced because code, data or values changed; their folders remain.
        removed_count: number of jobs that this process moved to `earlier`.
        started: time at which the sweep was started.
        command: command line of the current jobs.
    """

    path: Path
    name: str
    is_named: bool = True
    jobs: list[SweepJob] = field(default_factory=list)
    earlier: list[SweepJob] = field(default_factory=list)
    removed_count: int = 0
    started: str = field(default_factory=provenance.now)
    command: str = field(default_factory=provenance.read_command)

    def read(self) -> None:
        """Read sweep.json, if there is one. Classes that have moved get their present path.

        Raises:
            UserError: if the file is invalid, or the folder contains something else.
        """
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.sweep import Sweep

        if not (self.path / SWEEP_FILE).exists():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.glob("[!.]*"))):
                rule = "exists and is not a sweep"
                raise UserError("the sweep", [Problem("sweep.name", rule, str(self.path), "Choose another name.")])
            return
        content = read_validated_json(self.path / SWEEP_FILE, Sweep)
        self.started, self.command = content["started"], content["command"]
        self.jobs, self.earlier = (
            [SweepJob(job["folder"], job["overrides"], update_targets(job["config"])) for job in content[name]]
            for name in ("jobs", "earlier")
        )

    def write(self) -> None:
        """Write sweep.json."""
        jobs = {"jobs": [asdict(job) for job in self.jobs], "earlier": [asdict(job) for job in self.earlier]}
        facts = {"command": self.command, "started": self.started, **provenance.describe_process()}
        write_json(self.path / SWEEP_FILE, facts | jobs)

    def run_folder(self, name: str) -> RunFolder:
        """Return a job's run folder, which may not exist yet."""
        return RunFolder(self.path / name)

    def status(self, name: str) -> str:
        """Return `RunFolder.status`; 'waiting' if the job has not started, 'failed' if its scores are lost."""
        run = self.run_folder(name)
        if not run.run.is_file():
            return "waiting"
        return "failed" if self.is_damaged(name) else run.status

    def is_damaged(self, name: str) -> bool:
        """Return whether a job has finished but its scores cannot be read."""
        run = self.run_folder(name)
        if run.status != "finished":
            return False
        try:
            run.read_scores()
        except UserError:
            return True
        return False

    def next_folder(self) -> str:
        """Return an unused folder name for a new job."""
        return str(1 + max((int(job.folder.partition("_")[0]) for job in (*self.jobs, *self.earlier)), default=-1))

    def next_rerun_folder(self, job: SweepJob) -> str:
        """Return an unused folder name for running a job again, such as 3_2 after 3."""
        number = job.folder.partition("_")[0]
        runs = [other for other in (*self.jobs, *self.earlier) if other.folder.partition("_")[0] == number]
        return f"{number}_{len(runs) + 1}"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Create the folder, and keep other processes from running the sweep during this block.

        A folder without sweep.json is removed again afterwards.

        Raises:
            UserError: if another process runs the sweep, or the folder cannot be created or written.
        """
        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_links(self.path)
            lock.acquire(blocking=False)
        except Timeout as error:
            rule = f"is locked by {self._describe_owner()}"
            remedy = "Wait until it ends, or stop it with SIGTERM."
            raise UserError("the sweep", [Problem("sweep", rule, str(self.path), remedy)]) from error
        except OSError as error:
            raise make_write_error(self.path, error, RETRY) from error
        try:
            yield
        except OSError as error:
            if error.errno not in DISK_FULL_ERRORS and not str(error.filename or "").startswith(str(self.path)):
                raise
            raise make_write_error(self.path, error, RETRY) from error
        finally:
            lock.release()
            with contextlib.suppress(OSError):
                if not (self.path / SWEEP_FILE).exists():
                    Path(lock.lock_file).unlink()
                    self.path.rmdir()

    def _describe_owner(self) -> str:
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.sweep import Sweep

        with contextlib.suppress(UserError):
            content = read_validated_json(self.path / SWEEP_FILE, Sweep)
            return f"process {content['process']} on {content['machine']['host']}"
        return "another process, which has just started"
