"""File that `viewfinder predict` writes: it grows batch by batch, and continues after a kill."""

import contextlib
import hashlib
import os
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import IO

from viewfinder.errors import Problem
from viewfinder.evaluation.classified import Classified
from viewfinder.runs.atomic import read_json, write_json

SAVE_SECONDS = 1.0
"""Interval at which progress is recorded; a killed process repeats at most this much work."""


class PredictionFile:
    """Predictions in `<path>.partial` until they are complete, then in `path`, as CSV or Parquet.

    `<path>.partial.json` holds how many files the rows cover, so that the same command continues there. Rows of other
    images or of another model are discarded.

    Args:
        path: the file; it is replaced when all predictions are made.
        identity: what the predictions depend on: the model and the image files, in order.
    """

    def __init__(self, path: Path, identity: Iterable[str]):
        self.path = path.resolve()  # the target of a link, not the link
        self.partial = self.path.with_name(f"{self.path.name}.partial")
        self.state = self.path.with_name(f"{self.path.name}.partial.json")
        digest = hashlib.sha256()
        for part in identity:
            digest.update(part.encode("utf-8", "surrogatepass") + b"\0")
        self.identity = digest.hexdigest()
        self.count = 0
        """number of image files that the rows so far cover"""
        self.discarded = 0
        """number of image files that discarded rows of another call covered"""
        self.problems: list[Problem] = []
        """reasons why some of these files are unreadable"""
        self.saved_at = 0.0
        self._continue()

    def _continue(self) -> None:
        """Keep the recorded rows, if they are of the same model and images, and remove all others."""
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # a missing or damaged record
            state = read_json(self.state)
            problems = [Problem(key, rule) for key, rule in state["problems"]]
            if self.partial.stat().st_size >= state["bytes"]:
                if state["identity"] == self.identity:
                    os.truncate(self.partial, state["bytes"])
                    self.count, self.problems = state["count"], problems
                    return
                self.discarded = int(state["count"])
        self.partial.write_bytes(b"")

    def append(self, classified: Classified) -> None:
        """Add the predictions of the next image files."""
        with self.partial.open("ab") as file:
            file.write(classified.to_csv(header=not self.count).encode("utf-8", "surrogateescape"))
        self.count += classified.file_count
        self.problems += classified.problems
        if time.monotonic() - self.saved_at >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Record how many files the rows cover."""
        problems = [(problem.key, problem.rule) for problem in self.problems]
        facts = {
            "identity": self.identity,
            "count": self.count,
            "bytes": self.partial.stat().st_size,
            "problems": problems,
        }
        write_json(self.state, facts)
        self.saved_at = time.monotonic()

    def discard(self) -> None:
        """Remove the rows so far."""
        self.partial.unlink()
        self.state.unlink(missing_ok=True)

    def finish(self, as_parquet: bool) -> None:
        """Move the rows to the file, as CSV or converted to Parquet."""
        if as_parquet:
            _convert_to_parquet(self.partial)
        self.partial.replace(self.path)
        self.state.unlink(missing_ok=True)


class PredictionStream:
    """Predictions that a pipe or a device receives, or that are printed alone; with the methods of PredictionFile.

    Args:
        stream: the pipe or device; None for none.
    """

    def __init__(self, stream: IO[str] | None):
        self.stream, self.count = stream, 0
        self.problems: list[Problem] = []

    def append(self, classified: Classified) -> None:
        if self.stream:
            self.stream.write(classified.to_csv(header=not self.count))
            self.stream.flush()
        self.count += classified.file_count
        self.problems += classified.problems

    def save(self) -> None:
        """Do nothing: rows that were sent cannot be continued."""

    def discard(self) -> None:
        """Do nothing, as `save`."""

    def finish(self, as_parquet: bool) -> None:
        """Do nothing, as `save`."""


def _convert_to_parquet(path: Path) -> None:
    """Replace a CSV file of predictions by a Parquet file, block by block."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    names = csv.open_csv(path).schema.names
    types = {name: pa.string() if name in ("picture", "predicted") else pa.float64() for name in names}
    temporary = path.with_name(f"{path.name}.parquet")
    with (
        csv.open_csv(path, convert_options=csv.ConvertOptions(column_types=types, strings_can_be_null=False)) as rows,
        parquet.ParquetWriter(temporary, rows.schema) as writer,
    ):
        for block in rows:
            writer.write_batch(block)
    temporary.replace(path)


def identify_model(path: Path, class_names: Sequence[str]) -> list[str]:
    """Return what identifies a model's file: its path, size and time of change, and the classes."""
    status = path.stat()
    return [str(path.resolve()), str(status.st_size), str(status.st_mtime_ns), *class_names]
