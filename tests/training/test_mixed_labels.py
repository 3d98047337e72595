"""Mixed images: their loss, their accuracy, and steps as CUDA graphs."""

from typing import Any

import numpy as np
import pytest
import torch
from conftest import softmax
from torch import Tensor

from viewfinder.data.batches import Batch, Mixing
from viewfinder.training import cuda_graph
from viewfinder.training.cuda_graph import StepGraph, get_fixed_hyperparameters
from viewfinder.training.losses import CrossEntropy, Focal, compute_loss

LABELS = np.array([0, 1, 2, 2, 3, 1])


def make_batch(share: float | None, pixels: Tensor | None = None, shift: int = 1) -> Batch:
    labels = torch.from_numpy(LABELS)
    mixing = None if share is None else Mixing(labels.roll(shift), torch.tensor(share))
    return Batch(torch.zeros(6, 1) if pixels is None else pixels, labels, torch.arange(6), 0, mixing)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.8])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.25, 1.25]])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("gamma", [None, 2.0])
def test_the_loss_of_mixed_images_is_the_formula_for_soft_targets(
    share: float, weights: list[float] | None, smoothing: float, gamma: float | None
) -> None:
    logits = np.random.default_rng(0).normal(size=(6, 4))
    w = np.ones(4) if weights is None else np.array(weights)
    p = softmax(logits)
    terms = -np.log(p) * (1 if gamma is None else (1 - p) ** gamma)
    losses = (1 - smoothing) * terms + smoothing * terms.mean(1, keepdims=True)  # of each image for each label
    soft = share * np.eye(4)[LABELS] + (1 - share) * np.eye(4)[np.roll(LABELS, 1)]
    expected = (soft * w * losses).sum() / (soft * w).sum()
    counts = [1, 2, 2, 1]
    loss = CrossEntropy(counts, smoothing, weights) if gamma is None else Focal(counts, gamma, smoothing, weights)
    actual, _ = compute_loss(loss, torch.from_numpy(logits), make_batch(share))
    assert actual.item() == pytest.approx(expected, rel=1e-6)
    if gamma is None and weights is None:
        targets = torch.from_numpy(soft)
        reference = torch.nn.functional.cross_entropy(torch.from_numpy(logits), targets, label_smoothing=smoothing)
        assert actual.item() == pytest.approx(reference.item(), rel=1e-6)


@pytest.mark.parametrize(("share", "shift"), [(0.5, 0), (0.9, 0), (0.49, 1), (None, 0)])
def test_a_prediction_is_compared_with_the_label_of_the_larger_share(share: float | None, shift: int) -> None:
    _, labels = compute_loss(CrossEntropy([1, 2, 2, 1]), torch.zeros(6, 4), make_batch(share))
    assert labels.tolist() == np.roll(LABELS, shift).tolist()


class Replayed:
    """A graph that repeats its work into the same tensors, as a CUDA graph does."""

    def __init__(self, work: Any):
        self.work, self.result = work, work()

    def replay(self) -> None:
        for kept, new in zip(self.result, self.work(), strict=True):
            kept.copy_(new)


def test_a_graph_replays_mixed_and_unmixed_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(work: Any, _: torch.device) -> tuple[Replayed, Any]:
        graph = Replayed(work)
        return graph, graph.result

    monkeypatch.setattr(cuda_graph, "capture", capture)
    layer = torch.nn.Linear(5, 4)
    optimizer, loss = torch.optim.SGD(layer.parameters(), 0.1), CrossEntropy([1, 2, 2, 1])

    def backward(batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        logits = layer(batch.pixels)
        value, labels = compute_loss(loss, logits, batch)
        value.backward()
        return value.detach(), logits.detach(), labels

    draws = [torch.randn(6, 5) for _ in range(4)]
    batches = [make_batch(share, pixels) for share, pixels in zip((0.3, 0.9, None, 0.1), draws, strict=True)]
    constants = get_fixed_hyperparameters(optimizer)
    plain = StepGraph(backward, lambda _: None, optimizer, batches[2], constants)
    assert not plain.fits(batches[0])
    graph = StepGraph(backward, lambda _: None, optimizer, batches[0], constants)
    replayed = []
    for batch in batches:
        assert graph.fits(batch)
        replayed.append(graph.replay(batch))
    for batch, (value, _, labels) in zip(batches, replayed, strict=True):
        expected = backward(batch)
        assert value.item() == pytest.approx(expected[0].item(), rel=1e-6)
        assert labels.tolist() == expected[2].tolist()
