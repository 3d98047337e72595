"""What a run folder's tables and JSON files must hold to be read again, whoever wrote them."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import pandas as pd
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from viewfinder.errors import Problem, UserError

LARGEST = {".yaml": 2**18, ".json": 2**30, ".csv": 2**30}
"""Bytes; scores.json of some 4,000 classes is as large."""
REMEDY = "Get the run folder's own file again; it is not as Viewfinder writes it."

Whole = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[int, Field(ge=1, le=2**14)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
MAY_HOLD_MORE = ConfigDict(extra="allow", strict=True)


def _distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names a class twice")
    return names


class Cropped(TypedDict):
    """How pictures were resized before a square was cut from them."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]
    resize_size: Side
    interpolation: Literal["bilinear", "bicubic"]


class Data(TypedDict):
    """data.json"""

    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    class_names: Annotated[list[str], Field(min_length=2), AfterValidator(_distinct)]
    channels: Annotated[int, Field(ge=1, le=1024)]
    picture_size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    class_counts: NotRequired[list[Whole]]
    split_sizes: dict[str, Whole]
    storage: NotRequired[str]
    cropped: NotRequired[Cropped]
    fingerprint: NotRequired[dict[str, str]]


class ClassScores(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    f1: Share
    precision: Share
    recall: Share
    pictures: Whole


class SplitScores(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    loss: float  # NaN where training diverged
    accuracy: Share
    f1: Share
    precision: Share
    recall: Share
    pictures: Whole
    per_class: dict[str, ClassScores]
    confusion: list[list[Whole]]


def _square(scores: SplitScores) -> SplitScores:
    if any(len(row) != len(scores["per_class"]) for row in [scores["confusion"], *scores["confusion"]]):
        raise ValueError("confusion must have a row and a column for each class")
    return scores


class WeightsScores(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    epoch: Annotated[int, Field(ge=1, le=10**9)]
    val: Annotated[SplitScores, AfterValidator(_square)]
    test: Annotated[SplitScores, AfterValidator(_square)]


class Scores(TypedDict):
    """scores.json"""

    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    best: WeightsScores
    last: WeightsScores


class Network(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    name: str
    parameters: Whole
    trained: Whole
    multiply_adds: Whole


class Machine(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    host: str
    system: str
    cores: int | None


class Git(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    commit: str
    dirty: bool


class Resumed(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    time: str
    epochs: Whole
    batches: Whole
    overrides: NotRequired[list[str]]
    versions: NotRequired[dict[str, str]]
    code: NotRequired[dict[str, str]]


Extended = TypedDict("Extended", {"time": str, "from": Whole, "to": Whole})


class KeptJob(TypedDict):
    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    folder: Annotated[str, Field(pattern=r"^[0-9]{1,9}(_[0-9]{1,9})?$")]
    overrides: list[str]
    config: dict[str, Any]


class Sweep(TypedDict):
    """sweep.json"""

    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
    command: str
    started: str
    process: int
    machine: Machine
    jobs: list[KeptJob]
    earlier: list[KeptJob]


class Run(TypedDict):
    """run.json: a run that was refused knows little more than that."""

    __pydantic_config__ = MAY_HOLD_MORE  # type: ignore[misc]
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
    epoch_seconds: NotRequired[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]]]


def read_kept(path: Path, kind: Any) -> Any:
    """A JSON file of a run folder.

    Args:
        kind: what it must hold, as one of the classes above.

    Raises:
        UserError: naming the file and what is wrong with it.
    """
    text = read_text(path)
    try:
        # Names of files that are no UTF-8 are written as they are.
        found = TypeAdapter(kind).validate_python(json.loads(text))
    except ValidationError as error:
        raise wrong(path, first_of(error)) from error
    except (ValueError, RecursionError) as error:
        raise wrong(path, f"is no JSON: {error}") from error
    if kind is Data and len(found.get("class_counts", found["class_names"])) != len(found["class_names"]):
        raise wrong(path, "class_counts must have a number for each class")
    return found


def changed_data(known: Mapping[str, Any], facts: Mapping[str, Any]) -> list[str]:
    """What two data.json differ in: splits, or 'classes'."""
    old, new = known.get("fingerprint", {}), facts["fingerprint"]
    changed = [name for name in new if old.get(name) != new[name]]
    return changed or ["classes"] * (known["class_names"] != facts["class_names"])


def first_of(error: ValidationError) -> str:
    """The first thing that is wrong, and where."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the whole'}: {first['msg']}"


def read_metrics(path: Path) -> pd.DataFrame:
    """metrics.csv: a row an epoch.

    Raises:
        UserError: if it is no such table.
    """
    read_text(path, read=False)
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError, RecursionError) as error:  # pandas' own errors and UnicodeDecodeError are ValueErrors
        raise wrong(path, f"is no table: {error}") from error
    columns = ["epoch", *(f"{split}/{name}" for split in ("train", "val") for name in ("loss", "accuracy"))]
    for column in columns:
        if column not in table or table[column].dtype.kind not in "if" or not len(table):
            raise wrong(path, f"has no numbers in a column {column}")
    if not (table[["epoch", "train/accuracy", "val/accuracy"]].abs() <= 1e9).to_numpy().all():
        raise wrong(path, "has epochs or accuracies that cannot be")
    return table


def read_text(path: Path, read: bool = True) -> str:
    """The text of a file of a run folder; or nothing, where that it can be read is all that matters.

    Raises:
        UserError: if it is missing, no file, or far too large.
    """
    if not path.is_file():
        raise wrong(path, "is missing" if not path.exists() else "is no file")
    size, largest = path.stat().st_size, LARGEST[path.suffix]
    if size > largest:
        raise wrong(path, f"has {size:,} bytes, and at most {largest:,} are read")
    return path.read_text(encoding="utf-8", errors="surrogateescape") if read else ""


def wrong(path: Path, rule: str) -> UserError:
    """The error about a file of a run folder."""
    return UserError("the run folder", [Problem(str(path), " ".join(rule.split())[:300], remedy=REMEDY)])
