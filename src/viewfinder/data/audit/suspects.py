"""Images to look at, each with a reason, and those that a cleaned data set leaves out."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from torch import Tensor

from viewfinder.data.audit.duplicates import EXACT, Duplicates
from viewfinder.data.audit.scan import BLOCK
from viewfinder.data.table import Table

BLANK_DEVIATION = 1.0
"""Standard deviation of the levels, 0..255, below which an image is blank."""
SMALL_SHARE = 0.25
"""Share of the median shorter side below which an image is very small."""
KEPT_FIRST = ("test", "val", "train")
"""Of several duplicates, one in the first of these splits stays, so that test scores stay comparable."""
UNREADABLE, BLANK, SMALL, TWO_LABELS, SHARED_GROUP = "unreadable", "blank", "very small", "two labels", "shared group"
LABEL_ERROR = "label error"
COLUMNS = ["row", "reason", "other", "score", "suggested", "is_left_out"]
"""Columns of suspects: row of the image, the reason, row of the image that it resembles or -1, correlation with it or
margin of another class, that class or -1, and whether a cleaned data set lacks the image for this reason."""


def find_blank(thumbnails: Tensor) -> np.ndarray:
    """Return whether the levels of each image hardly vary, (N,) bool."""
    deviations = [block.float().std(dim=(1, 2)).amax(1) for block in thumbnails.split(BLOCK)]
    return np.concatenate([part.numpy() for part in deviations]) < BLANK_DEVIATION


def find_small(table: Table) -> np.ndarray:
    """Return whether the shorter side of each image is far below the median, (N,) bool."""
    shorter, is_readable = table[["height", "width"]].min(axis=1), table["problem"] == ""
    return (is_readable & (shorter < SMALL_SHARE * shorter[is_readable].median())).to_numpy()


def find_shared_groups(table: Table) -> Any:
    """Return the groups that have images in several splits, and the number of these splits."""
    counts = table.dropna(subset="group").groupby("group", sort=False)["split"].nunique()
    return counts[counts > 1]


def list_suspects(table: Table, duplicates: Duplicates, blank: np.ndarray, label_errors: Table | None = None) -> Table:
    """Return a row for each suspect image and reason, with the columns COLUMNS.

    Images with two labels are left out, and so are all duplicates but one. Likely label errors are left out of training
    alone: without the images that a network gets wrong, its scores would be too high.

    Args:
        table: facts of all images, as in `Scan`.
        duplicates: duplicates among them.
        blank: whether each image is blank, (N,) bool.
        label_errors: row, suggested and score of likely label errors; None if there are no predictions.
    """
    is_readable = (table["problem"] == "").to_numpy()
    parts = [
        _make_rows(np.flatnonzero(~is_readable), UNREADABLE),
        _make_rows(np.flatnonzero(blank & is_readable), BLANK),
        _make_rows(np.flatnonzero(find_small(table)), SMALL),
        *_list_duplicates(table, duplicates),
        _list_shared_groups(table),
    ]
    if label_errors is not None:
        in_training = (table["split"].iloc[label_errors["row"]] == "train").to_numpy()
        scores, suggested = label_errors["score"].to_numpy(), label_errors["suggested"].to_numpy()
        rows = label_errors["row"].to_numpy()
        parts.append(_make_rows(rows, LABEL_ERROR, score=scores, suggested=suggested, is_left_out=in_training))
    return pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)


def _make_rows(
    rows: np.ndarray,
    reason: Any,
    other: Any = -1,
    score: Any = np.nan,
    suggested: Any = -1,
    is_left_out: Any = True,
) -> Table:
    columns = (rows, reason, other, score, suggested, is_left_out)
    return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)), index=range(len(rows)))


def _list_duplicates(table: Table, duplicates: Duplicates) -> Iterable[Table]:
    """Yield the images of groups with two labels, and of the other groups all images but one."""
    pairs = duplicates.pairs
    members = np.union1d(pairs["first"], pairs["second"]).astype(int)
    frame = table.iloc[members][["split", "label"]].assign(row=members, group=duplicates.groups[members])
    # The pair of each image that is most similar; pairs are sorted by similarity, equal files first.
    sides = [
        pairs.rename(columns={one: "row", two: "other"}) for one, two in (("first", "second"), ("second", "first"))
    ]
    best = pd.concat(sides).sort_index(kind="stable").drop_duplicates("row").set_index("row")
    frame = frame.join(best[["other", "kind", "correlation"]], on="row")
    has_two = frame.groupby("group")["label"].transform("nunique") > 1
    two, same = frame[has_two], frame[~has_two]
    yield _make_rows(two["row"].to_numpy(), TWO_LABELS, two["other"].to_numpy(), two["correlation"].to_numpy())
    order = same["split"].map({name: rank for rank, name in enumerate(KEPT_FIRST)})
    kept = same.assign(order=order).sort_values(["order", "row"]).groupby("group")["row"].transform("first")
    copies = same[kept.reindex(same.index) != same["row"]]
    reasons = copies["kind"] + " duplicate"
    yield _make_rows(
        copies["row"].to_numpy(), reasons.to_numpy(), copies["other"].to_numpy(), copies["correlation"].to_numpy()
    )


def _list_shared_groups(table: Table) -> Table:
    """Return the images of groups in several splits, other than those in the split that keeps the group."""
    shared = find_shared_groups(table)
    rows = np.flatnonzero(table["group"].isin(shared.index))
    order = table["split"].iloc[rows].map({name: rank for rank, name in enumerate(KEPT_FIRST)})
    is_copy = order != order.groupby(table["group"].iloc[rows]).transform("min")
    return _make_rows(rows[is_copy.to_numpy()], SHARED_GROUP)


def count_leaks(table: Table, duplicates: Duplicates) -> Table:
    """Count the images of val and test that are also in train: columns images, exact and near, a row for each split."""
    in_train = table["split"] == "train"
    groups = pd.Series(duplicates.groups, table.index)
    is_equal = table["content"].notna() & table["content"].isin(table.loc[in_train, "content"].dropna())
    has_twin = groups.isin(groups[in_train])
    rows = {}
    for split in dict.fromkeys(table["split"]):
        if split != "train":
            here = table["split"] == split
            rows[split] = {
                "images": int(here.sum()),
                EXACT: int((here & is_equal).sum()),
                "near": int((here & has_twin & ~is_equal).sum()),
            }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["images", EXACT, "near"])
