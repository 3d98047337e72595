"""Tables of suspects and of the other images, as files that a spreadsheet and `data=csv` read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from viewfinder.data.split import ImageRows, Split
from viewfinder.data.table import Table


def name_files(splits: Mapping[str, Split], root: Path) -> np.ndarray:
    """Return the path of each image, relative to `root` if it is below; the names of images without files."""
    names: list[str] = []
    for split in splits.values():
        if isinstance(split.content, ImageRows):
            names += map(str, split.names)
        else:
            names += [_shorten(path, root) for path in split.content]
    return np.array(names, dtype=object)


def _shorten(path: Path, root: Path) -> str:
    path, root = path.absolute(), root.absolute()
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def build_manifest(table: Table, suspects: Table, files: np.ndarray, class_names: Sequence[str]) -> Table:
    """Tabulate the images that are not left out: image, label and split, and group and fold if the data have them."""
    rows = np.setdiff1d(np.arange(len(table)), suspects.loc[suspects["is_left_out"].astype(bool), "row"])
    return _describe(table, files, class_names, rows)


def build_suspect_table(table: Table, suspects: Table, files: np.ndarray, class_names: Sequence[str]) -> Table:
    """Tabulate the suspects as `build_manifest`, with reason, other image, score, suggested label and left_out."""
    described = _describe(table, files, class_names, suspects["row"].to_numpy(dtype=int))
    others, labels = suspects["other"].to_numpy(dtype=int), suspects["suggested"].to_numpy(dtype=int)
    reasons = zip(suspects["reason"], table["problem"].iloc[suspects["row"]], strict=True)
    return described.assign(
        reason=[f"{reason}: {problem}" if problem else reason for reason, problem in reasons],
        other=[files[row] if row >= 0 else "" for row in others],
        score=suspects["score"].to_numpy(dtype=float).round(4),
        suggested=[class_names[label] if label >= 0 else "" for label in labels],
        left_out=suspects["is_left_out"].to_numpy(dtype=bool),
    )


def _describe(table: Table, files: np.ndarray, class_names: Sequence[str], rows: np.ndarray) -> Table:
    labels = np.array(class_names, dtype=object)[table["label"].to_numpy()[rows]]
    # With pyarrow, pandas' own type of text would refuse names that are not UTF-8.
    columns = {"image": files[rows], "label": labels}
    for name in ("split", "group", "fold"):
        if table[name].notna().any():
            columns[name] = table[name].to_numpy(dtype=object)[rows]
    return pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
