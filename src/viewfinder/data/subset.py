"""Which of a source's classes are kept, and which training pictures where a few of each class are wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from viewfinder.config.instantiate import STAGE
from viewfinder.config.validate import Text
from viewfinder.data.seeding import derive
from viewfinder.data.split import Split
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

Classes = list[Text | int]
"""Names of classes; 7 stands for "7", since Hydra takes what looks like a number for one."""
SHOWN = 20
"""Classes that an error names at most."""


def check_wanted(wanted: Classes | None) -> None:
    """Raises UserError if classes are named twice, or fewer than two are."""
    names = [str(name) for name in wanted or []]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    rule = (
        f"names {join_names(twice)} twice"
        if twice
        else "names fewer than two classes; telling pictures apart takes two"
    )
    if wanted is not None and (twice or len(names) < 2):
        raise _problem(wanted, STAGE, rule, "Such as 'data.classes=[cat,dog]'; null keeps all there are.")


def is_wanted(name: str, wanted: Classes | None) -> bool:
    """Whether a class is to be kept."""
    return wanted is None or name in map(str, wanted)


def kept_names(names: Sequence[str], wanted: Classes | None) -> list[str]:
    """Those of a source's classes that are wanted, all by default, in the source's order.

    Raises:
        UserError: naming all that are wanted and not there.
    """
    words = [str(name) for name in wanted or []]
    if unknown := [word for word in words if word not in names]:
        rule = "\n".join(f"there is no class {word}. {did_you_mean(word, names)}".rstrip() for word in unknown)
        more = f", ... ({len(names)} in all)" if len(names) > SHOWN else "."
        raise _problem(words, "the data", rule, f"Classes: {join_names(names[:SHOWN])}{more}")
    return [name for name in names if is_wanted(name, wanted)]


def keep_classes(
    names: Sequence[str], splits: Mapping[str, Split], wanted: Classes | None
) -> tuple[list[str], dict[str, Split]]:
    """Class names and splits of a source as if it had no other classes than those wanted.

    Raises:
        UserError: as `kept_names`.
    """
    kept = kept_names(names, wanted)
    if wanted is None or kept == list(names):
        return kept, dict(splits)
    labels = np.array([kept.index(name) if name in kept else -1 for name in names])
    found = {}
    for split, whole in splits.items():
        part = whole.take(np.flatnonzero(labels[whole.labels] >= 0))
        found[split] = replace(part, labels=labels[part.labels])
    return kept, found


def few_of_each(split: Split, most: int, limit: int | None, seed: int) -> Split:
    """At most so many pictures of each class, of a random order that depends on nothing but the seed and the split.

    Fewer are some of more: those for 5 are among those for 50.

    Args:
        limit: at most so many in all, as many of one class as of another while there are.
    """
    order = np.random.RandomState(derive(seed, "per_class") % 2**32).permutation(len(split))
    labels = split.labels[order]
    turn = pd.Series(labels).groupby(labels).cumcount().to_numpy()  # 0 of the first of its class, 1 of the next
    in_turn = order[np.argsort(turn, kind="stable")]
    return split.take(in_turn[: np.count_nonzero(turn < most)][:limit])


def _problem(wanted: Sequence[str | int], stage: str, rule: str, remedy: str) -> UserError:
    return UserError(stage, [Problem("data.classes", rule, f"[{','.join(map(str, wanted))}]", remedy)])
