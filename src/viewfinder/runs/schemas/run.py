"""Schemas of run.json and of the files about trackers."""

from typing import Annotated, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from viewfinder.runs.schemas.types import OPEN, Whole


class Network(TypedDict):
    """Summary of the network."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    name: str
    parameters: Whole
    trained: Whole
    multiply_adds: Whole


class Machine(TypedDict):
    """Machine on which a run was trained."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    host: str
    system: str
    cores: int | None


class Git(TypedDict):
    """Commit of the code, and whether the checkout has uncommitted changes."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    commit: str
    dirty: bool


class Resumed(TypedDict):
    """One resumption of a run, with the epochs and batches trained before it."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    time: str
    epochs: Whole
    batches: Whole
    overrides: NotRequired[list[str]]
    versions: NotRequired[dict[str, str]]
    code: NotRequired[dict[str, str]]


Extended = TypedDict("Extended", {"time": str, "from": Whole, "to": Whole})
"""Extension of a run from one number of epochs to another."""


class Run(TypedDict):
    """Contents of run.json; after a failure before the start of training, little more than a status."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    status: Literal["running", "finished", "interrupted", "failed", "pruned"]
    error: NotRequired[str]
    command: NotRequired[str]
    working_folder: NotRequired[str]
    seed: NotRequired[Whole]
    started: NotRequired[str]
    overrides: NotRequired[list[str]]
    threads: NotRequired[Annotated[int, Field(ge=1, le=4096)]]
    precision: NotRequired[Literal["32-true", "tf32", "bf16-mixed", "16-mixed"]]
    cuda_graph: NotRequired[bool]
    device: NotRequired[str]
    process: NotRequired[int]
    resumed: NotRequired[list[Resumed]]
    extended: NotRequired[list[Extended]]
    network: NotRequired[Network]
    phases: NotRequired[list[str]]
    machine: NotRequired[Machine]
    git: NotRequired[Git | None]
    versions: NotRequired[dict[str, str]]
    code: NotRequired[dict[str, str]]
    tracking_id: NotRequired[Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]]
    """id of the run in every tracker"""
    epoch_seconds: NotRequired[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]]]


class Synced(TypedDict):
    """Contents of sync_<tracker>.json: what a tracker has of a run."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    place: str
    epochs: Whole
    status: str
