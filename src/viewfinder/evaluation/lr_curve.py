"""The loss by learning rate of a range test: smoothed, and what is found in it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

MEMORY = 20
"""The smoothed loss remembers one part in so many of the test's steps, whatever their number."""
SKIPPED = 10
"""One part in so many of the steps, the first, tell what the loss is before anything is learned."""
TOO_MUCH = 4.0
"""How many times the lowest smoothed loss counts as diverged, as in fastai's lr_find."""
CERTAIN = 3.0
"""Standard errors by which the smoothed loss must fall."""
BEGUN = 0.1
"""Share of the fall after which it counts as begun."""


class Curve(NamedTuple):
    """A step a row, up to the last whose loss is a number."""

    rates: np.ndarray
    """(n,) learning rates, rising"""
    losses: np.ndarray
    """(n,) of the batches, each before its step"""
    smoothed: np.ndarray
    """(n,)"""
    planned: int
    """steps of the whole test, had the loss not diverged"""
    diverged: float | None
    """learning rate of the step with which the test ended early"""


class Finding(NamedTuple):
    proposal: float | None
    """a learning rate, of two digits"""
    reason: str
    """why there is none, else ''"""
    fell: tuple[float, float] | None
    """learning rates between which the smoothed loss fell"""
    losses: tuple[float, float] | None
    """what it was before, and at its lowest"""


def memory(planned: int) -> int:
    """Steps that the smoothed loss of a test of so many remembers, at least 1."""
    return max(1, round(planned / MEMORY))


def lag(planned: int) -> int:
    """Steps by which the smoothed loss runs behind: the mean age of what it averages."""
    return memory(planned) - 1


def smooth(losses: Sequence[float] | np.ndarray, planned: int) -> np.ndarray:
    """Exponential moving average of losses (n,), without the bias of its start (Kingma and Ba 2015, section 3)."""
    return pd.Series(np.asarray(losses, dtype=float)).ewm(alpha=1 / memory(planned)).mean().to_numpy()


def is_diverged(losses: Sequence[float], planned: int) -> bool:
    """Whether the last of the losses so far is no number, or the smoothed one is far above its lowest and its first."""
    if not np.isfinite(losses[-1]):
        return True
    smoothed = smooth(losses, planned)
    # A loss near 0 multiplies by noise alone.
    return len(losses) > planned // SKIPPED and bool(smoothed[-1] > max(TOO_MUCH * smoothed.min(), smoothed[0]))


def slopes(values: np.ndarray, reach: int) -> np.ndarray:
    """(n,) values -> (n,) slopes a step, each of the straight line that fits best to the `reach` values either side."""
    found = []
    for index in range(len(values)):
        near = values[max(0, index - reach) : index + reach + 1]
        found.append(np.polyfit(np.arange(len(near)), near, 1)[0])
    return np.array(found)


def find_rate(curve: Curve) -> Finding:
    """Propose the learning rate at which the smoothed loss falls most steeply over the logarithm of the rate.

    The rule is `steep` of fastai's lr_find, after Smith 2017 (arXiv 1506.01186), made to stand noise: a slope is that
    of a line through a twentieth of the steps on either side; the first tenth of the steps and all after the lowest
    smoothed loss are left out; and since an average runs behind what it averages, by its memory less one step, the
    rate is that of so many steps before. Nothing is proposed where the fall could be noise.
    """
    steps, start = len(curve.losses), max(1, curve.planned // SKIPPED)
    if steps <= start + memory(curve.planned):
        rule = f"the loss diverged after {steps} of {curve.planned} steps, before there was anything to see"
        return Finding(None, f"{rule}; try a smaller --from", None, None)
    lowest = start + int(curve.smoothed[start:].argmin())
    before, after = float(curve.losses[:start].mean()), float(curve.smoothed[lowest])
    kept = 1 - 1 / memory(curve.planned)
    noise = float(np.std(np.diff(curve.losses[: lowest + 1])) / np.sqrt(2))
    error = noise * np.sqrt((1 - kept) / (1 + kept) + 1 / start)
    if before - after <= CERTAIN * error:
        reason = "the loss did not fall by more than its noise; more --steps or a larger data.batch_size show more"
        return Finding(None, reason, None, (before, after))
    steepest = start + int(slopes(curve.smoothed, memory(curve.planned))[start : lowest + 1].argmin())
    above = np.flatnonzero(curve.smoothed[: lowest + 1] > before - BEGUN * (before - after))
    begun = int(above[-1]) if len(above) else 0
    on_time = curve.rates[np.maximum(np.array([begun, steepest, lowest]) - lag(curve.planned), 0)]
    first, proposal, last = on_time.tolist()
    return Finding(float(f"{proposal:.1e}"), "", (first, last), (before, after))
