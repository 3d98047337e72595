"""A run folder: the only place that knows what its files are called and how they are written."""

import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout
from omegaconf import DictConfig, OmegaConf

from viewfinder.config.instantiate import list_targets
from viewfinder.errors import Problem, UserError, join_names
from viewfinder.runs.atomic import BESIDE, read_json, replace_text, unwritable, write_json
from viewfinder.runs.logging import is_helper
from viewfinder.runs.naming import RUN, agreed_path, make_dated, make_folder
from viewfinder.runs.provenance import code, command, git_state, now, this_process, versions
from viewfinder.training.callbacks.signals import Pruned

PATIENCE = 10.0
"""Seconds to wait for a run's lock: processes that a killed one has started end a little after it."""
FACTS = "run.json"
"""In each run folder."""
SWEEP = "sweep.json"
"""In the folder of a sweep, above those of its jobs."""
if TYPE_CHECKING:
    import pandas as pd


class RunFolder:
    """One run's files. Every file is replaced whole, so that a reader never sees half of one.

    As a context it is the run's one writer, and ends by saying in run.json how the run ended.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.is_writer = not is_helper()
        self.config, self.run, self.data, self.scores = (
            self.path / name for name in ("config.yaml", FACTS, "data.json", "scores.json")
        )
        self.metrics, self.predictions = self.path / "metrics.csv", self.path / "predictions.csv"
        self.best, self.last = self.path / "best.ckpt", self.path / "last.ckpt"
        self.previous = self.path / "previous.ckpt"
        """what last.ckpt was before, until the run has finished"""
        self.lock = FileLock(self.path / ".lock")
        self.curves, self.confusion = self.path / "curves.png", self.path / "confusion.png"
        self.mistakes = self.path / "mistakes.png"
        self.projector = self.path / "projector_config.pbtxt"
        """what TensorBoard looks for; it names the three that follow"""
        self.tensors, self.metadata = self.path / "projector_tensors.tsv", self.path / "projector_metadata.tsv"
        self.sprite = self.path / "projector_sprite.png"
        self.report, self.log = self.path / "report.html", self.path / "train.log"

    @classmethod
    def create(cls, cfg: DictConfig, path: Path | None = None, overrides: Sequence[str] = ()) -> "RunFolder":
        """A new folder with config.yaml and run.json in it.

        Args:
            cfg: the resolved configuration.
            overrides: what was typed, for a sweep's table.
            path: where exactly; otherwise `run_dir`, else a dated one under `output_dir`/`name`.

        Raises:
            UserError: if there is something at `path` already, or it cannot be made.
        """
        wanted = path or (Path(cfg.run_dir) if cfg.run_dir else None)
        if is_helper():
            return cls(agreed_path(None))
        made = make_folder(wanted, "run_dir") if wanted else make_dated(Path(cfg.output_dir) / cfg.name)
        folder = cls(agreed_path(made))
        os.environ[RUN] = str(folder.path.absolute())
        try:
            folder.lock.acquire()
            folder.write_config(cfg)
            folder.update_run(
                status="running",
                command=command(),
                working_folder=str(Path.cwd()),
                seed=int(cfg.seed),
                started=now(),
                git=git_state(),
                versions=versions(),
                code=code(list_targets(cfg)),
                overrides=list(overrides),
                **this_process(),
            )
        except OSError as error:
            folder._let_go()
            folder.clear()
            raise unwritable(folder.path, error, "type the same line again.") from error
        return folder

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run folder.

        Raises:
            UserError: if `path` is none.
        """
        folder = cls(path)
        if not (folder.config.is_file() and folder.run.is_file()):
            rule = "is no run folder: it holds no config.yaml and run.json"
            remedy = "A run folder looks like outputs/simple_cnn/2026-01-31_12-00-00."
            if (path / SWEEP).is_file():
                remedy = (
                    f"It is a sweep, whose jobs are runs, such as {path / '0'}. To go on with it, type its line again."
                )
            raise UserError("the run folder", [Problem("RUN", rule, str(path), remedy)])
        return folder

    def is_begun(self) -> bool:
        """Whether a run has started here, so that it can be continued."""
        return self.config.is_file() and self.run.is_file() and "started" in self.read_run()

    def clear(self) -> None:
        """Remove what is here of a run that was refused, or killed before it started; what else is here stays."""
        for path in self.path.glob("*"):
            if path.name in (".lock", self.config.name, self.run.name) or re.fullmatch(BESIDE, path.name):
                path.unlink()
        with contextlib.suppress(OSError):  # not there, or not empty: then `create` says so
            self.path.rmdir()

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        """Within this block this process alone writes here; what one before it left half done is cleared away.

        Raises:
            UserError: if another process is at it, or nobody can write.
        """
        if not self.is_writer:
            yield
            return
        refuse_links(self.path)
        facts = self.read_run()
        who = f"process {facts.get('process', '?')} on {facts.get('machine', {}).get('host', '?')}"
        try:
            try:
                self.lock.acquire(timeout=PATIENCE / 10)
            except Timeout:
                print(f"waiting up to {PATIENCE:.0f} s for {who} to let go of {self.path}", file=sys.stderr)
                self.lock.acquire(timeout=PATIENCE)
        except (Timeout, OSError) as error:
            rule = f"is in the hands of {who}" if isinstance(error, Timeout) else f"cannot be written: {error.strerror}"
            remedy = "Wait until it ends, or stop it by SIGTERM." if isinstance(error, Timeout) else ""
            raise UserError("the run folder", [Problem("RUN", rule, str(self.path), remedy)]) from error
        try:
            os.environ[RUN] = str(agreed_path(self.path).absolute())
            for path in self.path.iterdir():
                if re.fullmatch(BESIDE, path.name):
                    path.unlink()
            yield
        finally:
            self._let_go()

    @property
    def status(self) -> str:
        """running, finished, pruned, interrupted, failed, as run.json says; killed, if it says running and none is."""
        said = self.read_run().get("status", "unknown")
        if said != "running":
            return said
        try:
            with self.lock.acquire(blocking=False):
                return "killed"
        except (Timeout, OSError):
            return said

    @classmethod
    def record_failure(cls, path: Path, cfg: DictConfig, overrides: Sequence[str], reason: str) -> None:
        """Leave why a job was refused, or died, in the folder that it has, or would have had.

        A run that could say itself how it ended has done so.
        """
        folder = cls(path)
        if folder.run.exists():
            if folder.status in ("killed", "interrupted"):  # neither running nor finished
                folder.update_run(status="failed", error=reason, ended=now())
            return
        path.mkdir(parents=True, exist_ok=True)
        replace_text(folder.config, OmegaConf.to_yaml(cfg))
        folder.update_run(status="failed", error=reason, overrides=list(overrides), ended=now())

    def write_config(self, cfg: DictConfig) -> None:
        if self.is_writer:
            replace_text(self.config, OmegaConf.to_yaml(cfg, resolve=True))

    def write_data(self, facts: dict[str, Any]) -> None:
        if self.is_writer:
            write_json(self.data, facts)

    # Whoever wrote a run: what reads it back says what is wrong with a file. Imported late, since pandas is slow.

    def read_config(self) -> DictConfig:
        """config.yaml.

        Raises:
            UserError: if it is not as Viewfinder writes it.
        """
        from viewfinder.runs.stored_values import read_config

        return read_config(self.config)

    def read_settings(self) -> dict[str, Any]:
        """Read config.yaml as plain values.

        Raises:
            UserError: if the file is invalid.
        """
        from viewfinder.runs.stored_values import read_settings

        return read_settings(self.config)

    def read_run(self) -> dict[str, Any]:
        """run.json.

        Raises:
            UserError: if it is not as Viewfinder writes it.
        """
        from viewfinder.runs.schemas import Run, read_kept

        return read_kept(self.run, Run)

    def read_data(self) -> dict[str, Any]:
        """data.json.

        Raises:
            UserError: if it is not as Viewfinder writes it.
        """
        from viewfinder.runs.schemas import Data, read_kept

        return read_kept(self.data, Data)

    def read_metrics(self) -> "pd.DataFrame":
        """metrics.csv.

        Raises:
            UserError: if it is not as Viewfinder writes it.
        """
        from viewfinder.runs.schemas import read_metrics

        return read_metrics(self.metrics)

    def read_scores(self) -> dict[str, Any]:
        """scores.json.

        Raises:
            UserError: if the run has none, with its status; or it is not as Viewfinder writes it.
        """
        from viewfinder.runs.schemas import Scores, read_kept

        if not self.scores.is_file():
            status = self.read_run().get("status", "unknown")
            rule = f"has no scores.json; its status is '{status}'"
            raise UserError("the run folder", [Problem("RUN", rule, str(self.path))])
        return read_kept(self.scores, Scores)

    def update_run(self, **facts: Any) -> None:
        """Add facts to run.json, or replace them; a helper process leaves that to the first."""
        if not self.is_writer:
            return
        known = (read_json(self.run) if self.run.exists() else {}) | facts
        over = ("error", "ended")  # of a run that goes on there are none
        write_json(self.run, {name: value for name, value in known.items() if value is not None or name not in over})

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Say in run.json how the run ended: finished, pruned, interrupted, or failed with its reason; let go of it."""
        try:
            if error is None:
                self.update_run(status="finished", ended=now(), error=None)
            elif isinstance(error, Pruned):
                self.update_run(status="pruned", ended=now(), error=str(error))
            elif isinstance(error, KeyboardInterrupt | SystemExit):
                self.update_run(status="interrupted", ended=now(), error=str(error))
            else:
                reason = error.reason if isinstance(error, UserError) else f"{type(error).__name__}: {error}"
                self.update_run(status="failed", error=" ".join(reason.split()), ended=now())
        except OSError:
            if error is None:
                raise
            # A full disk, say: what `error` says is the cause, and a run without an end counts as killed.
        finally:
            self._let_go()

    def _let_go(self) -> None:
        self.lock.release()
        if self.is_writer:  # or processes started later would take it for theirs
            os.environ.pop(RUN, None)


def refuse_links(folder: Path) -> None:
    """Raises UserError if a folder holds links: another person's folder may lead to any file of this one's."""
    links = [path.name for path in folder.iterdir() if path.is_symlink()]
    if links:
        rule = f"holds links, and a run folder has none: {join_names(links)}"
        raise UserError("the run folder", [Problem("RUN", rule, str(folder), "Remove them.")])
