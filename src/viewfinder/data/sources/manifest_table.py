"""Table of a manifest: its columns by role, read from a CSV or Parquet file as text."""

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd

from viewfinder.data.files import escape_path
from viewfinder.data.formats import IMAGE_EXTENSIONS
from viewfinder.data.table import Table
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

REQUIRED = ("image", "label")
OPTIONAL = ("split", "fold", "group")
"""Roles of columns that are used if they are there; each is also the default name of its column."""
SEPARATORS = ",;\t"
EXAMPLE = ",".join(REQUIRED)
MAX_COLUMNS = 20
"""Columns named in a message."""


def read_table(path: Path, columns: Mapping[str, str | None]) -> tuple[Table, list[Problem]]:
    """Read a manifest.

    Args:
        path: CSV file (separated by commas, semicolons or tabs) or Parquet file.
        columns: role -> name of its column; None for an optional role that is not wanted.

    Returns:
        A column of text for each role that the file has; the index is the row number, where the header is row 1. And
        problems with the columns.

    Raises:
        UserError: if the file cannot be read.
    """
    if not path.is_file():
        raise make_path_error(path, *_explain_missing(path))
    try:
        with path.open("rb") as file:
            start = file.read(2**16)
        if not start.strip():
            raise make_path_error(path, "is empty", "Write a header, and a row for each image.")
        is_parquet = start.startswith(b"PAR1")
        if start.startswith(b"PK") and path.suffix.lower() != ".zip":
            raise make_path_error(path, "is a workbook, not a CSV or Parquet file", "Save its sheet as CSV.")
        header: Any = _read_parquet_header(path) if is_parquet else []
        whole = pd.DataFrame(columns=header) if is_parquet else _read_csv(path, start)
    except UserError:
        raise
    except UnicodeError as error:
        raise make_path_error(path, "has a header that is not UTF-8", "Save it as CSV in UTF-8.") from error
    except pd.errors.ParserWarning as error:
        remedy = "Put values that contain the separator in quotes."
        raise make_path_error(path, "has rows with more values than the header has columns", remedy) from error
    except (ValueError, NotImplementedError, OSError) as error:
        message = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise make_path_error(path, f"cannot be read: {message}", "It must be a CSV or Parquet file.") from error
    wanted, problems = _choose_columns([str(name) for name in whole.columns], columns)
    if is_parquet:
        return _read_parquet(path, wanted), problems
    table = whole[[*wanted.values()]].set_axis([*wanted], axis=1)
    table.index = range(2, len(table) + 2)
    return table[whole.ne("").any(axis=1).to_numpy()], problems  # without empty lines


def make_path_error(path: Path, rule: str, remedy: str) -> UserError:
    return UserError("the data", [Problem("data.path", rule, escape_path(path), remedy)])


def _explain_missing(path: Path) -> tuple[str, str]:
    """Return the rule and the remedy for a path that is not a file."""
    if path.is_dir():
        return "is a folder, not a manifest", "For a folder of class folders: data=image_folder data.root=PATH."
    siblings = [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else []
    remedy = did_you_mean(path.name, siblings) or "Pass a CSV or Parquet file."
    return f"does not exist (looked in {escape_path(path.resolve().parent)})", remedy


def _read_csv(path: Path, start: bytes) -> Table:
    """Read all columns of a CSV file; its separator is the first of SEPARATORS in the header."""
    header = start.split(b"\n")[0].decode("utf-8", "replace")
    separator = next((each for each in SEPARATORS if each in header), ",")
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # rows with more values than the header has
        return pd.read_csv(
            path, sep=separator, dtype=object, na_filter=False, index_col=False, skip_blank_lines=False,
            encoding="utf-8-sig", encoding_errors="surrogateescape", low_memory=False,
        )  # fmt: skip


def _read_parquet_header(path: Path) -> list[str]:
    if find_spec("pyarrow") is None:
        remedy = 'pip install "viewfinder[parquet]", or pass a CSV file.'
        raise make_path_error(path, "is a Parquet file, which needs pyarrow", remedy)
    from pyarrow import parquet

    return parquet.read_schema(path).names


def _read_parquet(path: Path, wanted: Mapping[str, str]) -> Table:
    """Read columns of a Parquet file as text; a missing value becomes empty."""
    import pyarrow as pa
    from pyarrow import parquet

    table, texts = parquet.read_table(path, columns=[*wanted.values()]), {}
    for role, name in wanted.items():
        try:
            texts[role] = [value or "" for value in table[name].cast(pa.string()).to_pylist()]
        except (ValueError, NotImplementedError) as error:  # pyarrow's own errors
            rule = f"contains {table[name].type}, not text or numbers"
            remedy = "Write the path of each image." if role == "image" else "Write text or numbers."
            raise UserError("the data", [Problem(f"data.{role}_column", rule, name, remedy)]) from error
    return pd.DataFrame(texts, columns=[*wanted], index=range(2, table.num_rows + 2), dtype=object)


def _choose_columns(header: Sequence[str], columns: Mapping[str, str | None]) -> tuple[dict[str, str], list[Problem]]:
    """Return role -> column for the roles that a header has, and problems with the others."""
    wanted, problems = {}, []
    named = join_names(map(repr, header[:MAX_COLUMNS])) + (", ..." if len(header) > MAX_COLUMNS else "")
    for role, name in columns.items():
        if name is None:
            continue
        if name in header:
            wanted[role] = name
            continue
        alike = [each for each in header if each.strip().casefold() == name.casefold()]
        if role in OPTIONAL and name == role:
            if alike:
                rule = f"is not a column of the manifest, but {alike[0]!r} is"
                remedy = f"Set data.{role}_column='{alike[0]}' to use it, or data.{role}_column=null not to."
                problems.append(Problem(f"data.{role}_column", rule, name, remedy))
        else:
            suggestion = f"Did you mean {alike[0]!r}?" if alike else did_you_mean(name, header)
            remedy = f"{suggestion} Set data.{role}_column=NAME. Columns: {named}.".strip()
            if any(each.lower().endswith(tuple(IMAGE_EXTENSIONS)) for each in header):
                remedy = f"The first row names an image, not columns: begin the file with a row such as {EXAMPLE}."
            problems.append(Problem(f"data.{role}_column", "is not a column of the manifest", name, remedy))
    return wanted, problems
