"""Errors and power of the verdicts of `viewfinder compare`, on simulated runs whose true difference is known.

    python bench/verdicts.py --pairs 1000

A run classifies an image correctly where a sum of normal numbers is positive: the accuracy of the setting, the
difficulty of the image, its difficulty for this setting, a shift of the seed, and chance. The first table shows how
often two settings without a difference are called different (at 5%, 1,000 pairs scatter by 0.7 points), and how often a
true difference of 1 point is found, beside the probability that `compare` prints. The second table shows how often the
best of several equal settings, chosen by validation, is called better or worse than any other.
"""

import argparse
import math
from typing import Any

import numpy as np
from scipy import stats

from viewfinder.evaluation.holm import adjust_holm
from viewfinder.evaluation.verdict import LEVEL, ONE_POINT, compare_pair

ACCURACY = 0.8
DIFFICULTY, TASTE, CHANCE = 2.0, 0.5, 1.0
"""Standard deviations over images, over images of one setting, and over single predictions."""
SEED_POINTS = (0.0, 0.3, 1.0)
"""Standard deviations of a run's accuracy over seeds, in points."""


class Simulation:
    """Settings with accuracies that are known exactly.

    Args:
        images: number of images.
        seed_points: standard deviation of a run's accuracy over seeds, in points.
        rng: random numbers.
    """

    def __init__(self, images: int, seed_points: float, rng: np.random.Generator):
        self.images, self.rng = images, rng
        self.difficulty = DIFFICULTY * rng.normal(size=images)
        inner = math.sqrt(DIFFICULTY**2 + TASTE**2 + CHANCE**2)
        self.shift = seed_points / 100 * inner / stats.norm.pdf(stats.norm.ppf(ACCURACY))
        self.total = math.sqrt(inner**2 + self.shift**2)

    def draw_seeds(self, seeds: int) -> np.ndarray:
        """Draw the shift of each seed, (seeds,)."""
        return self.shift * self.rng.normal(size=seeds)

    def draw(self, shifts: np.ndarray, accuracy: float = ACCURACY) -> np.ndarray:
        """Draw the correctness of the predictions of a setting's runs, (seeds, images) bool.

        Args:
            shifts: shift of each seed, (seeds,).
            accuracy: accuracy of the setting over all seeds and images.
        """
        taste = TASTE * self.rng.normal(size=self.images)
        chance = CHANCE * self.rng.normal(size=(len(shifts), self.images))
        return self.total * stats.norm.ppf(accuracy) + self.difficulty + taste + shifts[:, None] + chance > 0


def measure_pairs(pairs: int, seeds: int, images: int, points: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return the shares of pairs called different, without and with a difference of 1 point, and the power stated."""
    called, found, stated = 0, 0, 0.0
    for _ in range(pairs):
        for accuracy in (ACCURACY, ACCURACY - ONE_POINT):
            simulation = Simulation(images, points, rng)
            first = simulation.draw(simulation.draw_seeds(seeds))
            difference = compare_pair(first, simulation.draw(simulation.draw_seeds(seeds), accuracy))
            is_called = difference.p_value < LEVEL
            if accuracy == ACCURACY:
                called += is_called
            else:
                found += is_called and difference.mean > 0
                stated += difference.power(ONE_POINT, LEVEL)
    return {"called": called / pairs, "found": found / pairs, "stated": stated / pairs}


def measure_choices(
    sweeps: int, settings: int, seeds: int, images: int, points: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Return the share of sweeps in which the best of equal settings by validation is called different from another.

    Returns:
        The shares with and without Holm's correction.
    """
    corrected = plain = 0
    for _ in range(sweeps):
        test, val = Simulation(images, points, rng), Simulation(images // 2, points, rng)
        shifts = [test.draw_seeds(seeds) for _ in range(settings)]
        groups = [test.draw(shift) for shift in shifts]
        best = int(np.argmax([val.draw(shift).mean() for shift in shifts]))
        pairs = [(i, j) for i in range(settings) for j in range(i)]
        p_values = np.array([compare_pair(groups[i], groups[j]).p_value for i, j in pairs])
        has_best = np.array([best in pair for pair in pairs])
        corrected += (adjust_holm(p_values.tolist())[has_best] < LEVEL).any()
        plain += (p_values[has_best] < LEVEL).any()
    return corrected / sweeps, plain / sweeps


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1000, help="pairs of each row (default: 1000)")
    parser.add_argument("--sweeps", type=int, default=200, help="sweeps of each row (default: 200)")
    options = parser.parse_args()
    rng = np.random.default_rng(1)
    print(f"accuracy {ACCURACY:.0%}, {options.pairs:,} pairs a row; spread: standard deviation over seeds, points\n")
    print("seeds  images  spread  called different  1 point found  as stated")
    for seeds in (1, 2, 3, 5, 10):
        for images in (100, 1_000, 10_000):
            for points in SEED_POINTS[: 1 if seeds == 1 else None]:
                found = measure_pairs(options.pairs, seeds, images, points, rng)
                print(
                    f"{seeds:5}  {images:6,}  {points:6}  {found['called']:16.1%}  {found['found']:13.1%}  "
                    f"{found['stated']:9.1%}",
                    flush=True,
                )
    print(f"\nbest of several equal settings, {options.sweeps:,} sweeps a row\n")
    print("settings  seeds  images  spread  called different  without correction")
    for settings, seeds, points in ((8, 1, 0.0), (8, 3, 0.3), (8, 3, 1.0), (4, 3, 1.0)):
        corrected, plain = measure_choices(options.sweeps, settings, seeds, 2_000, points, rng)
        print(f"{settings:8}  {seeds:5}  {2_000:6,}  {points:6}  {corrected:16.1%}  {plain:18.1%}", flush=True)


if __name__ == "__main__":
    main()
