"""Queue file of a sweep, queue.json: the batches of jobs that were submitted to a scheduler."""

import re
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from viewfinder.runs.atomic import write_json
from viewfinder.runs.provenance import now
from viewfinder.sweeps.executors.protocol import Batch, QueuedJob, list_latest

QUEUE_FILE = "queue.json"
MAX_NAME = 40
"""Letters of a sweep's name in the name of a batch."""


@dataclass
class QueueFile:
    """Batches of a sweep, and the launcher to which they were submitted.

    Args:
        folder: folder of the sweep.
        launcher: `_target_` and keys of the launcher.
        token: random letters in the names of the sweep's batches.
        batches: in the order of their submission.
    """

    folder: Path
    launcher: dict[str, Any]
    token: str = field(default_factory=lambda: secrets.token_hex(4))
    batches: list[Batch] = field(default_factory=list)

    @classmethod
    def read(cls, folder: Path) -> "QueueFile | None":
        """Read queue.json; return None if no job of the sweep was ever submitted.

        Raises:
            UserError: if the file is invalid.
        """
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.sweep import Queue

        if not (folder / QUEUE_FILE).exists():
            return None
        content = read_validated_json(folder / QUEUE_FILE, Queue)
        batches = [
            Batch(batch["name"], batch["submitted"], [QueuedJob(**job) for job in batch["jobs"]])
            for batch in content["batches"]
        ]
        return cls(folder, content["launcher"], content["token"], batches)

    def write(self) -> None:
        """Write queue.json."""
        batches = [batch._asdict() | {"jobs": [job._asdict() for job in batch.jobs]} for batch in self.batches]
        write_json(self.folder / QUEUE_FILE, {"launcher": self.launcher, "token": self.token, "batches": batches})

    def add_batch(self, sweep_name: str, folders: Sequence[str]) -> Batch:
        """Add a batch of jobs, whose ids are not known yet, and write the file.

        Args:
            sweep_name: name of the sweep, for the name of the batch.
            folders: names of the jobs' run folders.
        """
        latest = list_latest(self.batches)
        jobs = [QueuedJob(folder, latest[folder][1].attempt + 1 if folder in latest else 1, None) for folder in folders]
        stem = re.sub(r"[^A-Za-z0-9_.-]", "_", Path(sweep_name).name)[:MAX_NAME]
        batch = Batch(f"{stem}-{self.token}-{len(self.batches)}", now(), jobs)
        self.batches.append(batch)
        self.write()
        return batch

    def set_ids(self, name: str, ids: Sequence[str | None]) -> None:
        """Store the ids of a batch's jobs, and write the file."""
        (number,) = (number for number, batch in enumerate(self.batches) if batch.name == name)
        batch = self.batches[number]
        jobs = [job._replace(id=id_) for job, id_ in zip(batch.jobs, ids, strict=True)]
        self.batches[number] = batch._replace(jobs=jobs)
        self.write()

    def remove_batch(self, name: str) -> None:
        """Remove a batch that the scheduler did not take, and write the file."""
        self.batches = [batch for batch in self.batches if batch.name != name]
        self.write()

    def list_batches(self, folders: Iterable[str]) -> list[Batch]:
        """Return the batches that contain the last attempts at some jobs."""
        latest = list_latest(self.batches)
        names = {latest[folder][0].name for folder in folders if folder in latest}
        return [batch for batch in self.batches if batch.name in names]
