"""Muon is its formula, and several optimizers step as one."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from viewfinder.training.combined_optimizer import CombinedOptimizer
from viewfinder.training.cuda_graph import _is_capturable
from viewfinder.training.optimizers.muon import Muon, orthogonalize

GRADIENTS = np.random.default_rng(1).normal(size=(4, 6, 3, 2, 2))
"""Of a convolution with three inputs and six outputs, at four steps."""


def compute_muon(weight: np.ndarray, lr: float, nesterov: bool, decay: float, factor: float, steps: int) -> np.ndarray:
    """Compute a convolution's weight after the steps, in float64."""
    weight, average = weight.reshape(6, 12), np.zeros((6, 12))
    for gradient in GRADIENTS.reshape(4, 6, 12):
        average = 0.9 * average + 0.1 * gradient
        x = 0.1 * gradient + 0.9 * average if nesterov else average
        x = x / np.sqrt((x**2).sum())
        for _ in range(steps):
            product = x @ x.T
            x = 3.4445 * x + (-4.7750 * product + 2.0315 * product @ product) @ x
        weight = weight * (1 - lr * decay) - lr * factor * x
    return weight.reshape(6, 3, 2, 2)


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"adjust_lr": "none"}, {"nesterov": True, "decay": 0.0, "factor": 1.0, "steps": 5}),
        ({"nesterov": False, "ns_steps": 3}, {"nesterov": False, "decay": 0.0, "factor": 1.0, "steps": 3}),
        (
            {"weight_decay": 0.5, "adjust_lr": "match_rms_adamw"},
            {"nesterov": True, "decay": 0.5, "factor": 0.2 * 12**0.5, "steps": 5},
        ),
    ],
)
def test_muon_is_its_formula_for_the_matrix_of_a_convolution(settings: dict[str, Any], expected: Any) -> None:
    torch.manual_seed(0)
    weights = [
        nn.Parameter(torch.randn(6, 3, 2, 2)),
        nn.Parameter(torch.randn(6, 3, 2, 2)),
        nn.Parameter(torch.ones(2, 2)),
    ]
    before = [weight.detach().double().numpy() for weight in weights]
    optimizer = Muon(weights, lr=0.1, momentum=0.9, **settings)
    for gradient in GRADIENTS:
        weights[0].grad = torch.from_numpy(gradient).float().to(memory_format=torch.channels_last)
        weights[1].grad = torch.from_numpy(gradient).float()  # of the same shape, so both are updated in one product
        optimizer.step()
    for weight, start in zip(weights[:2], before, strict=False):
        np.testing.assert_allclose(weight.detach().numpy(), compute_muon(start, 0.1, **expected), rtol=1e-4, atol=1e-5)
    assert weights[2].tolist() == [[1, 1], [1, 1]]  # without a gradient


def test_a_tall_matrix_is_made_orthogonal_and_moved_further() -> None:
    matrix = torch.randn(1, 8, 2, generator=torch.Generator().manual_seed(0))
    found = orthogonalize(matrix, 5)[0]
    left, _, right = torch.linalg.svd(matrix[0], full_matrices=False)
    values = torch.linalg.svdvals(found)
    assert 0.6 < values.min() <= values.max() < 1.3
    rotated = left.T @ found @ right.T
    torch.testing.assert_close(rotated, rotated.diag().diag(), atol=1e-4, rtol=0)
    weight = nn.Parameter(torch.zeros(8, 2))
    weight.grad = matrix[0]
    Muon([weight], lr=1.0, nesterov=False).step()
    torch.testing.assert_close(weight.detach(), -2 * orthogonalize(0.05 * matrix, 5)[0])  # sqrt(8 / 2)


def test_weights_are_rescaled_before_their_update_if_asked() -> None:
    weight = nn.Parameter(torch.full((4, 9), 7.0))
    weight.grad = torch.zeros(4, 9)
    Muon([weight], normalize_weights=True).step()
    torch.testing.assert_close(weight.norm().item(), 2.0)


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch.optim.Muon exists from torch 2.9 on")
@pytest.mark.parametrize("shape", [(6, 12), (12, 6)])
def test_muon_is_torchs_for_matrices(shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    ours, theirs = nn.Parameter(torch.randn(shape)), nn.Parameter(torch.empty(shape))
    theirs.data.copy_(ours.data)
    optimizers = [
        Muon([ours], lr=0.1, momentum=0.9, weight_decay=0.01),
        torch.optim.Muon([theirs], lr=0.1, momentum=0.9, weight_decay=0.01),  # type: ignore[reportPrivateImportUsage]
    ]
    for _ in range(3):
        ours.grad = torch.randn(shape)
        theirs.grad = ours.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(ours, theirs, atol=6e-3, rtol=0)  # which iterates in bfloat16


def make(network: nn.Sequential) -> CombinedOptimizer:
    return CombinedOptimizer(
        [
            torch.optim.SGD(network[0].parameters(), lr=0.1, momentum=0.9, nesterov=True, fused=True),
            torch.optim.AdamW(network[1].parameters(), lr=0.01, fused=True),
            Muon([network[2].weight], lr=0.05),
        ]
    )


def train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (1 + step), last_epoch=steps.start - 1)
    for step in steps:
        optimizer.zero_grad()
        network(torch.rand(5, 4, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        optimizer.step()
        schedule.step()


def test_combined_optimizers_step_as_each_does_alone_and_go_on_from_their_state() -> None:
    torch.manual_seed(0)
    networks = [nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False)) for _ in range(3)]
    for network in networks[1:]:
        network.load_state_dict(networks[0].state_dict())
    combined, again, resumed = networks
    whole = make(combined)
    train(combined, whole, range(6))
    parts = make(again).optimizers
    for step in range(6):
        for optimizer in parts:
            optimizer.zero_grad()
            for group in optimizer.param_groups:
                group["lr"] = {torch.optim.SGD: 0.1, torch.optim.AdamW: 0.01, Muon: 0.05}[type(optimizer)] / (1 + step)
        again(torch.rand(5, 4, generator=torch.Generator().manual_seed(step))).square().sum().backward()
        for optimizer in parts:
            optimizer.step()
    first = make(resumed)
    train(resumed, first, range(3))
    second = make(resumed)
    second.load_state_dict(first.state_dict())
    train(resumed, second, range(3, 6))
    for ours, theirs, later in zip(*(network.parameters() for network in networks), strict=True):
        assert torch.equal(ours, theirs)
        assert torch.equal(ours, later)
    assert [group["lr"] for group in whole.param_groups] == pytest.approx([0.1 / 7, 0.01 / 7, 0.05 / 7])


def test_a_graph_includes_the_update_of_combined_optimizers_that_run_on_the_gpu() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    combined = make(network)
    assert _is_capturable(combined)
    combined.optimizers[1] = torch.optim.RMSprop(network[1].parameters())
    assert not _is_capturable(combined)


def test_a_learning_rate_on_the_device_makes_the_step_of_a_number() -> None:
    """A CUDA graph passes such tensors; nothing reads them on the CPU."""
    torch.manual_seed(0)
    weights = [nn.Parameter(torch.ones(6, 3, 2, 2)) for _ in range(2)]
    for weight, lr in zip(weights, (0.1, torch.tensor(0.1)), strict=True):
        weight.grad = torch.from_numpy(GRADIENTS[0]).float()
        optimizer = Muon([weight], weight_decay=0.1)
        optimizer.param_groups[0]["lr"] = lr
        optimizer.step()
    torch.testing.assert_close(weights[0], weights[1])
