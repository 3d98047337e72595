"""Schema of data.json."""

from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, ConfigDict, Field
from typing_extensions import TypedDict

from viewfinder.runs.schemas.types import OPEN, Side, Whole


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
