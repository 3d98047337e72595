"""Parts of torchvision's data sets that are not documented, as of torchvision 0.21 to 0.29."""

import re
from pathlib import Path
from typing import Any

UNKNOWN = "?"
"""Value that no parameter accepts."""
FILE_ATTRIBUTES = (("_samples", ""), ("_images", "_labels"), ("_image_files", "_labels"))
"""Attributes with (path, label) of each image, or with the paths, and the labels."""


def list_accepted_values(cls: type[Any], parameter: str) -> list[str]:
    """Return the values that a class accepts for a parameter, which the error about another value lists.

    Raises:
        Exception: any other error of the class.
    """
    try:
        cls("", **{parameter: UNKNOWN})
    except ValueError as error:
        _, found, values = str(error).partition("Valid values are ")
        return re.findall("'([^']*)'", values) if found else []
    return []


def is_missing(error: Exception) -> bool:
    """Return whether an error is torchvision's for files that are missing or do not match their checksums."""
    is_its_own = isinstance(error, RuntimeError) and any(words in str(error) for words in ("not found", "not present"))
    return is_its_own or isinstance(error, FileNotFoundError)


def find_files(dataset: Any) -> tuple[list[Any], list[Any]] | None:
    """Return the paths and labels of a set that decodes files; None if its images are not files."""
    for name, labels_name in FILE_ATTRIBUTES:
        images = getattr(dataset, name, None)
        if not images:
            continue
        paths, labels = (images, getattr(dataset, labels_name)) if labels_name else zip(*images, strict=True)
        if isinstance(paths[0], str | Path):
            return list(paths), list(labels)
    return None
