"""What a person is told when something they gave cannot work: key, rule, value received and remedy."""

import difflib
import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with what was typed, written or found."""

    key: str
    rule: str
    received: str | None = None
    remedy: str = ""

    def __str__(self) -> str:
        key = on_one_line(self.key)
        head = key if self.received is None else f"{key} = {textwrap.shorten(self.received, 200)}"
        body = [line for text in (self.rule, self.remedy) for line in text.splitlines() if line]
        wrapped = [
            part for line in body for part in textwrap.wrap(line, 76, break_on_hyphens=False, break_long_words=False)
        ]
        return "\n".join([f"  {head}", *(f"    {line}" for line in wrapped)])


class ViewfinderError(Exception):
    """Raised for what a person can mend; its text is one screen, shown without a traceback."""

    def __init__(self, stage: str, problems: Sequence[Problem], most: int = 6):
        self.stage, self.problems = stage, list(problems)
        count = "One problem" if len(problems) == 1 else f"{len(problems)} problems"
        shown = [str(problem) for problem in problems[:most]]
        if len(problems) > most:
            shown.append(f"  ... and {len(problems) - most} more of this kind")
        super().__init__("\n".join([f"{count} with {stage}:", *shown]))

    @property
    def reason(self) -> str:
        """The first problem on one line, for a table."""
        first = self.problems[0]
        received = "" if first.received is None else f" = {first.received}"
        return " ".join(f"{first.key}{received}: {first.rule}".split())


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'Did you mean x?' with the nearest of the known words, or one of the same letters, else ''."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.65) or [w for w in words if sorted(w) == sorted(word)]
    return f"Did you mean {near[0]}?" if near else ""


def on_one_line(text: str) -> str:
    r"""With control characters, such as those that break a line or colour a terminal, as \xNN."""
    return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: ascii(found[0])[1:-1], text)


def listed(words: Iterable[str]) -> str:
    return ", ".join(words)
