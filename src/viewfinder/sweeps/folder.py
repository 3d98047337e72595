"""A sweep's folder: the plan in sweep.json, and the run folder of each job."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from viewfinder.errors import Problem, UserError
from viewfinder.runs import provenance
from viewfinder.runs.atomic import FULL, unwritable, write_json
from viewfinder.runs.folder import SWEEP, RunFolder, refuse_links

AGAIN = "type the same line again, or take another place by output_dir=PATH."


@dataclass
class SweepJob:
    """A job as the plan has it."""

    folder: str
    overrides: list[str]
    config: dict[str, Any]


@dataclass
class SweepFolder:
    """What sweep.json says: the jobs of the sweep, and those that have left it.

    Args:
        path: the folder.
        name: what `sweep.name` is, or would be to go on with a sweep that was given none.
        is_named: whether it was given one.
        started: when the sweep was.
    """

    path: Path
    name: str
    is_named: bool = True
    jobs: list[SweepJob] = field(default_factory=list)
    earlier: list[SweepJob] = field(default_factory=list)
    """replaced by a job of other code, data or values; their folders stay"""
    left: int = 0
    """jobs that have just left it"""
    started: str = field(default_factory=provenance.now)
    command: str = field(default_factory=provenance.command)
    """that the plan is of"""

    def read(self) -> None:
        """Take over what sweep.json says, if there is one.

        Raises:
            UserError: if it is not as Viewfinder writes it, or something else is in the folder.
        """
        from viewfinder.runs.schemas import Sweep, read_kept

        if not (self.path / SWEEP).exists():
            if self.path.exists() and (not self.path.is_dir() or any(self.path.glob("[!.]*"))):
                rule = "is something else than a sweep"
                raise UserError("the sweep", [Problem("sweep.name", rule, str(self.path), "Choose another name.")])
            return
        found = read_kept(self.path / SWEEP, Sweep)
        self.started, self.command = found["started"], found["command"]
        self.jobs, self.earlier = (
            [SweepJob(each["folder"], each["overrides"], each["config"]) for each in found[name]]
            for name in ("jobs", "earlier")
        )

    def write(self) -> None:
        """Write sweep.json."""
        jobs = {"jobs": [asdict(job) for job in self.jobs], "earlier": [asdict(job) for job in self.earlier]}
        facts = {"command": self.command, "started": self.started, **provenance.this_process()}
        write_json(self.path / SWEEP, facts | jobs)

    def run(self, folder: str) -> RunFolder:
        """A job's run folder, which need not be there."""
        return RunFolder(self.path / folder)

    def status(self, folder: str) -> str:
        """As RunFolder.status; waiting, where the job has not been begun; failed, where it has lost its scores."""
        run = self.run(folder)
        if not run.run.is_file():
            return "waiting"
        return "failed" if self.is_damaged(folder) else run.status

    def is_damaged(self, folder: str) -> bool:
        """Whether a job has finished, and its scores cannot be read."""
        run = self.run(folder)
        if run.status != "finished":
            return False
        try:
            run.read_scores()
        except UserError:
            return True
        return False

    def next_folder(self) -> str:
        """A number that no job has had."""
        return str(1 + max((int(job.folder.partition("_")[0]) for job in (*self.jobs, *self.earlier)), default=-1))

    def another_folder(self, job: SweepJob) -> str:
        """For a job that is run again: 3_2 after 3."""
        number = job.folder.partition("_")[0]
        times = [each.folder for each in (*self.jobs, *self.earlier) if each.folder.partition("_")[0] == number]
        return f"{number}_{len(times) + 1}"

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Within this block this process alone runs the sweep.

        Raises:
            UserError: if another process does, or the folder cannot be made or written.
        """
        lock = FileLock(self.path / ".lock")
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            refuse_links(self.path)
            lock.acquire(blocking=False)
        except Timeout as error:
            rule = f"is run by {self._who()}"
            remedy = "Wait until it ends, or stop it by SIGTERM."
            raise UserError("the sweep", [Problem("sweep", rule, str(self.path), remedy)]) from error
        except OSError as error:
            raise unwritable(self.path, error, AGAIN) from error
        try:
            yield
        except OSError as error:
            if error.errno not in FULL and not str(error.filename or "").startswith(str(self.path)):
                raise
            raise unwritable(self.path, error, AGAIN) from error
        finally:
            lock.release()
            with contextlib.suppress(OSError):  # where it was refused, nothing of it stays
                if not (self.path / SWEEP).exists():
                    Path(lock.lock_file).unlink()
                    self.path.rmdir()

    def _who(self) -> str:
        from viewfinder.runs.schemas import Sweep, read_kept

        with contextlib.suppress(UserError):
            found = read_kept(self.path / SWEEP, Sweep)
            return f"process {found['process']} on {found['machine']['host']}"
        return "another process, which has just begun"
