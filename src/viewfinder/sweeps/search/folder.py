"""Folder of a search: its specification, Optuna's study in SQLite, locks and run folders."""

import contextlib
import os
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
from filelock import FileLock, Timeout
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock
from sqlalchemy import URL

from viewfinder.errors import Problem, UserError
from viewfinder.runs.atomic import read_json, replace_file, write_json
from viewfinder.runs.lock import acquire_patiently
from viewfinder.runs.naming import SEARCH_FILE
from viewfinder.sweeps.search.space import SearchSpec

DATABASE_TIMEOUT = 60
"""Seconds to wait for the database while another process writes it."""
LOCK_TIMEOUT = 300.0
"""Seconds to wait for a lock; a tenth of them without a message."""
STARTUP_TRIALS = 5
"""Complete trials before any trial is pruned."""
WARMUP_EPOCHS = 3
"""First epoch after which a trial may be pruned."""


class SearchFolder:
    """Files of a search.

    Args:
        path: the folder.
    """

    def __init__(self, path: Path):
        self.path = Path(path)
        self.spec, self.database = path / SEARCH_FILE, path / "search.db"
        self.chart, self.page = path / "search.png", path / "search.html"
        self.journal = path / "search.journal"
        """study in Optuna's journal, which several machines may write, in place of the database"""
        self.locks = path / ".locks"

    def trial_folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.path / str(number)

    def lock(self, name: str) -> FileLock:
        """Return the lock of this name, shared by all processes of the search."""
        self.locks.mkdir(parents=True, exist_ok=True)
        return FileLock(self.locks / name)

    @contextlib.contextmanager
    def locked(self, name: str, holder: str = "another process of this search") -> Iterator[None]:
        """Hold the lock of this name within the block.

        Args:
            holder: the process that may hold it, for the message.

        Raises:
            UserError: if another process keeps it.
        """
        lock = self.lock(name)
        try:
            acquire_patiently(lock.acquire, LOCK_TIMEOUT, holder, self.locks / name)
        except Timeout as error:
            rule, remedy = f"is locked by {holder}", "Wait until it ends, or stop it with SIGTERM."
            raise UserError("the search", [Problem(str(self.locks / name), rule, remedy=remedy)]) from error
        try:
            yield
        finally:
            lock.release()

    def create_or_continue(self, spec: SearchSpec, is_shared: bool = False) -> None:
        """Create the search, or check that the existing one has the same specification.

        Args:
            spec: the specification.
            is_shared: whether several machines write the study.

        Raises:
            UserError: if the existing search differs, or the folder contains something else.
        """
        if self.path.exists() and not self.locks.exists() and any(self.path.iterdir()):
            rule, remedy = "exists and is not a search", "Choose another --name."
            raise UserError("the search", [Problem("--name", rule, str(self.path), remedy)])
        content = {
            "typed": spec.overrides,
            "space": {name: str(parameter) for name, parameter in spec.space.items()},
            "fixed": _read_fixed_values(spec),
        }
        with self.locked("study"):
            if self.spec.is_file():
                name = os.path.relpath(self.path, spec.example.output_dir)
                self._require_equal(read_json(self.spec), content, name)
                if is_shared and not self.journal.exists():
                    rule = f"was started for one machine: several machines must not write {self.database.name}"
                    remedy = "Start another search with --name, or continue this one without hydra/launcher."
                    raise UserError("the search", [Problem("hydra/launcher", rule, remedy=remedy)])
                return
            optuna.logging.set_verbosity(optuna.logging.WARNING)
            if is_shared:
                optuna.create_study(storage=_open_journal(self.journal), study_name="search", direction="maximize")
            else:
                with replace_file(self.database) as database:
                    storage = _open_storage(database)
                    optuna.create_study(storage=storage, study_name="search", direction="maximize")
                    storage.engine.dispose()
            write_json(self.spec, content)

    def _require_equal(self, stored: dict[str, Any], content: dict[str, Any], name: str) -> None:
        problems = []
        for section, old_value in (("space", "was searched over"), ("fixed", "was")):
            for key in {**stored[section], **content[section]}:
                old, new = stored[section].get(key), content[section].get(key)
                if old != new:
                    before = f"{old_value} {old}" if old is not None else "was not given"
                    rule = f"{before} when this search started"
                    problems.append(Problem(key, rule, new or "(not given)"))
        if problems:
            last = problems[-1]
            remedy = f"To continue it: {shlex.join(['viewfinder', 'search', *stored['typed'], '--name', name])}"
            remedy += "\nOr start another search with another --name."
            problems[-1] = Problem(last.key, last.rule, last.received, remedy)
            raise UserError(f"the search in {self.path}", problems)

    def load_study(self, is_pruning: bool = True) -> optuna.Study:
        """Open the study, which any number of processes may read and write."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        pruner = optuna.pruners.NopPruner()
        if is_pruning:
            pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, WARMUP_EPOCHS)
        storage = _open_journal(self.journal) if self.journal.exists() else _open_storage(self.database)
        return optuna.load_study(study_name="search", storage=storage, pruner=pruner)


def _open_storage(path: Path) -> RDBStorage:
    url = URL.create("sqlite", database=str(path)).render_as_string()
    return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": DATABASE_TIMEOUT}})


def _open_journal(path: Path) -> JournalStorage:
    """Open the study of several machines, as Optuna's documentation has it for NFS."""
    return JournalStorage(JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path))))


def _read_fixed_values(spec: SearchSpec) -> dict[str, str]:
    """Map the key of each fixed override to its value, without output_dir: a search may be moved."""
    pairs = (override.partition("=") for override in spec.fixed)
    return {key: value for key, _, value in pairs if key != "output_dir"}
