"""Checkpoint files: written whole and read back, and read only if every byte is as it was written."""

import io
import os
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from lightning_fabric.plugins.io import TorchCheckpointIO
from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from viewfinder.config.validate import Whole
from viewfinder.errors import Problem, UserError
from viewfinder.runs.schemas import first_of

BLOCK = 2**20
"""Bytes that are compared at once: all of them would take as much memory again."""


class CheckpointIO(TorchCheckpointIO):
    """How Lightning writes a checkpoint: to this very file, and compared with what was meant once it is on the disk."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Raises OSError if the file cannot be written, or does not read back as it was written."""
        # In memory first: torch, when it writes to a full disk, does not say that the disk is full.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getvalue()
        with Path(path).open("wb+") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):  # so that it is read from the disk, not from the system's memory
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            if any(file.read(BLOCK) != content[start : start + BLOCK] for start in range(0, len(content), BLOCK)):
                raise OSError(f"{path} does not read back as it was written: the disk is failing")


class Loop(TypedDict):
    """Epochs that are over; of the next, this process's batches whose step is done; optimizer steps in all."""

    epoch: Whole
    batches: Whole
    steps: Whole
    lr: float
    scaler: dict[str, Any]


class Recorded(TypedDict):
    """The Recorder's state: rows of metrics.csv, seconds of each epoch, and of the one that goes on."""

    best_epoch: Whole
    best_accuracy: float
    rows: list[dict[str, float]]
    seconds: list[float]
    elapsed: float
    is_stopped_early: bool


class Callbacks(TypedDict):
    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    Recorder: Recorded


class Position(TypedDict):
    """What a checkpoint must hold for training to go on from it, beside what Lightning asks for."""

    __pydantic_config__ = ConfigDict(extra="allow", arbitrary_types_allowed=True)  # type: ignore[misc]
    loop: Loop
    callbacks: Callbacks
    epoch_so_far: dict[str, Any]
    optimizer_states: list[Any]
    lr_schedulers: list[Any]


class Found(NamedTuple):
    """A run's newest checkpoint that can be read."""

    path: Path
    loop: Loop
    recorded: Recorded
    passed_over: list[Problem]
    """others, which are damaged"""

    @property
    def epochs(self) -> int:
        """Those that were over."""
        return len(self.recorded["rows"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, on the CPU; only tensors and plain Python are made of it, no code is run.

    Raises:
        UserError: if the file is not there, damaged or no checkpoint.
    """
    try:
        content = read_tensors(path)
        if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
            raise ValueError("it holds no state_dict")
    except (OSError, ValueError) as error:
        remedy = "Take it from a copy of the run folder."
        raise UserError("the checkpoint", [Problem(str(path), f"cannot be read: {error}", remedy=remedy)]) from error
    return content


class DamagedError(ValueError):
    """A file is not as it was written."""


class CodeError(ValueError):
    """Reading a file would run code that it names."""


ZIP, OLD = b"PK\x03\x04", b"\x80\x02\x8a\n"
"""With which a file of torch.save begins, and one of before torch 1.6."""


def read_tensors(path: Path) -> Any:
    """What torch.save wrote, on the CPU.

    Raises:
        DamagedError: if the file is empty, cut off or damaged.
        CodeError: if it holds more than tensors and plain Python.
        ValueError: if torch.save wrote no such file.
        OSError: if it is not there, or may not be opened.
    """
    if not path.is_file():  # opening what is no file, such as a pipe, might never end
        raise FileNotFoundError("it is missing, or no file")
    with path.open("rb") as file:
        first = file.read(4)
    is_torchs = first in (ZIP, OLD)
    try:
        if zipfile.is_zipfile(path):  # older versions of torch wrote another format, without checksums
            # torch.load takes no notice of those that it writes.
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
                is_torchs = any(name.endswith("/data.pkl") for name in archive.namelist())
            if broken is not None:
                raise DamagedError(f"{broken} in it has another checksum than was written")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (DamagedError, MemoryError):
        raise
    except Exception as error:  # torch and zipfile raise a dozen kinds for a file that is no checkpoint
        if not first:
            raise DamagedError("it is empty") from error
        if first == ZIP and not zipfile.is_zipfile(path):
            raise DamagedError("it is cut off") from error
        if not is_torchs:
            raise ValueError("it is no file that torch.save wrote") from error
        if named := re.search(r"GLOBAL (\S+)", str(error)):
            raise CodeError(f"it holds a {named[1]}, and of a file only tensors are taken") from error
        raise DamagedError("it is cut off or damaged") from error


def newest_checkpoint(candidates: tuple[Path, ...]) -> Found | None:
    """Of some checkpoints the one from latest in training; None where none was ever written.

    Raises:
        UserError: if there are some and each is damaged.
    """
    found: list[Found] = []
    damaged: list[Problem] = []
    for path in candidates:
        if path.exists():
            try:
                position = _read_position(path)
                found.append(Found(path, position["loop"], position["callbacks"]["Recorder"], damaged))
            except UserError as error:
                damaged += error.problems
    if damaged and not found:
        raise UserError("the checkpoints: none can be read", damaged)
    return max(found, key=lambda each: (each.loop["epoch"], each.loop["batches"]), default=None)


def _read_position(path: Path) -> Position:
    content = read_checkpoint(path)
    try:
        TypeAdapter(Position).validate_python(content)
    except ValidationError as error:
        rule = f"does not say where training stands: {first_of(error)}"
        raise UserError("the checkpoint", [Problem(str(path), rule)]) from error
    return cast(Position, content)  # as it was written: pydantic would make a number of another kind
