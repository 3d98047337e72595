"""Names of run folders: a new folder for each run, known to all of its processes."""

import itertools
import shlex
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from viewfinder.errors import Problem, UserError

RUN_FILE = "run.json"
"""File in every run folder."""
CONFIG_FILE = "config.yaml"
"""Resolved configuration, in the folder of a run or a range test."""
SWEEP_FILE = "sweep.json"
"""File in the folder of a sweep, above the run folders of its jobs."""
SEARCH_FILE = "search.json"
"""File in the folder of a search, above the run folders of its trials."""
RANGE_TEST_FILE = "lr_range.json"
"""File in the folder of a learning-rate range test."""
RUN_VARIABLE = "VIEWFINDER_RUN"
"""Environment variable that gives helper processes, which Lightning starts, the path of the run folder."""


def make_folder(path: Path, key: str = "output_dir") -> Path:
    """Create a folder.

    Args:
        path: the folder.
        key: key of the configuration that chose the path, named in the error.

    Raises:
        UserError: if `path` exists or cannot be created.
    """
    try:
        path.mkdir(parents=True)
    except OSError as error:
        rule = "already exists" if isinstance(error, FileExistsError) else str(error.strerror)
        remedy = "Choose another place with run_dir=PATH or output_dir=PATH."
        if (path / RUN_FILE).is_file():
            remedy += f"\nTo continue the run in it: viewfinder resume {shlex.quote(str(path))}"
        raise UserError("the run folder", [Problem(key, rule, str(path), remedy)]) from error
    return path


def make_configured_folder(settings: Mapping[str, Any], suffix: str = "") -> Path:
    """Create the folder that settings choose: `run_dir`, or a dated one in `output_dir`/`name`.

    Args:
        settings: configuration as plain values.
        suffix: end of a dated folder's name.

    Raises:
        UserError: if the folder exists, or cannot be created.
    """
    if run_dir := settings.get("run_dir"):
        return make_folder(Path(run_dir), "run_dir")
    return make_dated_folder(Path(settings["output_dir"]) / settings["name"], suffix)


def make_dated_folder(parent: Path, suffix: str = "") -> Path:
    """Create the folder parent/<time><suffix>, or parent/<time><suffix>_2 and so on if the name exists.

    Raises:
        UserError: if the folder cannot be created.
    """
    while True:
        path = find_dated_path(parent, suffix)
        try:
            return make_folder(path)
        except UserError:
            if not path.exists():
                raise


def find_dated_path(parent: Path, suffix: str = "") -> Path:
    """Return the path that `make_dated_folder` would create."""
    stem = datetime.now().astimezone().strftime("%Y-%m-%d_%H-%M-%S") + suffix
    names = (stem if count == 1 else f"{stem}_{count}" for count in itertools.count(1))
    return next(path for name in names if not (path := parent / name).exists())
