"""Exact, near and mirrored duplicates, and groups of them."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from viewfinder.data.audit.alignment import compare_pairs
from viewfinder.data.audit.scan import Scan
from viewfinder.data.audit.signatures import find_candidates
from viewfinder.data.table import Table

EXACT, NEAR, MIRRORED = "exact", "near", "mirrored"


class Duplicates(NamedTuple):
    """Duplicates among images that are numbered by the rows of a table."""

    pairs: Table
    """first, second, kind and correlation of their pixels, most similar first"""
    groups: np.ndarray
    """(N,) number of each image's group; images without duplicates have groups of their own"""


def find_duplicates(scan: Scan, skipped: np.ndarray, min_correlation: float) -> Duplicates:
    """Find equal files, and images whose pixels are nearly equal after a shift, a scaling or mirroring.

    Args:
        scan: all images.
        skipped: images to compare by the contents of their files alone, such as blank ones, (N,) bool.
        min_correlation: correlation of the pixels from which two images are near duplicates.
    """
    exact = find_equal(scan.table["content"])
    candidates = find_candidates(scan.thumbnails)
    candidates = candidates[~skipped[candidates["first"]] & ~skipped[candidates["second"]]]
    first, second, is_mirrored = (candidates[name].to_numpy() for name in ("first", "second", "is_mirrored"))
    correlation = compare_pairs(scan.thumbnails, first, second, is_mirrored)
    near: Table = pd.DataFrame(
        {"first": first, "second": second, "kind": np.where(is_mirrored, MIRRORED, NEAR), "correlation": correlation}
    )
    near = near[near["correlation"] >= min_correlation].sort_values("correlation", ascending=False, kind="stable")
    pairs = pd.concat([exact, near]).drop_duplicates(["first", "second"]).reset_index(drop=True)
    return Duplicates(pairs, join_pairs(pairs, len(scan.table)))


def find_equal(contents: Any) -> Table:
    """Return a pair of each image with the first that has the same content."""
    known = contents.dropna()
    firsts = pd.Series(known.index, index=known.index).groupby(known).transform("first")
    repeated = firsts[firsts != firsts.index]
    columns = {"first": repeated.to_numpy(), "second": repeated.index, "kind": EXACT, "correlation": 1.0}
    return pd.DataFrame(columns).astype({"first": np.int64, "second": np.int64, "correlation": float})


def join_pairs(pairs: Table, count: int) -> np.ndarray:
    """Return the number of the group of each of `count` images; pairs belong to one group."""
    links = coo_array((np.ones(len(pairs)), (pairs["first"], pairs["second"])), shape=(count, count))
    return connected_components(links, directed=False)[1]
