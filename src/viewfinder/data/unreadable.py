"""Unreadable images: one error that lists all of them, or their exclusion from the splits."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from viewfinder.data.decode_parallel import Unreadable
from viewfinder.data.split import Split
from viewfinder.errors import Problem, UserError, join_names

OnError = Literal["raise", "skip"]
MAX_NAMED = 100
"""Images listed in an error."""


class SkippedImage(NamedTuple):
    """An unreadable image that was excluded."""

    picture: str
    """name as in predictions.csv"""
    reason: str


def exclude_unreadable(
    splits: Mapping[str, Split], unreadable: Mapping[str, Unreadable], on_error: OnError, class_names: list[str]
) -> tuple[dict[str, Split], list[SkippedImage]]:
    """Return the splits without their unreadable images, and the excluded images.

    Args:
        unreadable: split -> index in it -> why the image cannot be read.

    Raises:
        UserError: listing the unreadable images, if `on_error` is "raise", or if a split or a training class would be
            empty.
    """
    problems = [problem for in_split in unreadable.values() for problem in in_split.values()]
    if not problems:
        return dict(splits), []
    total = sum(len(splits[name]) for name in unreadable)
    if on_error == "raise":
        remedy = "Repair or remove these files, or set data.on_error=skip to leave them out."
        raise _unreadable_error(problems, total, [], remedy)
    remaining = dict(splits)
    skipped = []
    for name, in_split in unreadable.items():
        split = splits[name]
        remaining[name] = split.select(np.array([index for index in range(len(split)) if index not in in_split], int))
        skipped += [SkippedImage(split.names[index], problem.rule) for index, problem in in_split.items()]
    empty = [Problem(f"the {name} split", "has no readable images") for name in unreadable if not len(remaining[name])]
    lost = set()
    if "train" in splits:
        lost = set(splits["train"].labels.tolist()) - set(remaining["train"].labels.tolist())
    if lost and len(remaining["train"]):
        names = join_names(class_names[label] for label in sorted(lost))
        empty.append(Problem("the train split", f"has no readable images of {names}"))
    if empty:
        raise _unreadable_error(problems, total, empty, "Repair or replace these files.")
    return remaining, skipped


def _unreadable_error(problems: list[Problem], total: int, consequences: list[Problem], remedy: str) -> UserError:
    plural, verb = ("s", "are") if len(problems) > 1 else ("", "is")
    summary = Problem("the data", f"{len(problems):,} of {total:,} images {verb} unreadable", remedy=remedy)
    return UserError(
        "the data",
        [*problems[:MAX_NAMED], *consequences, summary],
        max_listed=MAX_NAMED + len(consequences) + 1,
        headline=f"{len(problems):,} unreadable image{plural}",
    )
