"""Learning-rate schedules, each returned as Lightning's lr_scheduler_config.

In all of them `total_steps` is the number of optimizer steps of the whole training.
"""

import math
from collections.abc import Callable
from typing import Annotated, NotRequired, TypedDict

from pydantic import Field
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
    StepLR,
)

from viewfinder.config.validate import Count, NotNegative, Share, Whole

Factor = Annotated[float, Field(gt=0, lt=1)]
Divisor = Annotated[float, Field(gt=1, allow_inf_nan=False)]


class Schedule(TypedDict):
    """Lightning's lr_scheduler_config."""

    scheduler: LRScheduler
    interval: str
    """when the scheduler steps: "step" or "epoch\""""
    monitor: NotRequired[str]


def cosine(
    optimizer: Optimizer,
    total_steps: int,
    warmup_fraction: Share = 0.0,
    min_lr: NotNegative = 0.0,
    warmup_steps: Whole | None = None,
) -> Schedule:
    """Warm up linearly, then decay along half a cosine to `min_lr` (Loshchilov and Hutter 2017).

    A parameter group whose learning rate is below `min_lr` from the start keeps it constant.

    Args:
        warmup_fraction: share of the steps that warm up.
        warmup_steps: number of steps that warm up, in place of a share.

    Raises:
        ValueError: if `min_lr` is above the learning rate of every group, or the warm-up is given twice or too long.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    if min_lr > max(rates):
        raise ValueError(f"min_lr is above the learning rate, {max(rates):g}, so the rate would rise instead of fall")
    warmup = _count_warmup_steps(total_steps, warmup_fraction, warmup_steps)
    steps = max(total_steps - warmup, 1)

    def decay_from(rate: float) -> Callable[[int], float]:
        lowest = min(min_lr / rate, 1.0) if rate else 0.0
        return lambda step: lowest + (1 - lowest) * (1 + math.cos(math.pi * min(step / steps, 1.0))) / 2

    decay = LambdaLR(optimizer, [decay_from(rate) for rate in rates])
    if not warmup:
        return {"scheduler": decay, "interval": "step"}
    rise = LinearLR(optimizer, start_factor=1 / (warmup + 1), total_iters=warmup)
    return {"scheduler": SequentialLR(optimizer, [rise, decay], [warmup]), "interval": "step"}


def linear(
    optimizer: Optimizer,
    total_steps: int,
    warmup_fraction: Share = 0.0,
    warmup_steps: Whole | None = None,
    start_factor: Annotated[float, Field(gt=0, le=1)] | None = None,
    end_factor: Share = 0.0,
) -> Schedule:
    """Warm up linearly, then decay linearly; every parameter group's learning rate is multiplied by the same factor.

    Args:
        warmup_fraction: share of the steps that warm up.
        warmup_steps: number of steps that warm up, in place of a share.
        start_factor: factor of the first step, if there is a warm-up; None for 1 / (warm-up steps + 1).
        end_factor: factor that the step after the last would have.

    Raises:
        ValueError: if the warm-up is given twice or too long.
    """
    warmup = _count_warmup_steps(total_steps, warmup_fraction, warmup_steps)
    start = 1 / (warmup + 1) if start_factor is None else start_factor
    decay_steps = max(total_steps - warmup, 1)

    def factor(step: int) -> float:
        if step < warmup:
            return start + (1 - start) * step / warmup
        return 1 - (1 - end_factor) * min((step - warmup) / decay_steps, 1.0)

    return {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}


def one_cycle(
    optimizer: Optimizer,
    total_steps: int,
    warmup_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.3,
    start_divisor: Divisor = 25.0,
    end_divisor: Divisor = 1e4,
    cycle_momentum: bool = True,
) -> Schedule:
    """Rise from lr / start_divisor to lr, then fall to lr / (start_divisor * end_divisor) (Smith 2018).

    Args:
        cycle_momentum: let the optimizer's momentum, or first beta, fall from 0.95 to 0.85 and rise again.
    """
    if abs(warmup_fraction * total_steps - 1) < 1e-9:  # OneCycleLR would divide by a rise of zero steps
        warmup_fraction *= 1 - 1e-6
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = OneCycleLR(
        optimizer, peaks, total_steps, pct_start=warmup_fraction, div_factor=start_divisor,
        final_div_factor=end_divisor, cycle_momentum=cycle_momentum,
    )  # fmt: skip
    return {"scheduler": schedule, "interval": "step"}


def step(optimizer: Optimizer, every: Count = 5, factor: Factor = 0.1) -> Schedule:
    """Multiply the learning rate by `factor` every `every` epochs."""
    return {"scheduler": StepLR(optimizer, every, factor), "interval": "epoch"}


def plateau(optimizer: Optimizer, patience: Whole = 2, factor: Factor = 0.1, min_lr: NotNegative = 0.0) -> Schedule:
    """Multiply the learning rate by `factor` after more than `patience` epochs without a new lowest val/loss."""
    schedule = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, min_lr=min_lr)
    return {"scheduler": schedule, "interval": "epoch", "monitor": "val/loss"}


def _count_warmup_steps(total_steps: int, fraction: float, steps: int | None) -> int:
    if steps is None:
        return round(fraction * total_steps)
    if fraction:
        raise ValueError("warmup_fraction and warmup_steps exclude each other")
    if steps >= total_steps:
        raise ValueError(f"warmup_steps is {steps:,}, but the schedule has only {total_steps:,} steps")
    return steps
