"""User-facing errors: location, rule, received value, remedy."""

import difflib
import signal
import textwrap
import traceback
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FAILED = 2
"""Exit code of a command that fails."""


@dataclass(frozen=True)
class Problem:
    """One invalid key, value or file.

    Args:
        key: key or path.
        rule: description of the error, or the rule that it breaks.
        received: the invalid value; None if nothing was received.
        remedy: what to do.
    """

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
    """An error that the user can fix; its text fits one screen and is shown without a traceback.

    Args:
        stage: part that has the problems, such as "the command line".
        problems: the problems; not empty.
        max_listed: number of problems in the text; the others are counted.
        headline: first line of the text; by default the number of problems and the stage.
    """

    def __init__(self, stage: str, problems: Sequence[Problem], max_listed: int = 6, headline: str = ""):
        self.stage, self.problems = stage, list(problems)
        count = "One problem" if len(problems) == 1 else f"{len(problems)} problems"
        lines = [str(problem) for problem in problems[:max_listed]]
        if len(problems) > max_listed:
            lines.append(f"  ... and {len(problems) - max_listed} more")
        headline = headline or f"{count} with {stage}"
        super().__init__("\n".join([f"{headline}:", *lines]))

    @property
    def reason(self) -> str:
        """The first problem on one line, for tables."""
        first = self.problems[0]
        received = "" if first.received is None else f" = {first.received}"
        return printable(" ".join(f"{first.key}{received}: {first.rule}".split()))


class Stopped(SystemExit):
    """End of a run stopped by a signal; the exit code is 128 plus the signal's number, as in shells."""

    def __init__(self, number: int):
        super().__init__(128 + number)
        self.name = signal.Signals(number).name
        self.is_logged = False
        """True once a message says that the run has stopped"""

    def __str__(self) -> str:
        return f"stopped by {self.name}"


class Pruned(Exception):  # noqa: N818
    """End of an unpromising run of a search; the text names the epoch."""


ESCAPED_CATEGORIES = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Unicode categories of control and format characters, lone surrogates, and line and paragraph separators."""
JOINERS = "\u200c\u200d"
"""Format characters that Persian and emoji need."""


def printable(text: str) -> str:
    """Escape control characters and characters that reverse text: an ESC becomes the four characters \\x1b.

    Class names and file names may come from untrusted folders.
    """
    return "".join(_escape(letter) if unicodedata.category(letter) in ESCAPED_CATEGORIES else letter for letter in text)


def _escape(letter: str) -> str:
    return letter if letter in JOINERS else letter.encode("unicode_escape").decode()


def find_closest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the closest candidate or an anagram; None if none is close."""
    names = list(candidates)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.65) or [n for n in names if sorted(n) == sorted(word)]
    return near[0] if near else None


def did_you_mean(word: str, candidates: Iterable[str]) -> str:
    """Return 'Did you mean x?' with the closest candidate; '' if none is close."""
    near = find_closest(word, candidates)
    return "" if near is None else f"Did you mean {near}?"


def join_names(names: Iterable[str]) -> str:
    return ", ".join(names)


def join_first(names: Sequence[str], limit: int) -> str:
    """Join at most `limit` names, and the number of the others."""
    more = f" and {len(names) - limit:,} more" if len(names) > limit else ""
    return join_names(names[:limit]) + more


def format_exception(error: BaseException) -> str:
    """Format an exception as 'Type: message (file.py, line n)', with the innermost frame that raised it."""
    return f"{type(error).__name__}: {error}{_format_origin(error)}"


def _format_origin(error: BaseException) -> str:
    if isinstance(error, SyntaxError) and error.filename:
        return f" ({error.filename}, line {error.lineno})"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "importlib" not in frame.filename]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
