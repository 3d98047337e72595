"""Agreement of one run with the recorded mean and standard deviation of earlier ones."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from scipy import special

from viewfinder.config.record import Figure

Verdict = Literal["agrees", "disagrees", "cannot tell"]
LEVEL = 0.95
"""Probability with which a run like the recorded ones agrees."""


class Compared(NamedTuple):
    """A recorded accuracy, and the accuracy of a run."""

    name: str
    recorded: Figure
    interval: tuple[float, float] | None
    """range in which the accuracy of another run is expected; None if the record has no spread"""
    value: float | None
    """accuracy of the run; None if it was not measured under the same conditions"""

    @property
    def verdict(self) -> Verdict:
        """Verdict on this accuracy alone."""
        if self.interval is None or self.value is None:
            return "cannot tell"
        low, high = self.interval
        return "agrees" if low <= self.value <= high else "disagrees"


def compare_figures(recorded: Mapping[str, Figure], measured: Mapping[str, float], seeds: int) -> list[Compared]:
    """Compare the accuracies of a run with the recorded ones of the same names.

    Args:
        recorded: recorded accuracies by name.
        measured: accuracies of the run by name; those that are missing were not measured.
        seeds: number of recorded runs.
    """
    tests = sum(figure.deviation is not None and name in measured for name, figure in recorded.items())
    return [
        Compared(name, figure, predict_interval(figure, seeds, max(tests, 1)), measured.get(name))
        for name, figure in recorded.items()
    ]


def predict_interval(recorded: Figure, seeds: int, tests: int = 1) -> tuple[float, float] | None:
    """Return the interval that has the accuracy of one further run; None without a standard deviation.

    It is the prediction interval of a normal distribution whose mean and variance are estimated from n runs,
    mean ± t * deviation * sqrt(1 + 1/n), with t from Student's distribution with n - 1 degrees of freedom (Hahn and
    Meeker 1991, Statistical Intervals, section 4.8). Both figures may have been rounded by half of their last digit.

    Args:
        recorded: mean and standard deviation.
        seeds: number of runs, n.
        tests: number of intervals that shall hold together with probability LEVEL (Bonferroni).
    """
    if recorded.deviation is None or seeds < 2:
        return None
    quantile = -float(special.stdtrit(seeds - 1, (1 - LEVEL) / 2 / tests))
    rounding = recorded.step / 2
    half = quantile * (recorded.deviation + rounding) * math.sqrt(1 + 1 / seeds) + rounding
    return recorded.mean - half, recorded.mean + half


def judge(compared: Sequence[Compared]) -> Verdict:
    """Return "disagrees" if an accuracy does, else "agrees" if one does."""
    verdicts: list[Verdict] = [each.verdict for each in compared]
    if "disagrees" in verdicts:
        return "disagrees"
    return "agrees" if "agrees" in verdicts else "cannot tell"
