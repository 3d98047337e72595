"""Schemas of the JSON files of a run folder and a sweep folder.

Columns of metrics.csv: training/callbacks/epoch_log.py. Columns of predictions.csv: evaluation/predictions_csv.py.
"""

from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

Whole = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[int, Field(ge=1, le=2**14)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
OPEN = ConfigDict(extra="allow", strict=True)
"""Strict types, and further keys are allowed."""


def _check_distinct(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("names a class twice")
    return names


class Crop(TypedDict):
    """Resizing of images before a square was cropped from them."""

    __pydantic_config__ = ConfigDict(strict=True)  # type: ignore[misc]
    resize_size: Side
    interpolation: Literal["bilinear", "bicubic"]


class CrossValidation(TypedDict):
    """Fold that is the test split of a run."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    fold: Whole
    folds: Annotated[int, Field(ge=2, le=2**53)]
    images: Whole
    """images of all folds"""
    names: str
    """hash of their names and labels"""
    fold_name: NotRequired[str]
    unused_test_images: NotRequired[Whole]


class Data(TypedDict):
    """Contents of data.json."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    class_names: Annotated[list[str], Field(min_length=2), AfterValidator(_check_distinct)]
    channels: Annotated[int, Field(ge=1, le=1024)]
    picture_size: Annotated[list[Side], Field(min_length=2, max_length=2)]
    class_counts: NotRequired[list[Whole]]
    split_sizes: dict[str, Whole]
    drawn: NotRequired[list[str]]
    """splits that were drawn from the training images"""
    cross_validation: NotRequired[CrossValidation]
    group_counts: NotRequired[dict[str, Whole]]
    storage: NotRequired[str]
    cropped: NotRequired[Crop]
    absent_classes: NotRequired[dict[str, list[str]]]
    warnings: NotRequired[list[str]]
    fingerprint: NotRequired[dict[str, str]]


class ClassScores(TypedDict):
    """Scores of one class."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    f1: Share
    precision: Share
    recall: Share
    pictures: Whole


class SplitScores(TypedDict):
    """Scores of one split."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    loss: float  # NaN where training diverged
    accuracy: Share
    f1: Share
    precision: Share
    recall: Share
    top3: NotRequired[Share]
    top5: NotRequired[Share]
    calibration_error: NotRequired[Share]
    auroc: NotRequired[Share]
    average_precision: NotRequired[Share]
    pictures: Whole
    per_class: dict[str, ClassScores]
    confusion: list[list[Whole]]


def _check_square(scores: SplitScores) -> SplitScores:
    if any(len(row) != len(scores["per_class"]) for row in [scores["confusion"], *scores["confusion"]]):
        raise ValueError("confusion must have a row and a column for each class")
    return scores


class WeightsScores(TypedDict):
    """Scores of the best or the last weights."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    epoch: Annotated[int, Field(ge=1, le=10**9)]
    val: Annotated[SplitScores, AfterValidator(_check_square)]
    test: Annotated[SplitScores, AfterValidator(_check_square)]


class Scores(TypedDict):
    """Contents of scores.json."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    best: WeightsScores
    last: WeightsScores


class WeightsCalibration(TypedDict):
    """Temperature of the best or the last weights, fitted on the validation split."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    temperature: Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]
    steps: Whole | None
    """optimizer steps of the weights"""
    epoch: Whole | None
    pictures: Whole
    loss: Annotated[list[float], Field(min_length=2, max_length=2)]
    """cross-entropy before and after"""
    calibration_error: Annotated[list[Share], Field(min_length=2, max_length=2)]
    """before and after, as the loss"""


class Calibration(TypedDict):
    """Contents of calibration.json."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    best: NotRequired[WeightsCalibration]
    last: NotRequired[WeightsCalibration]


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
    process: int
    machine: Machine
    jobs: list[SweepJob]
    earlier: list[SweepJob]


class QueuedJob(TypedDict):
    """Attempt at a job of a sweep that was submitted to a scheduler."""

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
