"""Page of an audit: audit.html, one file without network access, with pairs of images side by side."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from viewfinder.data.audit.duplicates import EXACT
from viewfinder.data.audit.result import Audit
from viewfinder.data.audit.suspects import BLANK, LABEL_ERROR, SMALL, UNREADABLE, count_leaks, find_shared_groups
from viewfinder.data.table import Table
from viewfinder.errors import printable
from viewfinder.reporting.audit import count_modes, describe_sizes
from viewfinder.reporting.charts.thumbnails import encode_thumbnail
from viewfinder.reporting.pages.render import render_page
from viewfinder.runs.atomic import replace_text

MAX_SHOWN = 60
"""Pairs or images in a section."""
SIDE = 128
"""Longer side in pixels of an image on the page; smaller images are enlarged by the browser."""


def write_audit_page(
    path: Path,
    audit: Audit,
    source: str,
    command: str,
    warnings: Sequence[str] = (),
    drawn: Sequence[str] = (),
    scored: Sequence[str] = (),
    next_command: str = "",
) -> None:
    """Write audit.html.

    Args:
        path: the file.
        audit: the audit.
        source: the data or the run, as a title.
        command: command line of the audit.
        warnings: sentences about the data.
        drawn: splits that were drawn from the training images.
        scored: splits whose labels were compared with predictions.
        next_command: command that trains on the remaining images; '' if there is none.
    """
    table, suspects, pairs = audit.table, audit.suspects, audit.duplicates.pairs
    labels, splits = table["label"].to_numpy(), table["split"].to_numpy()
    first, second = pairs["first"].to_numpy(), pairs["second"].to_numpy()
    has_two, is_across = labels[first] != labels[second], splits[first] != splits[second]
    sections = [
        _show_pairs(
            audit, pairs[has_two], "Duplicates with two labels", "A label is wrong, or the images are only alike."
        ),
        _show_pairs(
            audit, pairs[~has_two & is_across], "Duplicates in two splits", "Scores on such images are too high."
        ),
        _show_pairs(audit, pairs[~has_two & ~is_across], "Duplicates within a split", ""),
    ]
    counts: Table = pd.crosstab(table["label"], table["split"], dropna=False)
    leaks = count_leaks(table, audit.duplicates)
    page = render_page(
        "audit.html.j2",
        title="Audit",
        source=printable(source),
        command=printable(command),
        warnings=[printable(line) for line in warnings],
        splits=[(name, name in drawn) for name in dict.fromkeys(splits)],
        class_counts=[(printable(audit.class_names[int(label)]), row.to_dict()) for label, row in counts.iterrows()],
        count=len(table),
        duplicate_count=len(np.union1d(first, second)),
        leaks=[
            {"split": split, "images": row["images"], "exact": row[EXACT], "near": row["near"]}
            for split, row in leaks.iterrows()
        ],
        left_out=suspects.loc[suspects["is_left_out"].astype(bool), "row"].nunique(),
        suspect_count=suspects["row"].nunique(),
        sizes=describe_sizes(table),
        modes=count_modes(table).to_dict(),
        sections=[section for section in sections if section["total"]],
        label_errors=_show_singles(audit, suspects[suspects["reason"] == LABEL_ERROR]),
        scored=scored,
        flaws=_show_singles(audit, _join_reasons(suspects[suspects["reason"].isin([BLANK, SMALL])])),
        unreadable=_list_unreadable(audit),
        groups=[(printable(str(name)), count) for name, count in find_shared_groups(table)[:MAX_SHOWN].items()],
        max_shown=MAX_SHOWN,
        next_command=printable(next_command),
    )
    replace_text(path, page)


def _show_pairs(audit: Audit, pairs: Table, title: str, note: str) -> dict[str, Any]:
    shown = [
        {
            "kind": pair.kind,
            "correlation": pair.correlation,
            "images": [_show_image(audit, row) for row in (pair.first, pair.second)],
        }
        for pair in pairs.head(MAX_SHOWN).itertuples()
    ]
    return {"title": title, "note": note, "total": len(pairs), "pairs": shown}


def _show_singles(audit: Audit, suspects: Table) -> dict[str, Any]:
    """Return the images of some suspects, the largest scores first."""
    ordered = suspects.sort_values("score", ascending=False, kind="stable")
    shown = [
        {
            **_show_image(audit, int(suspect.row)),
            "reason": suspect.reason,
            "suggested": printable(audit.class_names[suspect.suggested]) if suspect.suggested >= 0 else "",
            "score": suspect.score,
        }
        for suspect in ordered.head(MAX_SHOWN).itertuples()
    ]
    return {"total": len(ordered), "shown": shown}


def _join_reasons(suspects: Table) -> Table:
    """Return one row for each image, with all its reasons."""
    reasons = suspects.groupby("row", sort=False)["reason"].transform(", ".join)
    return suspects.assign(reason=reasons).drop_duplicates("row")


def _show_image(audit: Audit, row: int) -> Mapping[str, Any]:
    facts = audit.table.iloc[row]
    return {
        "source": encode_thumbnail(audit.read_image(row), SIDE),
        "name": printable(str(facts["name"])),
        "split": facts["split"],
        "label": printable(audit.class_names[facts["label"]]),
    }


def _list_unreadable(audit: Audit) -> list[tuple[str, str]]:
    """Return the names of unreadable images and the reasons."""
    unreadable = audit.table[audit.table["problem"] != ""]
    assert len(unreadable) == (audit.suspects["reason"] == UNREADABLE).sum()
    return [
        (printable(str(name)), printable(rule))
        for name, rule in zip(unreadable["name"], unreadable["problem"], strict=True)
    ]
