"""Averages of weights and Lookahead equal their formulas, are what is scored and saved, and cost nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Train, Type
from torch.optim import Optimizer
from torch.optim.optimizer import register_optimizer_step_post_hook
from torch.optim.swa_utils import update_bn

from viewfinder.config.overrides import compose_config
from viewfinder.data.preprocess import get_preprocess
from viewfinder.experiment.build import build_classifier, build_network, open_data
from viewfinder.runs.folder import RunFolder
from viewfinder.training.scoring import load_weights

MLP = [
    "model=mlp", "model.widths=[4]", "trainer.max_epochs=4", "optimizer=sgd", "optimizer.lr=0.1",
    "optimizer.momentum=0", "optimizer.nesterov=false", "optimizer.weight_decay=0",
]  # fmt: skip
STEPS = 4
"""Steps of an epoch: 30 images in batches of eight."""


@pytest.fixture
def history() -> Iterator[list[tuple[list[np.ndarray], list[np.ndarray]]]]:
    """The weights after each step of the optimizer, and the gradients, in float64."""
    found: list[Any] = []

    def keep(optimizer: Optimizer, *_: Any) -> None:
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        if len(parameters) > 1:  # not that of a check
            weights, gradients = zip(*((p.detach(), p.grad) for p in parameters), strict=True)
            found.append(tuple([value.double().numpy().copy() for value in values] for values in (weights, gradients)))

    handle = register_optimizer_step_post_hook(keep)
    yield found
    handle.remove()


def read_weights(run: RunFolder, name: str, key: str) -> list[np.ndarray]:
    stored = torch.load(run.path / name, weights_only=True)[key]
    return [value.double().numpy() for value in stored.values()]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("warmup", "every"), [(True, "step"), (False, "step"), (False, "epoch")])
def test_an_exponential_moving_average_is_its_formula_and_is_scored(
    train: Train, tmp_path: Path, history: Any, viewfinder: Type, warmup: bool, every: str
) -> None:
    words = ["averaging=ema", "averaging.decay=0.8", f"averaging.warmup={warmup}", f"averaging.every={every}"]
    run = train(tmp_path / "run", *MLP, *words)
    trained = [weights for weights, _ in history]
    assert len(trained) == 4 * STEPS
    averaged = trained if every == "step" else trained[STEPS - 1 :: STEPS]
    expected = averaged[0]
    for number, weights in enumerate(averaged[1:], 1):
        decay = min(0.8, (1 + number) / (10 + number)) if warmup else 0.8
        expected = [decay * old + (1 - decay) * new for old, new in zip(expected, weights, strict=True)]
    assert_close(read_weights(run, "last.ckpt", "state_dict"), expected)
    assert_close(read_weights(run, "last.ckpt", "trained_weights"), trained[-1])
    for weights in ("best", "last"):
        assert "Equal to scores.json." in viewfinder("evaluate", run.path, "--weights", weights).out


def test_stochastic_weight_averaging_is_the_mean_over_the_last_epochs(
    train: Train, tmp_path: Path, history: Any
) -> None:
    run = train(tmp_path / "run", *MLP, "averaging=swa", "averaging.start=0.5")
    ends = [weights for weights, _ in history][STEPS - 1 :: STEPS]
    mean = [np.mean(values, axis=0) for values in zip(*ends[2:], strict=True)]
    assert_close(read_weights(run, "last.ckpt", "state_dict"), mean)
    assert_close(read_weights(run, "last.ckpt", "trained_weights"), ends[-1])


def test_batch_norm_statistics_of_a_mean_are_those_that_torch_computes(
    train: Train, tiny: list[str], tmp_path: Path
) -> None:
    words = ["model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]", "model.dropout=0", "model.block_dropout=0"]
    run = train(tmp_path / "run", *words, "averaging=swa", "averaging.start=0", "augment=basic", "augment.padding=1")
    cfg = compose_config([*tiny, *words])
    data = open_data(cfg)
    network = build_network(cfg, data.in_channels, len(data.class_names))
    data.load(get_preprocess(network))
    classifier = build_classifier(cfg, network, data.summarise()["class_counts"])
    load_weights(classifier, run.last)
    stored = {name: value.clone() for name, value in network.state_dict().items() if "running" in name}
    assert stored
    update_bn((batch.pixels for chunk in data.evaluation_loader("train") for batch in chunk), classifier)
    for name, value in stored.items():
        torch.testing.assert_close(network.state_dict()[name], value)
    raw = torch.load(run.last, weights_only=True)["trained_weights"]
    assert not torch.allclose(raw[next(iter(stored))], next(iter(stored.values())))


@pytest.mark.parametrize("ramp", [0, 3])
def test_lookahead_is_its_formula_and_its_slow_weights_are_scored(
    train: Train, tmp_path: Path, history: Any, viewfinder: Type, ramp: int
) -> None:
    run = train(tmp_path / "run", *MLP, "lookahead=constant", "lookahead.steps=3", f"lookahead.ramp={ramp}")
    first, gradient = history[0]
    slow = start = [weights + 0.1 * step for weights, step in zip(first, gradient, strict=True)]
    for step, (weights, gradients) in enumerate(history, 1):
        assert_close(weights, [old - 0.1 * change for old, change in zip(start, gradients, strict=True)])
        start = weights
        if step % 3 == 0:
            alpha = 1 - 0.5 * (step / len(history)) ** ramp
            slow = start = [old + alpha * (new - old) for old, new in zip(slow, weights, strict=True)]
    assert_close(read_weights(run, "last.ckpt", "state_dict"), slow)
    assert_close(read_weights(run, "last.ckpt", "trained_weights"), start)
    assert "Equal to scores.json." in viewfinder("evaluate", run.path, "--weights", "last").out


def test_an_average_leaves_the_training_as_it_is_and_a_frozen_backbone_out(train: Train, tmp_path: Path) -> None:
    words = ["model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]", "model.freeze=true", "trainer.max_epochs=3"]
    plain = train(tmp_path / "plain", *words)
    run = train(tmp_path / "run", *words, "averaging=ema")
    stored = torch.load(run.last, weights_only=True)
    trained, expected = stored["trained_weights"], torch.load(plain.last, weights_only=True)["state_dict"]
    assert [*trained] == ["head.2.weight", "head.2.bias"] == [*stored["callbacks"]["Averaging"]["weights"]]
    for name, value in trained.items():
        assert torch.equal(value, expected[f"network.{name}"])
        assert not torch.equal(stored["state_dict"][f"network.{name}"], value)
    assert run.read_run()["features"]["computed"] + run.read_run()["features"]["found"] > 0
    losses = [each.metrics.read_text().splitlines()[1].split(",")[:3] for each in (run, plain)]
    assert losses[0] == losses[1]  # epoch, train/loss, train/accuracy
