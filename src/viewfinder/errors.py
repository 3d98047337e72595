"""What a person is told when something they gave cannot work: key, rule, value received and remedy."""

import difflib
import textwrap
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FAILED = 2
"""Exit code of a command that could not do what was asked."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with what was typed, written or found."""

    key: str
    rule: str
    received: str | None = None
    remedy: str = ""

    def __str__(self) -> str:
        head = self.key if self.received is None else f"{self.key} = {textwrap.shorten(self.received, 200)}"
        body = [line for text in (self.rule, self.remedy) for line in text.splitlines() if line]
        wrapped = [
            part for line in body for part in textwrap.wrap(line, 76, break_on_hyphens=False, break_long_words=False)
        ]
        return "\n".join(map(printable, [f"  {head}", *(f"    {line}" for line in wrapped)]))


class UserError(Exception):
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
        return printable(" ".join(f"{first.key}{received}: {first.rule}".split()))


def printable(text: str) -> str:
    """Text for a terminal: what would steer it, or turn the writing around, is spelt out, as in a\\x1b[31mb.

    Names of classes and files come from other people's folders.
    """
    return "".join(_spelt(letter) if unicodedata.category(letter) in SPELT else letter for letter in text)


SPELT = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode's categories of control and format characters, lone surrogates, and line and paragraph separators."""
JOINERS = "\u200c\u200d"
"""Persian and emoji are written with them."""


def _spelt(letter: str) -> str:
    return letter if letter in JOINERS else letter.encode("unicode_escape").decode()


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'Did you mean x?' with the nearest of the known words, or one of the same letters, else ''."""
    words = list(known)
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.65) or [w for w in words if sorted(w) == sorted(word)]
    return f"Did you mean {near[0]}?" if near else ""


def join_names(words: Iterable[str]) -> str:
    return ", ".join(words)
