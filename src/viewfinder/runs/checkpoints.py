"""Checkpoint files: verified writing, and reading that runs no code and detects damage."""

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
from viewfinder.runs.read import describe_first_error

BLOCK = 2**20
"""Bytes compared at once."""


class CheckpointIO(TorchCheckpointIO):
    """Lightning's checkpoint writer, which reads the file back from the disk and compares it."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; raise OSError if the file cannot be written, or reads back differently."""
        # In memory first: torch does not report a full disk.
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()  # getvalue() would copy it
        with Path(path).open("wb+") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if hasattr(os, "posix_fadvise"):  # otherwise it would be read back from memory
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            file.seek(0)
            blocks = (bytes(content[start : start + BLOCK]) for start in range(0, len(content), BLOCK))
            if any(file.read(BLOCK) != block for block in blocks):
                raise OSError(f"{path} does not read back as it was written: the disk is failing")


class LoopState(TypedDict):
    """State of the training loop."""

    epoch: Whole
    """finished epochs"""
    batches: Whole
    """finished batches of this process in the next epoch"""
    steps: Whole
    """optimizer steps in all epochs"""
    lr: float
    scaler: dict[str, Any]


class RecorderState(TypedDict):
    """State of the Checkpointing callback, stored under the key Recorder."""

    best_epoch: Whole
    best_accuracy: float
    rows: list[dict[str, float]]
    """rows of metrics.csv"""
    seconds: list[float]
    """seconds of each finished epoch"""
    elapsed: float
    """seconds of the unfinished epoch"""
    is_stopped_early: bool


class CallbackStates(TypedDict):
    """States of the callbacks, by key."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    Recorder: RecorderState


class TrainingState(TypedDict):
    """Parts of a checkpoint from which training is resumed, besides those that Lightning requires."""

    __pydantic_config__ = ConfigDict(extra="allow", arbitrary_types_allowed=True)  # type: ignore[misc]
    loop: LoopState
    callbacks: CallbackStates
    epoch_so_far: dict[str, Any]
    optimizer_states: list[Any]
    lr_schedulers: list[Any]


class CheckpointInfo(NamedTuple):
    """A run's newest valid checkpoint."""

    path: Path
    loop: LoopState
    recorder: RecorderState
    damaged: list[Problem]
    """problems of the run's damaged checkpoints"""

    @property
    def epochs(self) -> int:
        """Number of finished epochs."""
        return len(self.recorder["rows"])


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint onto the CPU; it may contain only tensors and plain Python values, and no code is run.

    Raises:
        UserError: if the file is missing, damaged or not a checkpoint.
    """
    try:
        content = read_tensors(path)
        if not isinstance(content, dict) or not isinstance(content.get("state_dict"), dict):
            raise ValueError("it contains no state_dict")
    except (OSError, ValueError) as error:
        remedy = "Restore it from a copy of the run folder."
        raise UserError("the checkpoint", [Problem(str(path), f"cannot be read: {error}", remedy=remedy)]) from error
    return content


class DamagedError(ValueError):
    """Raised when a file is damaged."""


class CodeError(ValueError):
    """Raised when a file contains code that loading it would run."""


ZIP, LEGACY = b"PK\x03\x04", b"\x80\x02\x8a\n"
"""First bytes of a torch.save file, and of one written before torch 1.6."""


def read_tensors(path: Path) -> Any:
    """Load a torch.save file onto the CPU.

    Raises:
        DamagedError: if the file is empty, cut off or damaged.
        CodeError: if it contains more than tensors and plain Python.
        ValueError: if it is not a torch.save file.
        OSError: if it is missing, or cannot be opened.
    """
    if not path.is_file():  # opening a pipe, for example, might never end
        raise FileNotFoundError("it is missing, or not a file")
    with path.open("rb") as file:
        first = file.read(4)
    is_from_torch = first in (ZIP, LEGACY)
    try:
        if zipfile.is_zipfile(path):  # the format before torch 1.6 has no checksums
            # torch.load ignores the checksums that it writes.
            with zipfile.ZipFile(path) as archive:
                broken = archive.testzip()
                is_from_torch = any(name.endswith("/data.pkl") for name in archive.namelist())
            if broken is not None:
                raise DamagedError(f"the checksum of {broken} in it does not match")
        return torch.load(path, map_location="cpu", weights_only=True)
    except (DamagedError, MemoryError):
        raise
    except Exception as error:  # torch and zipfile raise a dozen classes for an invalid file
        if not first:
            raise DamagedError("it is empty") from error
        if first == ZIP and not zipfile.is_zipfile(path):
            raise DamagedError("it is cut off") from error
        if not is_from_torch:
            raise ValueError("it is not a torch.save file") from error
        if match := re.search(r"GLOBAL (\S+)", str(error)):
            raise CodeError(f"it contains a {match[1]}; only tensors are read from a file") from error
        raise DamagedError("it is cut off or damaged") from error


SAFETENSORS = ".safetensors"
"""Suffix of files of Hugging Face's safetensors."""


def read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    """Load a safetensors file onto the CPU.

    Raises:
        DamagedError: if the file is damaged.
        ValueError: if the package safetensors is not installed.
        OSError: if the file cannot be opened.
    """
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise ValueError("it needs safetensors, which is not installed here: pip install safetensors") from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise DamagedError(f"it is damaged, or not a safetensors file ({error})") from error


def find_newest_checkpoint(candidates: tuple[Path, ...]) -> CheckpointInfo | None:
    """Return the valid checkpoint with the most training; None if there are no files.

    Raises:
        UserError: if there are files, and all are damaged.
    """
    valid: list[CheckpointInfo] = []
    damaged: list[Problem] = []
    for path in candidates:
        if path.exists():
            try:
                state = _read_training_state(path)
                valid.append(CheckpointInfo(path, state["loop"], state["callbacks"]["Recorder"], damaged))
            except UserError as error:
                damaged += error.problems
    if damaged and not valid:
        raise UserError("the checkpoints", damaged, headline="none of the checkpoints can be read")
    return max(valid, key=lambda info: (info.loop["epoch"], info.loop["batches"]), default=None)


def _read_training_state(path: Path) -> TrainingState:
    content = read_checkpoint(path)
    try:
        TypeAdapter(TrainingState).validate_python(content)
    except ValidationError as error:
        rule = f"has no valid training state: {describe_first_error(error)}"
        raise UserError("the checkpoint", [Problem(str(path), rule)]) from error
    return cast(TrainingState, content)  # not pydantic's, which converts numbers
