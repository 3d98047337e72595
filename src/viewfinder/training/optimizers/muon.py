"""Muon: momentum whose update of each weight matrix is made orthogonal."""

import math
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.optim import Optimizer

from viewfinder.config.validate import Count, NotNegative, Positive, Share

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration, chosen by Jordan for a steep slope at zero."""


class Muon(Optimizer):
    """Momentum, made orthogonal by Newton-Schulz iterations (Jordan 2024, https://kellerjordan.github.io/posts/muon/).

    Equals torch.optim.Muon (torch 2.9 and newer), which takes only matrices. Here a weight of more dimensions, as of a
    convolution, is the matrix (first dimension, all others), and weights of one shape are updated together.
    Iterations run in bfloat16 on a GPU, as torch's, and in float32 on a CPU.

    Args:
        adjust_lr: factor of the learning rate of a matrix of R rows and C columns: original, sqrt(max(1, R / C));
            match_rms_adamw, 0.2 sqrt(max(R, C)) (Liu et al. 2025, arXiv 2502.16982); none, 1.
        normalize_weights: rescale each weight to the norm sqrt(R) before its update, as airbench does.

    Raises:
        ValueError: if a parameter has fewer than two dimensions.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: NotNegative = 0.02,
        momentum: Share = 0.95,
        nesterov: bool = True,
        weight_decay: NotNegative = 0.0,
        ns_steps: Annotated[Count, Field(lt=100)] = 5,
        adjust_lr: Literal["original", "match_rms_adamw", "none"] = "original",
        normalize_weights: bool = False,
        eps: Positive = 1e-7,
    ):
        defaults = {
            "lr": lr, "momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay, "ns_steps": ns_steps,
            "adjust_lr": adjust_lr, "normalize_weights": normalize_weights, "eps": eps,
        }  # fmt: skip
        super().__init__(params, defaults)
        shapes = (tuple(p.shape) for group in self.param_groups for p in group["params"] if p.ndim < 2)
        if (shape := next(shapes, None)) is not None:
            raise ValueError(
                f"Muon takes weights of two or more dimensions, but one has the shape {shape}; "
                "give it the weights of convolutions or linear layers alone, as parameter_groups=muon does"
            )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            by_shape: dict[tuple[int, ...], list[Tensor]] = {}
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape.setdefault(tuple(parameter.shape), []).append(parameter)
            for parameters in by_shape.values():
                self._update(group, parameters)
        return loss

    def _update(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        """Update weights of one shape."""
        updates = torch.stack([self._add_momentum(group, parameter).flatten(1) for parameter in parameters])
        updates = orthogonalize(updates, group["ns_steps"], group["eps"])
        rows, columns = updates.shape[1:]
        factors = {
            "original": math.sqrt(max(1, rows / columns)),
            "match_rms_adamw": 0.2 * math.sqrt(max(rows, columns)),
            "none": 1.0,
        }
        lr = group["lr"]  # a tensor in a CUDA graph
        updates = updates.to(parameters[0].dtype) * (lr * factors[group["adjust_lr"]])
        for parameter, update in zip(parameters, updates, strict=True):
            if group["normalize_weights"]:
                parameter.mul_(math.sqrt(rows) / parameter.norm())
            if group["weight_decay"]:
                parameter.mul_(1 - lr * group["weight_decay"])
            parameter.sub_(update.view(parameter.shape))

    def _add_momentum(self, group: dict[str, Any], parameter: Tensor) -> Tensor:
        gradient, state = parameter.grad, self.state[parameter]
        assert gradient is not None
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        average = state["momentum_buffer"].lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(average, group["momentum"]) if group["nesterov"] else average


def orthogonalize(matrices: Tensor, steps: int, eps: float = 1e-7) -> Tensor:
    """Move the singular values of matrices (N, R, C) towards 1, and keep their singular vectors."""
    a, b, c = COEFFICIENTS
    x = matrices.to(torch.bfloat16) if matrices.is_cuda else matrices.float()
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=eps)  # all singular values are at most 1
    is_tall = x.shape[1] > x.shape[2]
    x = x.mT if is_tall else x
    for _ in range(steps):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.mT if is_tall else x
