"""Tracker: a program of other people that shows runs, and what it gets of a run folder."""

import socket
import textwrap
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

from viewfinder.errors import Problem, UserError

RunFile = Literal[
    "config.yaml", "data.json", "metrics.csv", "scores.json", "predictions.csv", "curves.png", "confusion.png",
    "mistakes.png", "report.html", "train.log", "best.ckpt", "last.ckpt",
]  # fmt: skip
"""Files of a run folder that a tracker can get; a copy of run.json would be taken for a run."""
MAX_LENGTH = 300
"""Letters of an error in a message."""


class TrackedRun(NamedTuple):
    """A run as a tracker names it."""

    id: str
    """the same in every tracker, and when the run is resumed"""
    name: str
    group: str | None
    """name of the sweep"""
    folder: Path
    paths_from: Path
    """folder to which relative paths of the tracker's arguments belong"""
    output_dir: Path
    settings: Mapping[str, str | float | int]
    """flat settings that can change a score"""
    facts: Mapping[str, Any]
    """contents of run.json"""


class Tracker(ABC):
    """Connection to a tracker, for one run at a time.

    Epochs are sent by number and files by name: what is sent twice stands there once.

    Args:
        files: names of the files to send when the run has finished.
    """

    def __init__(self, files: Sequence[str]):
        self.files = files

    @abstractmethod
    def describe_place(self, run: TrackedRun) -> str:
        """Return where the tracker keeps a run; another place has other runs."""

    @abstractmethod
    def open(self, run: TrackedRun) -> int:
        """Create the run, or open the existing one, send its settings, and return the last epoch that it has."""

    @abstractmethod
    def send_epochs(self, rows: Sequence[Mapping[str, float]], times: Sequence[float]) -> None:
        """Send rows of metrics.csv.

        Args:
            rows: the rows; `epoch` counts from 1.
            times: end of each epoch, in seconds since 1970.
        """

    @abstractmethod
    def send_results(self, epoch: int, scores: Mapping[str, float], files: Sequence[Path]) -> None:
        """Send the final scores and the files.

        Args:
            epoch: epoch of the best weights.
            scores: scores of these weights, such as best/test_accuracy.
            files: files of the run folder.
        """

    @abstractmethod
    def close(self, status: str) -> None:
        """End the tracker's run with the status in run.json, and wait until everything has arrived."""


def find_silence(error: BaseException | None) -> BaseException | None:
    """Find the error of a server that does not answer, in an error and its causes; None if there is none."""
    while error is not None:
        is_of_wandb = type(error).__name__ == "CommError"
        if is_of_wandb or isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
            return error
        error = error.__cause__ or error.__context__
    return None


def describe_failure(error: BaseException) -> str:
    """Describe an error of a tracker's package in a line; where a server does not answer, by the system's reason."""
    error = find_silence(error) or error
    return textwrap.shorten(f"{type(error).__name__}: {error}", MAX_LENGTH, placeholder=" ...")


def require_package(name: str) -> None:
    """Check that the package of a tracker is installed, without importing it.

    Args:
        name: the package; the option of the group `logger` and the extra of Viewfinder have the same name.

    Raises:
        UserError: if not.
    """
    if find_spec(name) is None:
        rule, remedy = "needs a package that is not installed", f'pip install "viewfinder[{name}]"'
        raise UserError("the installation", [Problem(f"logger={name}", rule, remedy=remedy)])
