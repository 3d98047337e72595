"""Terminal lines that summarise an audit."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from viewfinder.data.audit.duplicates import EXACT, MIRRORED, NEAR
from viewfinder.data.audit.result import Audit
from viewfinder.data.audit.suspects import (
    BLANK,
    LABEL_ERROR,
    SMALL,
    TWO_LABELS,
    UNREADABLE,
    count_leaks,
    find_shared_groups,
)
from viewfinder.data.table import Table
from viewfinder.errors import join_first, join_names, printable

WIDTH, INDENT = 80, 12
MAX_SIZES = 3
"""Image sizes and modes in a line."""


def describe_audit(
    audit: Audit, warnings: Sequence[str] = (), drawn: Sequence[str] = (), scored: Sequence[str] = ()
) -> list[str]:
    """Return the lines of a summary, at most 80 columns wide.

    Args:
        audit: the audit.
        warnings: sentences about the data.
        drawn: splits that were drawn from the training images.
        scored: splits whose labels were compared with predictions.
    """
    table = audit.table
    splits = [
        f"{name} {count:,}{' (drawn)' if name in drawn else ''}"
        for name, count in table["split"].value_counts(sort=False).items()
    ]
    facts = [
        *(("warning", sentence) for sentence in warnings),
        ("images", f"{len(table):,} in {len(audit.class_names)} classes: {join_names(splits)}"),
        ("classes", describe_balance(table, audit.class_names)),
        ("sizes", describe_sizes(table)),
        ("modes", join_first([f"{mode} {count:,}" for mode, count in count_modes(table).items()], 2 * MAX_SIZES)),
        ("flaws", join_names(f"{name} {count_images(audit, name):,}" for name in (UNREADABLE, BLANK, SMALL))),
        ("duplicates", describe_duplicates(audit)),
    ]
    facts += [("", line) for line in describe_leaks(audit)]
    facts.append(("two labels", describe_two_labels(audit)))
    if table["group"].notna().any():
        shared = find_shared_groups(table)
        facts.append(("groups", f"{len(shared):,} of {table['group'].nunique():,} are in several splits"))
    if scored:
        facts.append(("labels", describe_label_errors(audit, scored)))
    return [
        line
        for label, text in facts
        for line in textwrap.wrap(
            printable(text), WIDTH, initial_indent=label.ljust(INDENT), subsequent_indent=" " * INDENT
        )
    ]


def count_images(audit: Audit, reason: str) -> int:
    """Count the suspects of a reason."""
    return int((audit.suspects["reason"] == reason).sum())


def describe_balance(table: Table, class_names: Sequence[str]) -> str:
    """Describe the smallest and the largest class of the training images."""
    labels = table["label"][table["split"] == "train"]
    counts = np.bincount(labels, minlength=len(class_names))
    low, high = int(counts.argmin()), int(counts.argmax())
    if counts[low] == counts[high]:
        return f"{counts[low]:,} training images each"
    extremes = f"{counts[low]:,} ({class_names[low]}) to {counts[high]:,} ({class_names[high]})"
    return f"{extremes} training images each"


def describe_sizes(table: Table) -> str:
    """Describe the sizes of the readable images, width first."""
    readable = table[table["problem"] == ""]
    sizes = readable.groupby(["width", "height"]).size().sort_values(ascending=False)
    names = [f"{width}x{height}" for width, height in sizes.index]
    if len(sizes) <= MAX_SIZES:
        return join_names(names) if len(sizes) == 1 else join_names(map("{} {:,}".format, names, sizes))
    low, middle, high = (readable[["width", "height"]].quantile(share).astype(int) for share in (0, 0.5, 1))
    span = [f"{name} {low[name]:,} to {high[name]:,} (median {middle[name]:,})" for name in ("width", "height")]
    return f"{len(sizes):,} sizes; {join_names(span)}"


def count_modes(table: Table) -> Any:
    """Count the readable images of each mode of Pillow, the most frequent first."""
    return table["mode"][table["problem"] == ""].value_counts()


def describe_duplicates(audit: Audit) -> str:
    """Describe the number of duplicates by kind, and the number of images that have one."""
    pairs = audit.duplicates.pairs
    if pairs.empty:
        return "none"
    counts = pairs["kind"].value_counts()
    kinds = join_names(f"{kind} {counts[kind]:,}" for kind in (EXACT, NEAR, MIRRORED) if kind in counts)
    images = np.union1d(pairs["first"], pairs["second"])
    groups = len(np.unique(audit.duplicates.groups[images]))
    return f"{len(images):,} images in {groups:,} groups; pairs: {kinds}"


def describe_leaks(audit: Audit) -> list[str]:
    """Return a sentence for each split that has images which are also in training."""
    lines = []
    for split, (images, exact, near) in count_leaks(audit.table, audit.duplicates).iterrows():
        if exact + near:
            share = f"{(exact + near) / images:.2%}"
            kinds = f"{exact:,} exact, {near:,} near or mirrored"
            lines.append(f"{exact + near:,} of {images:,} images of {split} are also in train ({share}): {kinds}")
    return lines


def describe_two_labels(audit: Audit) -> str:
    """Describe the number of duplicates with different labels."""
    rows = audit.suspects["row"][audit.suspects["reason"] == TWO_LABELS].to_numpy(dtype=int)
    if not len(rows):
        return "none"
    return f"{len(rows):,} images in {len(np.unique(audit.duplicates.groups[rows])):,} groups"


def describe_label_errors(audit: Audit, scored: Sequence[str]) -> str:
    """Describe the number of likely label errors in each split that was compared with predictions."""
    rows = audit.suspects["row"][audit.suspects["reason"] == LABEL_ERROR].to_numpy(dtype=int)
    counts = audit.table["split"].iloc[rows].value_counts()
    seen = "; the network was trained on train, so it finds fewer there" if "train" in scored else ""
    return f"likely wrong: {join_names(f'{name} {counts.get(name, 0):,}' for name in scored)}{seen}"
