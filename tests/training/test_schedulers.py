"""Learning-rate schedules equal their closed formulas."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from viewfinder.training import schedulers


def rates_of(
    make: Callable[[torch.optim.Optimizer], dict[str, Any]], steps: int, rates: tuple[float, ...]
) -> np.ndarray:
    """The learning rate of each parameter group at each step, (steps, groups)."""
    groups = [{"params": [nn.Parameter(torch.zeros(1))], "lr": rate} for rate in rates]
    optimizer = torch.optim.Adam(groups)
    schedule = make(optimizer)["scheduler"]
    found = []
    for _ in range(steps):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    return np.array(found)


RATES = (1e-3, 0.2)


@pytest.mark.parametrize("min_lr", [0.0, 1e-4])
@pytest.mark.parametrize(("total", "warmup_fraction"), [(40, 0.0), (40, 0.25), (37, 0.1), (10, 0.9), (30, 0.01)])
def test_cosine_is_its_closed_formula(total: int, warmup_fraction: float, min_lr: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return schedulers.cosine(optimizer, total, warmup_fraction, min_lr)

    warmup, step = round(warmup_fraction * total), np.arange(total)
    for rate, found in zip(RATES, rates_of(make, total, RATES).T, strict=True):
        rise = rate * (step + 1) / (warmup + 1)
        fall = min_lr + (rate - min_lr) * (1 + np.cos(np.pi * (step - warmup) / (total - warmup))) / 2
        np.testing.assert_allclose(found, np.where(step < warmup, rise, fall), rtol=1e-9)


def test_cosine_leaves_a_rate_that_is_below_its_lowest_as_it_is() -> None:
    found = rates_of(lambda optimizer: schedulers.cosine(optimizer, 20, min_lr=1e-4), 21, (1e-5, 1e-3))
    assert (found[:, 0] == 1e-5).all()
    assert found[-1, 1] == pytest.approx(1e-4)


@pytest.mark.parametrize("end", [0.0, 0.2])
@pytest.mark.parametrize(("total", "warmup"), [(40, 0), (40, 10), (10, 9)])
def test_linear_is_its_closed_formula_for_a_share_of_the_steps_and_for_their_number(
    total: int, warmup: int, end: float
) -> None:
    step = np.arange(total)
    factors = np.where(step < warmup, (step + 1) / (warmup + 1), 1 - (1 - end) * (step - warmup) / (total - warmup))
    for words in ({"warmup_steps": warmup}, {"warmup_fraction": warmup / total}):

        def make(optimizer: torch.optim.Optimizer, words: Any = words) -> dict[str, Any]:
            return schedulers.linear(optimizer, total, end_factor=end, **words)

        for rate, found in zip(RATES, rates_of(make, total, RATES).T, strict=True):
            np.testing.assert_allclose(found, rate * factors, rtol=1e-9)


def test_a_triangle_is_interpolated_between_its_corners() -> None:
    def make(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return schedulers.linear(optimizer, 100, 0.23, start_factor=0.2, end_factor=0.07)

    corners = np.interp(np.arange(101), [0, 23, 100], [0.2, 1, 0.07])
    np.testing.assert_allclose(rates_of(make, 101, (0.5,))[:, 0], 0.5 * corners)


@pytest.mark.parametrize("make", [schedulers.linear, schedulers.cosine])
def test_a_warm_up_is_given_once_and_ends_before_the_schedule(make: Callable[..., Any]) -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    with pytest.raises(ValueError, match="exclude each other"):
        make(optimizer, 10, 0.5, warmup_steps=3)
    with pytest.raises(ValueError, match="has only 10 steps"):
        make(optimizer, 10, warmup_steps=10)


def test_one_cycle_leaves_the_momentum_alone_if_asked() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.1, momentum=0.6)
    assert schedulers.one_cycle(optimizer, 10, cycle_momentum=False)["interval"] == "step"
    assert optimizer.param_groups[0]["momentum"] == 0.6


@pytest.mark.parametrize(("total", "warmup_fraction"), [(40, 0.3), (100, 0.05), (21, 0.5)])
def test_one_cycle_is_its_closed_formula(total: int, warmup_fraction: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return schedulers.one_cycle(optimizer, total, warmup_fraction, start_divisor=10.0, end_divisor=100.0)

    peak_step, step = warmup_fraction * total - 1, np.arange(total)
    for rate, found in zip(RATES, rates_of(make, total, RATES).T, strict=True):
        start, end = rate / 10, rate / 1000
        rise = rate + (start - rate) * (1 + np.cos(np.pi * step / peak_step)) / 2
        fall = end + (rate - end) * (1 + np.cos(np.pi * (step - peak_step) / (total - 1 - peak_step))) / 2
        np.testing.assert_allclose(found, np.where(step <= peak_step, rise, fall), rtol=1e-9)
        assert found[0] == pytest.approx(start)
        assert found[-1] == pytest.approx(end)


@pytest.mark.parametrize(
    ("total", "warmup_fraction"), [(10, 0.1), (20, 0.05), (4, 0.25), (10, 0.01), (2, 0.3), (1, 0.3)]
)
def test_one_cycle_may_warm_up_for_a_step_or_less(total: int, warmup_fraction: float) -> None:
    found = rates_of(lambda o: schedulers.one_cycle(o, total, warmup_fraction), total, (0.1,))[:, 0]
    assert 0 < found.min() <= found.max() <= 0.1
    assert found[-1] == pytest.approx(0.1 / 25 / 1e4)


def test_step_times_the_factor_after_every_so_many_epochs() -> None:
    found = rates_of(lambda o: schedulers.step(o, every=3, factor=0.1), 8, (1.0,))[:, 0]
    np.testing.assert_allclose(found, [1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01])


def test_plateau_waits_for_more_than_patience_epochs_without_a_fall() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    made = schedulers.plateau(optimizer, patience=1, factor=0.1, min_lr=0.05)
    found = []
    for loss in (3.0, 2.0, 2.0, 2.0, 2.5, 1.0, 1.0, 1.0, 1.0):
        made["scheduler"].step(loss)
        found.append(optimizer.param_groups[0]["lr"])
    np.testing.assert_allclose(found, [1, 1, 1, 0.1, 0.1, 0.1, 0.1, 0.05, 0.05])
    assert made["monitor"] == "val/loss"


def test_schedules_step_when_their_docstrings_say() -> None:
    optimizer = torch.optim.Adam([nn.Parameter(torch.zeros(1))])
    intervals = {
        "cosine": schedulers.cosine(optimizer, 10)["interval"],
        "linear": schedulers.linear(optimizer, 10)["interval"],
        "one_cycle": schedulers.one_cycle(optimizer, 10)["interval"],
        "step": schedulers.step(optimizer)["interval"],
        "plateau": schedulers.plateau(optimizer)["interval"],
    }
    assert intervals == {"cosine": "step", "linear": "step", "one_cycle": "step", "step": "epoch", "plateau": "epoch"}
