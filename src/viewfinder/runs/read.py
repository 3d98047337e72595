"""Reading and validation of the files of a run folder, which may be untrusted."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import TypeAdapter, ValidationError

from viewfinder.errors import Problem, UserError
from viewfinder.runs.schemas.data import Data

MAX_BYTES = {".yaml": 2**18, ".json": 2**30, ".csv": 2**30}
"""Largest file by suffix; scores.json of about 4,000 classes reaches a gigabyte."""
REMEDY = "Restore the file from a copy of the run folder; Viewfinder does not write it like this."


def read_validated_json(path: Path, schema: Any) -> Any:
    """Read a JSON file and validate it against one of the classes in `viewfinder.runs.schemas`.

    Raises:
        UserError: if the file is invalid.
    """
    text = read_text(path)
    try:
        content = _make_adapter(schema).validate_python(json.loads(text))
    except ValidationError as error:
        raise make_file_error(path, describe_first_error(error)) from error
    except (ValueError, RecursionError) as error:
        raise make_file_error(path, f"is invalid JSON: {error}") from error
    if schema is Data and len(content.get("class_counts", content["class_names"])) != len(content["class_names"]):
        raise make_file_error(path, "class_counts must have one number per class")
    return content


@functools.cache
def _make_adapter(schema: Any) -> TypeAdapter[Any]:
    return TypeAdapter(schema)


def find_changed_splits(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Return the splits in which two contents of data.json differ, or ["classes"] if only the class names do."""
    old, new = before.get("fingerprint", {}), now["fingerprint"]
    changed = [name for name in new if old.get(name) != new[name]]
    return changed or ["classes"] * (before["class_names"] != now["class_names"])


def describe_first_error(error: ValidationError) -> str:
    """Describe the first problem of a validation: its place and message."""
    first = error.errors(include_url=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the content'}: {first['msg']}"


def read_metrics(path: Path) -> pd.DataFrame:
    """Read metrics.csv, one row per epoch.

    Raises:
        UserError: if the file is invalid.
    """
    check_file(path)
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError, RecursionError) as error:  # pandas' own errors and UnicodeDecodeError are ValueErrors
        raise make_file_error(path, f"is not a table: {error}") from error
    columns = ["epoch", *(f"{split}/{name}" for split in ("train", "val") for name in ("loss", "accuracy"))]
    for column in columns:
        if column not in table or table[column].dtype.kind not in "if" or not len(table):
            raise make_file_error(path, f"column {column} is missing or not numeric")
    if not (table[["epoch", "train/accuracy", "val/accuracy"]].abs() <= 1e9).to_numpy().all():
        raise make_file_error(path, "contains invalid epochs or accuracies")
    return table


def read_text(path: Path) -> str:
    """Read the text of a file; bytes that are not UTF-8, as in names of image files, become surrogates.

    Raises:
        UserError: if the file is missing or too large.
    """
    check_file(path)
    return path.read_text(encoding="utf-8", errors="surrogateescape")


def check_file(path: Path) -> None:
    """Raise UserError if a file is missing or too large."""
    if not path.is_file():
        raise make_file_error(path, "is missing" if not path.exists() else "is not a file")
    size, largest = path.stat().st_size, MAX_BYTES[path.suffix]
    if size > largest:
        raise make_file_error(path, f"has {size:,} bytes; at most {largest:,} are supported")


def make_file_error(path: Path, rule: str) -> UserError:
    """Return a UserError for an invalid file of a run folder."""
    return UserError("the run folder", [Problem(str(path), " ".join(rule.split())[:300], remedy=REMEDY)])
