"""Run folder: the names of its files, their contents, and the status of the run."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from viewfinder.config.yaml_text import format_settings
from viewfinder.errors import Problem, Pruned, UserError, did_you_mean
from viewfinder.runs.atomic import TEMP_NAME, read_json, replace_text, write_json
from viewfinder.runs.launcher import is_helper
from viewfinder.runs.lock import RunLock, is_free, refuse_links
from viewfinder.runs.naming import CONFIG_FILE, RUN_FILE, SWEEP_FILE
from viewfinder.runs.provenance import now

if TYPE_CHECKING:
    import pandas as pd


class RunFolder:
    """Files of one run; each is replaced atomically, so that a reader never sees a part of a file.

    As a context manager, it records in run.json how the run ended and releases the lock.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.lock = RunLock(self.path)
        self.config, self.run, self.data, self.scores = (
            self.path / name for name in (CONFIG_FILE, RUN_FILE, "data.json", "scores.json")
        )
        self.calibration = self.path / "calibration.json"
        """temperature of `viewfinder evaluate --calibrate`"""
        self.metrics, self.predictions = self.path / "metrics.csv", self.path / "predictions.csv"
        self.best, self.last = self.path / "best.ckpt", self.path / "last.ckpt"
        self.previous = self.path / "previous.ckpt"
        """checkpoint before last.ckpt, until the run has finished"""
        self.curves, self.confusion = self.path / "curves.png", self.path / "confusion.png"
        self.mistakes = self.path / "mistakes.png"
        self.projector = self.path / "projector_config.pbtxt"
        """configuration of TensorBoard's projector, which names the next three files"""
        self.tensors, self.metadata = self.path / "projector_tensors.tsv", self.path / "projector_metadata.tsv"
        self.sprite = self.path / "projector_sprite.png"
        self.report, self.log = self.path / "report.html", self.path / "train.log"
        self.onnx_model, self.torch_model = self.path / "model.onnx", self.path / "model.pt2"
        """files of `viewfinder export`, each with a JSON file beside it"""

    @property
    def is_writer(self) -> bool:
        """True in the first process of a run, which writes the files."""
        return not is_helper()

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """Return an existing run folder.

        Raises:
            UserError: if `path` is not a run folder.
        """
        folder = cls(path)
        if not (folder.config.is_file() and folder.run.is_file()):
            raise UserError("the run folder", [_describe_other_folder(path)])
        return folder

    def has_started(self) -> bool:
        """Return whether a run has started in this folder, so that it can be resumed."""
        return self.config.is_file() and self.run.is_file() and "started" in self.read_run()

    @property
    def status(self) -> str:
        """Status in run.json: running, finished, pruned, interrupted or failed; killed if the process is gone."""
        return self.find_status(self.read_run())

    def find_status(self, facts: Mapping[str, Any]) -> str:
        """Return the status of the run, given the content of run.json."""
        status = facts.get("status", "unknown")
        if status != "running":
            return status
        process, host = facts.get("process", 0), facts.get("machine", {}).get("host", "")
        return "killed" if is_free(self.path, process, host) else "running"

    def clear(self) -> None:
        """Remove the files of a run that failed or was killed before it started; other files stay."""
        for path in self.path.glob("*"):
            if path.name in (".lock", self.config.name, self.run.name) or re.fullmatch(TEMP_NAME, path.name):
                path.unlink()
        with contextlib.suppress(OSError):  # missing, or not empty, which the creation of the run reports
            self.path.rmdir()

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder within this block, and remove unfinished files of an earlier process.

        Raises:
            UserError: if another process writes to the folder, or it cannot be written.
        """
        if not self.is_writer:
            yield
            return
        refuse_links(self.path)
        facts = self.read_run()
        self.lock.wait(f"process {facts.get('process', '?')} on {facts.get('machine', {}).get('host', '?')}")
        try:
            for path in self.path.iterdir():
                if re.fullmatch(TEMP_NAME, path.name):
                    path.unlink()
            yield
        finally:
            self.lock.release()

    def write_settings(self, settings: Mapping[str, Any]) -> None:
        """Write config.yaml: resolved, plain values."""
        if self.is_writer:
            replace_text(self.config, format_settings(settings))

    def write_data(self, facts: dict[str, Any]) -> None:
        """Write data.json."""
        if self.is_writer:
            write_json(self.data, facts)

    def update_run(self, **facts: Any) -> None:
        """Add or replace facts in run.json; None removes `error` and `ended`."""
        if not self.is_writer:
            return
        facts = (read_json(self.run) if self.run.exists() else {}) | facts
        removable = ("error", "ended")
        write_json(self.run, {key: value for key, value in facts.items() if value is not None or key not in removable})

    # Files may be untrusted: reading raises UserError if they are invalid. Imports are late because pandas is slow.

    def read_settings(self) -> dict[str, Any]:
        """Read config.yaml as plain values."""
        from viewfinder.runs.config_file import read_settings

        return read_settings(self.config)

    def read_run(self) -> dict[str, Any]:
        """Read run.json."""
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.run import Run

        return read_validated_json(self.run, Run)

    def read_data(self) -> dict[str, Any]:
        """Read data.json."""
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.data import Data

        return read_validated_json(self.data, Data)

    def read_metrics(self) -> "pd.DataFrame":
        """Read metrics.csv."""
        from viewfinder.runs.read import read_metrics

        return read_metrics(self.metrics)

    def read_scores(self) -> dict[str, Any]:
        """Read scores.json; the error about a missing file names the run's status."""
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.scores import Scores

        if not self.scores.is_file():
            rule = f"has no scores.json; its status is '{self.read_run().get('status', 'unknown')}'"
            remedy = "Finish the run with viewfinder resume."
            raise UserError("the run folder", [Problem("RUN", rule, str(self.path), remedy)])
        return read_validated_json(self.scores, Scores)

    def read_calibration(self) -> dict[str, Any]:
        """Read calibration.json; return {} if there is none."""
        from viewfinder.runs.read import read_validated_json
        from viewfinder.runs.schemas.scores import Calibration

        return read_validated_json(self.calibration, Calibration) if self.calibration.exists() else {}

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Record in run.json how the run ended, and release the lock."""
        try:
            self.update_run(ended=now(), **describe_end(error))
        except OSError:
            if error is None:
                raise
            # Otherwise `error`, such as a full disk, is the cause; a run without an end counts as killed.
        finally:
            self.lock.release()


def _describe_other_folder(path: Path) -> Problem:
    """Return the problem of a path that is not a run folder."""
    rule = f"is not a run folder: config.yaml or {RUN_FILE} is missing"
    remedy = "A run folder looks like outputs/simple_cnn/2026-01-31_12-00-00."
    if not path.exists():
        rule = "does not exist"
        siblings = [sibling.name for sibling in path.parent.iterdir()] if path.parent.is_dir() else []
        remedy = did_you_mean(path.name, siblings) or remedy
    elif path.is_file():
        rule = "is a file, not a run folder"
        remedy = f"Pass its folder: {path.parent}" if (path.parent / RUN_FILE).is_file() else remedy
    elif (path / SWEEP_FILE).is_file():
        remedy = f"It is a sweep; its jobs are runs, such as {path / '0'}. Run its command again to continue it."
    elif any(path.glob(f"*/{RUN_FILE}")) or any(path.glob(f"*/*/{RUN_FILE}")):
        remedy = f"Pass one of the runs in it, or {path / 'latest'} for the last one."
    return Problem("RUN", rule, str(path), remedy)


def describe_end(error: BaseException | None) -> dict[str, str | None]:
    """Return `status` and `error` of a run, given the exception that ended it, if any."""
    if error is None:
        return {"status": "finished", "error": None}
    if isinstance(error, Pruned):
        return {"status": "pruned", "error": str(error)}
    if isinstance(error, KeyboardInterrupt | SystemExit):
        return {"status": "interrupted", "error": str(error)}
    reason = error.reason if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
    return {"status": "failed", "error": " ".join(reason.split())}
