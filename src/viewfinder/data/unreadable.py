"""Pictures that cannot be read: refused all at once, or left out of the splits they are in."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np

from viewfinder.data.decode_parallel import Unread
from viewfinder.data.split import Split
from viewfinder.errors import Problem, UserError, join_names

OnError = Literal["raise", "skip"]
NAMED = 100
"""Pictures that an error names at most."""


class Skipped(NamedTuple):
    picture: str
    """as predictions.csv would call it"""
    reason: str


def leave_out(
    splits: Mapping[str, Split], unread: Mapping[str, Unread], on_error: OnError, class_names: list[str]
) -> tuple[dict[str, Split], list[Skipped]]:
    """The splits without the pictures that cannot be read, and these with the reason.

    Args:
        unread: split -> place in it -> why that picture cannot be read.

    Raises:
        UserError: naming those pictures, if there are any and they must not be skipped; or if a split, or a
            class in training, would have none left.
    """
    problems = [problem for found in unread.values() for problem in found.values()]
    if not problems:
        return dict(splits), []
    looked_at = sum(len(splits[name]) for name in unread)
    rule = f"holds {len(problems):,} that cannot be read, of {looked_at:,} pictures"
    if on_error == "raise":
        remedy = "Mend or remove those files, or leave them out with data.on_error=skip."
        raise _refused(problems, [Problem("data.root", rule, remedy=remedy)])
    left = dict(splits)
    skipped = []
    for name, found in unread.items():
        before = splits[name]
        left[name] = before.take(np.array([place for place in range(len(before)) if place not in found], dtype=int))
        skipped += [Skipped(before.names[place], problem.rule) for place, problem in found.items()]
    lost = [Problem(f"the {name} split", "has no picture that can be read") for name in unread if not len(left[name])]
    gone = set(splits["train"].labels.tolist()) - set(left["train"].labels.tolist())
    if gone and len(left["train"]):
        names = join_names(class_names[label] for label in sorted(gone))
        lost.append(Problem("the train split", f"has no picture that can be read of {names}"))
    if lost:
        raise _refused(problems, [*lost, Problem("data.root", rule, remedy="Mend or replace those files.")])
    return left, skipped


def _refused(problems: list[Problem], conclusion: list[Problem]) -> UserError:
    return UserError("the data", [*problems[:NAMED], *conclusion], most=NAMED + len(conclusion))
