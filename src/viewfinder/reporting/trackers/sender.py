"""Sending of a run to a tracker: what is new in its folder."""

import secrets
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from viewfinder.config.flatten import flatten_settings
from viewfinder.config.instantiate import instantiate
from viewfinder.reporting.trackers.tracker import TrackedRun, Tracker
from viewfinder.runs.atomic import write_json
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.naming import SWEEP_FILE


class Sender:
    """Sender of one run to one tracker, which may be used again and again as the run folder grows.

    Args:
        run: the run.
        name: name of the tracker, as in the group `logger`.
        node: its `_target_` and arguments.
        typed_in: folder to which relative paths of the node belong; None for the folder where the run was started.
    """

    def __init__(self, run: RunFolder, name: str, node: Mapping[str, Any], typed_in: Path | None = None):
        self.folder, self.name, self.typed_in = run, name, typed_in
        self.tracker: Tracker = instantiate(node, f"logger.{name}")
        self.record = run.path / f"sync_{name}.json"
        """what the tracker got in the end"""
        self.stamp: object = None
        """size and time of metrics.csv when it was last read"""
        self.last_epoch: int | None = None
        """last epoch that the tracker has; None while there is no connection"""

    @property
    def place(self) -> str:
        """Place to which the run is sent."""
        return self.tracker.describe_place(describe_run(self.folder, self.typed_in))

    def lock(self) -> FileLock:
        """Return the lock of the process that sends this run to this tracker."""
        return FileLock(self.folder.path / f".sync_{self.name}.lock")

    def is_complete(self) -> bool:
        """Return whether the tracker has the whole run, as far as it has come."""
        if not self.record.is_file():
            return False
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.run import Synced

        return read_validated_json(self.record, Synced) == self._describe(self.folder.status)

    def send(self, status: str | None = None) -> None:
        """Send the epochs that the tracker lacks and, once the run has ended, its status and results.

        Args:
            status: status of the run in run.json; None while it is running.

        Raises:
            Exception: of the tracker's package, after which this may be called again.
        """
        stamp = read_stamp(self.folder.metrics)
        if status is None and self.last_epoch is not None and stamp == self.stamp:
            return
        if self.last_epoch is None:
            self.last_epoch = self.tracker.open(describe_run(self.folder, self.typed_in))
        try:
            rows = [row for row in read_rows(self.folder) if row["epoch"] > self.last_epoch]
            if rows:
                ends = estimate_epoch_ends(self.folder.read_run())
                times = [ends.get(int(row["epoch"]), time.time()) for row in rows]
                self.tracker.send_epochs(rows, times)
                self.last_epoch = int(rows[-1]["epoch"])
            self.stamp = stamp
            if status is None:
                return
            if status == "finished":
                epoch, scores = read_final_scores(self.folder)
                paths = [self.folder.path / name for name in self.tracker.files]
                self.tracker.send_results(epoch, scores, [path for path in paths if path.is_file()])
            self.tracker.close(status)
            write_json(self.record, self._describe(status))
        except Exception:
            self.last_epoch = None
            raise

    def _describe(self, status: str) -> dict[str, Any]:
        rows = read_rows(self.folder)
        return {"place": self.place, "epochs": int(rows[-1]["epoch"]) if rows else 0, "status": status}


def describe_run(run: RunFolder, typed_in: Path | None = None) -> TrackedRun:
    """Return the name, the settings and the facts of a run that has an id already; `typed_in` as for Sender."""
    facts, settings, folder = run.read_run(), run.read_settings(), run.path.absolute()
    sweep = folder.parent.name if (folder.parent / SWEEP_FILE).is_file() else None
    started_in = Path(facts.get("working_folder") or "")
    started_in = started_in.absolute() if started_in.is_dir() else Path.cwd()
    output_dir = started_in / settings.get("output_dir", "outputs")
    name = "/".join(folder.parts[-2:])
    return TrackedRun(
        facts["tracking_id"], name, sweep, folder, typed_in or started_in, output_dir, flatten_settings(settings), facts
    )


def fix_id(run: RunFolder) -> None:
    """Give a run its id in trackers, unless it has one; the run is locked."""
    if "tracking_id" not in run.read_run():
        run.update_run(tracking_id=secrets.token_hex(8))


def read_stamp(file: Path) -> tuple[int, int] | None:
    """Return what changes when a file is replaced; None if there is no such file."""
    try:
        facts = file.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_ino


def read_rows(run: RunFolder) -> list[dict[str, float]]:
    """Read metrics.csv; [] before the end of the first epoch."""
    return run.read_metrics().to_dict("records") if run.metrics.is_file() else []  # type: ignore[return-value]


def estimate_epoch_ends(facts: Mapping[str, Any]) -> dict[int, float]:
    """Map each epoch, counted from 1, to its end in seconds since 1970, as if the run had never been interrupted.

    Args:
        facts: contents of run.json.
    """
    end, ends = datetime.fromisoformat(facts["started"]).timestamp(), {}
    for epoch, seconds in enumerate(facts.get("epoch_seconds", []), 1):
        end += seconds
        ends[epoch] = end
    return ends


def read_final_scores(run: RunFolder) -> tuple[int, dict[str, float]]:
    """Return the best epoch and the scores of its weights, named as in TensorBoard."""
    best = run.read_scores()["best"]
    return best["epoch"], {
        f"best/{split}_{name}": value
        for split in ("test", "val")
        for name, value in best[split].items()
        if isinstance(value, float)
    }
