"""Where a run goes: a folder that was not there before, and that all its processes know."""

import itertools
import os
import shlex
from datetime import datetime
from pathlib import Path

from viewfinder.errors import Problem, UserError

RUN = "VIEWFINDER_RUN"
"""Environment variable by which processes that Lightning starts know the run's folder."""


def make_folder(path: Path, key: str = "output_dir") -> Path:
    """A new folder; `key` is what was typed to have it, for the error.

    Raises:
        UserError: if there is something at `path` already, or it cannot be made.
    """
    try:
        path.mkdir(parents=True)
    except OSError as error:
        from viewfinder.runs.folder import FACTS  # which imports this module

        rule = "something is there already" if isinstance(error, FileExistsError) else str(error.strerror)
        remedy = "Choose another place with run_dir=PATH or output_dir=PATH."
        if (path / FACTS).is_file():
            remedy += f"\nOr continue the run that is there: viewfinder resume {shlex.quote(str(path))}"
        raise UserError("the run folder", [Problem(key, rule, str(path), remedy)]) from error
    return path


def make_dated(parent: Path, suffix: str = "") -> Path:
    """A new folder parent/<now><suffix>, or with _2 after it and so on where several begin within one second."""
    stem = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S") + suffix
    for count in itertools.count(1):
        path = parent / (stem if count == 1 else f"{stem}_{count}")
        if not path.exists():
            try:
                return make_folder(path)
            except UserError:
                if not path.exists():
                    raise
    raise AssertionError


def agreed_path(path: Path | None) -> Path:
    """The first process's path, in every process of a distributed run; the others give None.

    Processes that Lightning starts inherit it; those that torchrun starts share it through its store.
    """
    if path is None and (inherited := os.environ.get(RUN)):
        return Path(inherited)
    if "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1:
        from torch.distributed import TCPStore  # type: ignore[reportPrivateImportUsage]

        store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
        if path is not None:
            store.set("viewfinder/run", str(path))
        return Path(store.get("viewfinder/run").decode())
    assert path is not None
    return path
