"""Loss curve of a learning-rate range test, and the learning rate proposed from it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

SPAN_SHARE = 20
"""The moving average spans 1 / SPAN_SHARE of the planned steps."""
START_SHARE = 10
"""The first 1 / START_SHARE of the planned steps give the loss before training."""
DIVERGENCE_FACTOR = 4.0
"""Smoothed loss, relative to its minimum, that counts as diverged, as in fastai's lr_find."""
CERTAIN = 3.0
"""Least fall of the smoothed loss, in standard errors."""
FALL_START = 0.1
"""Share of the fall after which the loss counts as falling."""


class Curve(NamedTuple):
    """Loss by learning rate, one value per step, up to the last finite loss."""

    rates: np.ndarray
    """(n,) learning rates, rising"""
    losses: np.ndarray
    """(n,) loss of each batch before its step"""
    smoothed: np.ndarray
    """(n,) moving average of the losses"""
    planned: int
    """steps of the whole test"""
    diverged: float | None
    """learning rate of the step at which the test stopped early"""


class Finding(NamedTuple):
    """Result of a range test."""

    proposal: float | None
    """learning rate, rounded to two digits"""
    reason: str
    """why no learning rate is proposed, else an empty string"""
    fell: tuple[float, float] | None
    """learning rates between which the smoothed loss fell"""
    losses: tuple[float, float] | None
    """loss before the fall, and its minimum"""


def compute_span(planned: int) -> int:
    """Return the span of the moving average in steps, at least 1."""
    return max(1, round(planned / SPAN_SHARE))


def compute_delay(planned: int) -> int:
    """Return the delay of the smoothed loss in steps: the mean age of the averaged losses."""
    return compute_span(planned) - 1


def smooth_losses(losses: Sequence[float] | np.ndarray, planned: int) -> np.ndarray:
    """Compute the bias-corrected exponential moving average of losses, (n,) (Kingma and Ba 2015, section 3)."""
    return pd.Series(np.asarray(losses, dtype=float)).ewm(alpha=1 / compute_span(planned)).mean().to_numpy()


def is_diverged(losses: Sequence[float], planned: int) -> bool:
    """Return whether the last loss is not finite, or the smoothed loss is far above its minimum and its start."""
    if not np.isfinite(losses[-1]):
        return True
    smoothed = smooth_losses(losses, planned)
    # Noise alone can multiply a loss near 0, hence the comparison with the start.
    is_far_above = smoothed[-1] > max(DIVERGENCE_FACTOR * smoothed.min(), smoothed[0])
    return len(losses) > planned // START_SHARE and bool(is_far_above)


def fit_slopes(values: np.ndarray, reach: int) -> np.ndarray:
    """Fit a line to the `reach` values on either side of each value.

    Args:
        values: (n,).
        reach: number of values on either side.

    Returns:
        Slopes per step, (n,).
    """
    slopes = []
    for index in range(len(values)):
        window = values[max(0, index - reach) : index + reach + 1]
        slopes.append(np.polyfit(np.arange(len(window)), window, 1)[0])
    return np.array(slopes)


def propose_rate(curve: Curve) -> Finding:
    """Propose the learning rate at which the smoothed loss falls most steeply over the logarithm of the rate.

    The rule is `steep` of fastai's lr_find, after Smith 2017 (arXiv 1506.01186), made robust to noise. Slopes come from
    lines through a twentieth of the steps on either side. The first tenth of the steps and all steps after the lowest
    smoothed loss are left out. The rate is read at an earlier step, since the moving average is delayed. No rate is
    proposed if the fall could be noise.
    """
    steps, start = len(curve.losses), max(1, curve.planned // START_SHARE)
    if steps <= start + compute_span(curve.planned):
        reason = f"the loss diverged after {steps} of {curve.planned} steps, too early to measure a fall"
        return Finding(None, f"{reason}; try a smaller --from", None, None)
    lowest = start + int(curve.smoothed[start:].argmin())
    before, after = float(curve.losses[:start].mean()), float(curve.smoothed[lowest])
    decay = 1 - 1 / compute_span(curve.planned)
    noise = float(np.std(np.diff(curve.losses[: lowest + 1])) / np.sqrt(2))
    error = noise * np.sqrt((1 - decay) / (1 + decay) + 1 / start)
    if before - after <= CERTAIN * error:
        reason = "the loss did not fall by more than its noise; try more --steps or a larger data.batch_size"
        return Finding(None, reason, None, (before, after))
    steepest = start + int(fit_slopes(curve.smoothed, compute_span(curve.planned))[start : lowest + 1].argmin())
    above = np.flatnonzero(curve.smoothed[: lowest + 1] > before - FALL_START * (before - after))
    falling = int(above[-1]) if len(above) else 0
    undelayed = np.maximum(np.array([falling, steepest, lowest]) - compute_delay(curve.planned), 0)
    first, proposal, last = curve.rates[undelayed].tolist()
    return Finding(float(f"{proposal:.1e}"), "", (first, last), (before, after))
