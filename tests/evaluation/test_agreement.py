"""Agreement of a run with recorded figures."""

import numpy as np
import pytest
from scipy import stats

from viewfinder.config.record import Figure
from viewfinder.evaluation.agreement import compare_figures, judge, predict_interval

EXACT = 1e-12


def test_the_range_of_one_figure_is_the_prediction_interval_by_students_t() -> None:
    # By hand: t(0.975; 2) = 4.302653, times 0.0017 plus half of its last digit, times sqrt(1 + 1/3).
    half = 4.302653 * 0.00175 * 1.1547005 + 0.00005
    assert predict_interval(Figure(0.6060, 0.0017, 1e-4), 3) == pytest.approx((0.6060 - half, 0.6060 + half), abs=1e-8)
    for seeds, tests in ((2, 1), (5, 1), (5, 4), (30, 10)):
        scale = 0.01 * np.sqrt(1 + 1 / seeds)
        expected = stats.t.interval(1 - 0.05 / tests, seeds - 1, loc=0.7, scale=scale)
        assert predict_interval(Figure(0.7, 0.01, EXACT), seeds, tests) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_a_run_like_the_recorded_ones_agrees_19_times_in_20(seeds: int) -> None:
    rng, count, agreed = np.random.default_rng(seeds), 3000, {1: 0, 3: 0}
    for tests in agreed:
        draws = rng.normal(0.8, 0.02, (count, seeds + 1, tests))
        for runs in draws:
            recorded = {
                str(k): Figure(runs[:-1, k].mean(), runs[:-1, k].std(ddof=1), EXACT) for k in range(tests)
            }  # fmt: skip
            compared = compare_figures(recorded, {str(k): runs[-1, k] for k in range(tests)}, seeds)
            agreed[tests] += judge(compared) == "agrees"
    error = 3 * np.sqrt(0.95 * 0.05 / count)
    assert agreed[1] / count == pytest.approx(0.95, abs=error)
    assert 0.95 - error <= agreed[3] / count < 0.98


def test_a_figure_without_a_spread_and_one_that_was_not_measured_decide_nothing() -> None:
    recorded = {"no spread": Figure(0.9, None, 1e-4), "absent": Figure(0.9, 0.1, 1e-4)}
    assert [each.verdict for each in compare_figures(recorded, {"no spread": 0.1}, 3)] == ["cannot tell"] * 2
    assert judge(compare_figures(recorded, {"no spread": 0.1}, 3)) == "cannot tell"
    far = compare_figures(recorded | {"far": Figure(0.9, 0.001, 1e-4)}, {"absent": 0.9, "far": 0.5}, 3)
    assert [each.verdict for each in far] == ["cannot tell", "agrees", "disagrees"]
    assert judge(far) == "disagrees"
    assert judge(far[:2]) == "agrees"
