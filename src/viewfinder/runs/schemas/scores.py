"""Schemas of scores.json and calibration.json."""

from typing import Annotated, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from viewfinder.runs.schemas.types import OPEN, Share, Whole


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
    tta: NotRequired[str | None]
    """views of each image, in words; None for the image alone"""
    loss: Annotated[list[float], Field(min_length=2, max_length=2)]
    """cross-entropy before and after"""
    calibration_error: Annotated[list[Share], Field(min_length=2, max_length=2)]
    """before and after, as the loss"""


class Calibration(TypedDict):
    """Contents of calibration.json."""

    __pydantic_config__ = OPEN  # type: ignore[misc]
    best: NotRequired[WeightsCalibration]
    last: NotRequired[WeightsCalibration]
