"""Several optimizers, each with parameters of its own, as one."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.optim import Optimizer


class CombinedOptimizer(Optimizer):
    """Optimizers that step together; their parameter groups and states are parts of this one's.

    Schedules, gradient clipping and checkpoints thus treat them as a single optimizer.

    Args:
        optimizers: optimizers of different parameters.
    """

    def __init__(self, optimizers: Sequence[Optimizer]):
        self.optimizers = list(optimizers)
        first, *others = self.optimizers
        shared = {
            name: value for name, value in first.defaults.items() if all(name in other.defaults for other in others)
        }
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], shared)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # new groups and a new state, when a checkpoint is loaded
        self._share()

    def _share(self) -> None:
        """Give each optimizer its part of the parameter groups, and the state."""
        groups = iter(self.param_groups)
        for optimizer in self.optimizers:
            own = list(itertools.islice(groups, len(optimizer.param_groups)))
            optimizer.__setstate__({"state": self.state, "param_groups": own})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for optimizer in self.optimizers:
            optimizer.step()
        return loss
