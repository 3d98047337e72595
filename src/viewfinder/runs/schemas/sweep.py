"""Schemas of sweep.json and queue.json."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from viewfinder.runs.schemas.run import Machine
from viewfinder.runs.schemas.types import OPEN


class SweepJob(TypedDict):
    """Job of a sweep."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    folder: Annotated[str, Field(pattern=r"^[0-9]{1,9}(_[0-9]{1,9})?$")]
    overrides: list[str]
    config: dict[str, Any]


class Sweep(TypedDict):
    """Contents of sweep.json."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    command: str
    started: str
    process: Annotated[int, Field(ge=1, le=2**31)]
    """process that wrote the file last; `viewfinder cancel` sends it a signal"""
    machine: Machine
    jobs: list[SweepJob]
    earlier: list[SweepJob]


class QueuedJob(TypedDict):
    """One attempt at a job of a sweep, as submitted to a scheduler."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]
    folder: Annotated[str, Field(pattern=r"^[0-9]{1,9}(_[0-9]{1,9})?$")]
    attempt: Annotated[int, Field(ge=1, le=10**9)]
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.@-]{1,200}$")] | None


class QueuedBatch(TypedDict):
    """Jobs that were submitted together."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
    submitted: str
    jobs: list[QueuedJob]


class Queue(TypedDict):
    """Contents of queue.json."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    launcher: dict[str, Any]
    token: Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]
    batches: list[QueuedBatch]
