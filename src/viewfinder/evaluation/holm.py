"""Holm's correction of p-values for the number of tests."""

from collections.abc import Sequence

import numpy as np


def adjust_holm(p_values: Sequence[float], tests: int | None = None) -> np.ndarray:
    """Return p-values that hold for all tests together (Holm 1979, Scandinavian Journal of Statistics 6).

    Args:
        p_values: p-value of each test.
        tests: number of tests, if others were possible whose p-values are unknown.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    factors = (tests or len(values)) - np.arange(len(values))
    adjusted = np.empty_like(values)
    adjusted[order] = np.minimum(np.maximum.accumulate(values[order] * factors), 1.0)
    return adjusted
