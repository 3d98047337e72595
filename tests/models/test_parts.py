"""Preprocessing, networks, loss, schedules, metrics, seeds and report are what formulas and other libraries say."""

import csv
import itertools
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from conftest import Page
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from scipy.ndimage import binary_erosion
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn
from torchvision.transforms import v2

from viewfinder.data.preprocess import Preprocess
from viewfinder.data.seeding import derive, generator, seed_everything
from viewfinder.errors import UserError
from viewfinder.evaluation.comparison import SCORES, summarise_settings
from viewfinder.evaluation.metrics import Predictions, averaged, confusion, scores
from viewfinder.evaluation.settings import describe, with_phases
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.mlp import MLP
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.reporting.charts.confusion import ConfusionFrames, draw_confusion, most_confused, row_normalised
from viewfinder.reporting.charts.images import ACROSS, DOWN, captions, draw_pictures
from viewfinder.reporting.pages.run import save_figure, write_report
from viewfinder.reporting.predictions import DIGITS, draw_mistakes, prediction_table, worst_mistakes
from viewfinder.runs.atomic import replace_text, write_json
from viewfinder.runs.folder import RunFolder
from viewfinder.training import schedulers
from viewfinder.training.losses import CrossEntropy

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def some_predictions(count: int, classes: int, seed: int = 0, never: tuple[int, ...] = ()) -> Predictions:
    """Random logits and labels; the classes in `never` are neither true nor predicted."""
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(count, classes)), rng.integers(0, classes, count)
    logits[:, list(never)] = -50
    labels[np.isin(labels, never)] = next(k for k in range(classes) if k not in never)
    return Predictions(torch.from_numpy(logits), torch.from_numpy(labels))


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


# Preprocessing


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    ("height", "width", "side"), [(8, 8, 32), (32, 32, 80), (64, 64, 24), (50, 21, 32), (5, 40, 16)]
)
def test_resizing_equals_pillows_bilinear_resize(height: int, width: int, side: int, channels: int) -> None:
    pictures = noise(3, channels, height, width)
    found = Preprocess(side)(torch.from_numpy(pictures))
    assert found.shape == (3, channels, side, side)
    assert found.dtype == torch.float32
    for picture, result in zip(pictures, found, strict=True):
        for channel, levels in zip(picture, result, strict=True):
            expected = Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR)
            assert np.abs(levels.numpy() * 255 - np.asarray(expected, dtype=float)).max() <= 1.001


def test_resized_levels_are_whole_as_they_are_in_a_picture() -> None:
    levels = Preprocess(20)(torch.from_numpy(noise(4, 3, 13, 13))).numpy() * 255
    assert np.abs(levels - levels.round()).max() < 1e-3
    assert 0 <= levels.min() < levels.max() < 255.001


def test_pictures_of_the_wanted_size_are_scaled_to_0_1_and_nothing_else() -> None:
    pictures = noise(4, 3, 16, 16)
    found = Preprocess(16)(torch.from_numpy(pictures)).numpy()
    np.testing.assert_allclose(found, pictures / 255, atol=1e-7)


@pytest.mark.parametrize(("mean", "std"), [(IMAGENET_MEAN, IMAGENET_STD), ((0.5,), (0.25,))])
def test_normalisation_equals_torchvisions(mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    pictures = torch.from_numpy(noise(4, len(mean), 16, 16))
    theirs = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))])
    np.testing.assert_allclose(Preprocess(16, mean, std)(pictures), theirs(pictures), atol=1e-5)


def test_resizing_and_normalising_equals_torchvisions_evaluation_transforms() -> None:
    pictures = torch.from_numpy(noise(4, 3, 20, 20))
    theirs = v2.Compose([
        v2.Resize((33, 33), antialias=True),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(list(IMAGENET_MEAN), list(IMAGENET_STD)),
    ])  # fmt: skip
    found, expected = Preprocess(33, IMAGENET_MEAN, IMAGENET_STD)(pictures), theirs(pictures)
    level = torch.tensor(IMAGENET_STD).view(3, 1, 1) * 255
    assert ((found - expected).abs() * level).max() <= 1.001


# Networks


def parameters_of(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


NETWORKS: dict[type[nn.Module], int] = {
    MLP: (3072 * 512 + 512) + (512 * 256 + 256) + (256 * 10 + 10),
    SimpleCNN: (3 * 9 * 10 + 10) + (10 * 9 * 10 + 10) + (10 * 16 * 16 * 10 + 10),
    CustomCNN: sum(
        (9 * a * b + b) + 2 * b + (9 * b * b + b) + 2 * b for a, b in ((3, 32), (32, 64), (64, 128), (128, 256))
    )
    + (1024 * 512 + 512 + 2 * 512)
    + (512 * 1024 + 1024 + 2 * 1024)
    + (1024 * 10 + 10),
}
"""Weights and biases of each layer, and two parameters a channel of batch norm, counted by hand."""


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_of_the_tutorial_has_the_hand_counted_parameters(network: type[nn.Module]) -> None:
    built = network(channels=3, classes=10)
    assert parameters_of(built) == NETWORKS[network]
    assert all(p.requires_grad for p in built.parameters())


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize(("channels", "classes", "side"), [(3, 10, 32), (1, 2, 16), (3, 7, 45)])
def test_a_network_maps_pictures_to_one_logit_a_class(
    network: type[nn.Module], channels: int, classes: int, side: int
) -> None:
    built = network(channels=channels, classes=classes, image_size=side)
    pixels = torch.from_numpy(noise(5, channels, 9, 12))
    logits = built(built.preprocess(pixels))
    assert logits.shape == (5, classes)
    assert logits.isfinite().all()


def conv(a: int, b: int) -> list[nn.Module]:
    return [nn.Conv2d(a, b, 3, padding=1), nn.ReLU()]


def sharing(plain: nn.Sequential, network: nn.Module) -> nn.Sequential:
    """`plain` with the network's values, in the order in which both hold them."""
    theirs, ours = network.state_dict(), plain.state_dict()
    assert [tuple(v.shape) for v in theirs.values()] == [tuple(v.shape) for v in ours.values()]
    plain.load_state_dict(dict(zip(ours, theirs.values(), strict=True)))
    return plain


def assert_same_outputs(plain: nn.Module, network: nn.Module, pictures: Tensor) -> None:
    for training in (False, True):
        for each in (plain, network):
            each.train(training)
        torch.manual_seed(7)  # the same dropout
        expected = plain(pictures)
        torch.manual_seed(7)
        torch.testing.assert_close(network(pictures), expected, rtol=1e-5, atol=1e-5)


def test_custom_cnn_is_the_tutorials_sequence_of_layers() -> None:
    layers: list[nn.Module] = []
    for a, b in ((3, 32), (32, 64), (64, 128), (128, 256)):
        layers += [*conv(a, b), nn.BatchNorm2d(b), *conv(b, b), nn.BatchNorm2d(b), nn.MaxPool2d(2), nn.Dropout(0.25)]
    layers.append(nn.Flatten())
    for a, b in ((1024, 512), (512, 1024)):
        layers += [nn.Linear(a, b), nn.ReLU(), nn.BatchNorm1d(b), nn.Dropout(0.5)]
    network = CustomCNN(3, 10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):  # statistics that show where they are applied
            nn.init.uniform_(module.running_mean, -1, 1)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -1, 1)
    plain = sharing(nn.Sequential(*layers, nn.Linear(1024, 10)), network)
    assert_same_outputs(plain, network, torch.rand(6, 3, 32, 32))


def test_simple_cnn_is_the_tutorials_sequence_of_layers() -> None:
    network = SimpleCNN(3, 10)
    plain = nn.Sequential(*conv(3, 10), *conv(10, 10), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(2560, 10))
    plain = sharing(plain, network)
    pictures = torch.rand(6, 3, 32, 32)
    assert_same_outputs(plain, network, pictures)
    for each in (plain, network):
        nn.functional.cross_entropy(each(pictures), torch.arange(6)).backward()
    for theirs, ours in zip(plain.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-5, atol=1e-6)


def test_mlp_is_linear_layers_with_relu_between_them() -> None:
    network = MLP(3, 10)
    values = [p.detach().numpy().astype(float) for p in network.parameters()]
    pictures = torch.rand(6, 3, 32, 32)
    hidden = pictures.numpy().reshape(6, -1).astype(float)
    for weight, bias in zip(values[::2], values[1::2], strict=True):
        hidden = hidden @ weight.T + bias
        hidden = np.maximum(hidden, 0) if len(bias) != 10 else hidden
    np.testing.assert_allclose(network(pictures).detach(), hidden, atol=1e-5)


def test_custom_cnn_refuses_pictures_that_its_blocks_would_halve_to_nothing() -> None:
    with pytest.raises(UserError, match=r"model\.image_size = 15\n *must be at least 16"):
        CustomCNN(3, 10, image_size=15)
    assert CustomCNN(3, 10, image_size=16).eval()(torch.rand(1, 3, 16, 16)).shape == (1, 10)


# Loss


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.25]])
def test_cross_entropy_is_the_formula(smoothing: float, weights: list[float] | None) -> None:
    logits, labels = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 4
    w = np.ones(4) if weights is None else np.array(weights)
    target = np.full((20, 4), smoothing / 4) + (1 - smoothing) * np.eye(4)[labels]
    expected = -(target * w * np.log(softmax(logits))).sum() / w[labels].sum()
    loss = CrossEntropy([5, 5, 5, 5], smoothing, weights)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_balanced_class_weights_are_scikit_learns() -> None:
    counts = [50, 3, 17, 30]
    labels = np.repeat(np.arange(4), counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    found = CrossEntropy(counts, class_weights="balanced").weights
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_as_many_class_weights_as_classes_are_wanted() -> None:
    with pytest.raises(UserError, match=r"one weight for each of the 3 classes, not 2"):
        CrossEntropy([1, 2, 3], class_weights=[1.0, 2.0])


# Metrics


@pytest.mark.parametrize("never", [(), (3,), (0, 5)])
def test_scores_are_scikit_learns(never: tuple[int, ...]) -> None:
    names = [f"class {n}" for n in range(6)]
    predictions = some_predictions(200, 6, seed=len(never), never=never)
    true, predicted = predictions.labels.numpy(), predictions.logits.numpy().argmax(1)
    found = scores(predictions, 1.5, names)
    assert (found["loss"], found["pictures"]) == (1.5, 200)
    assert found["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(true, predicted), abs=1e-6)
    for name, of in (
        ("f1", sklearn.metrics.f1_score),
        ("precision", sklearn.metrics.precision_score),
        ("recall", sklearn.metrics.recall_score),
    ):
        assert found[name] == pytest.approx(of(true, predicted, average="macro", zero_division=0), abs=1e-6)
        each = of(true, predicted, average=None, labels=range(6), zero_division=0)
        assert [found["per_class"][n][name] for n in names] == pytest.approx(each.tolist(), abs=1e-6)
    assert [found["per_class"][n]["pictures"] for n in names] == np.bincount(true, minlength=6).tolist()
    expected = sklearn.metrics.confusion_matrix(true, predicted, labels=range(6))
    assert found["confusion"] == expected.tolist()
    assert averaged(predictions) == {name: found[name] for name in ("accuracy", "f1", "precision", "recall")}


def test_a_class_that_is_predicted_but_never_true_counts_as_in_scikit_learn() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    predictions = Predictions(torch.eye(3)[torch.tensor([0, 2, 1, 1])].double(), labels)
    found = averaged(predictions)
    for name, of in (("f1", sklearn.metrics.f1_score), ("recall", sklearn.metrics.recall_score)):
        expected = of(labels, predictions.logits.argmax(1), average="macro", zero_division=0)
        assert found[name] == pytest.approx(expected, abs=1e-6)


def test_confusion_rows_are_true_classes() -> None:
    labels, predicted = torch.tensor([0, 0, 0, 1, 2]), torch.tensor([1, 1, 0, 1, 0])
    counts = confusion(Predictions(torch.eye(3)[predicted].double(), labels))
    assert counts.tolist() == [[1, 2, 0], [0, 1, 0], [1, 0, 0]]


def test_accuracy_is_the_share_of_pictures_to_seven_digits() -> None:
    labels = torch.zeros(60_000, dtype=torch.int64)
    predicted = (torch.arange(60_000) < 7).long()
    found = averaged(Predictions(torch.eye(2)[predicted].double(), labels))
    assert found["accuracy"] == pytest.approx(59_993 / 60_000, abs=1e-7)


# Schedules


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
        "one_cycle": schedulers.one_cycle(optimizer, 10)["interval"],
        "step": schedulers.step(optimizer)["interval"],
        "plateau": schedulers.plateau(optimizer)["interval"],
    }
    assert intervals == {"cosine": "step", "one_cycle": "step", "step": "epoch", "plateau": "epoch"}


# Seeds


def test_a_derived_seed_is_the_same_on_every_machine_and_day() -> None:
    assert derive(42, "order", 3) == 5500105927861195030


def test_neighbouring_seeds_purposes_and_epochs_give_unrelated_numbers() -> None:
    keys = list(itertools.product(range(8), ("order", "augment", "step"), range(8), range(8)))
    values = {key: derive(*key) for key in keys}
    assert len(set(values.values())) == len(keys)
    assert all(0 <= value < 2**63 for value in values.values())
    for change in ((1, "", 0, 0), (0, "", 1, 0), (0, "", 0, 1)):
        pairs = [(key, tuple(a + b for a, b in zip(key, change, strict=True))) for key in keys]
        differing = [(values[a] ^ values[b]).bit_count() for a, b in pairs if b in values]
        assert np.mean(differing) == pytest.approx(31.5, abs=0.5)  # half of 63 bits
    assert len({derive(1, 23), derive(12, 3), derive(123), derive(1, "23"), derive(1, "2", "3"), derive(1, 2, 3)}) == 6


def test_generators_of_neighbouring_epochs_share_no_stretch_of_numbers() -> None:
    draws = [torch.randint(2**62, (1000,), generator=generator(0, "order", epoch)).tolist() for epoch in range(20)]
    assert len(set(itertools.chain.from_iterable(draws))) == 20_000
    again = torch.randint(2**62, (1000,), generator=generator(0, "order", 7)).tolist()
    assert again == draws[7]


def test_seeding_everything_sets_python_numpy_and_torch() -> None:
    def draw() -> list[float]:
        return [random.random(), float(np.random.rand()), torch.rand(1).item()]

    seed_everything(3, "weights")
    first = draw()
    second = draw()
    seed_everything(3, "weights")
    assert draw() == first
    seed_everything(4, "weights")
    third = draw()
    assert all(a != b and a != c for a, b, c in zip(first, second, third, strict=True))


# Report


def test_each_row_of_a_normalised_confusion_matrix_sums_to_one_or_is_empty() -> None:
    predictions = some_predictions(100, 5, never=(2,))
    true, predicted = predictions.labels.numpy(), predictions.logits.numpy().argmax(1)
    expected = sklearn.metrics.confusion_matrix(true, predicted, labels=range(5), normalize="true")
    found = row_normalised(confusion(predictions).numpy())
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(axis=1), [1, 1, 0, 1, 1])


def test_the_most_confused_pairs_are_those_that_pandas_counts() -> None:
    names = ["a", "b", "c", "d"]
    predictions = some_predictions(150, 4, seed=3)
    frame = pd.DataFrame({"true": predictions.labels, "predicted": predictions.logits.argmax(1)})
    counts = frame[frame["true"] != frame["predicted"]].value_counts()
    totals = frame["true"].value_counts()
    found = most_confused(confusion(predictions).numpy(), names, most=20)
    assert len(found) == len(counts)
    assert [pair["pictures"] for pair in found] == sorted(counts, reverse=True)
    for pair in found:
        i, j = names.index(pair["true"]), names.index(pair["predicted"])
        assert pair["pictures"] == counts[(i, j)]
        assert pair["share"] == pytest.approx(counts[(i, j)] / totals[i])
    assert most_confused(confusion(predictions).numpy(), names, most=3) == found[:3]
    assert most_confused(np.diag([3, 4]), ["a", "b"]) == []


def test_the_worst_mistakes_are_the_wrong_ones_with_the_least_probability_of_the_truth() -> None:
    predictions = some_predictions(80, 5, seed=4)
    logits, labels = predictions.logits.numpy(), predictions.labels.numpy()
    of_truth = softmax(logits)[np.arange(80), labels]
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    expected = sorted(wrong, key=lambda place: of_truth[place])
    assert worst_mistakes(predictions, most=1000).tolist() == expected
    assert worst_mistakes(predictions).tolist() == expected[:12]
    perfect = Predictions(torch.eye(3).double(), torch.arange(3))
    assert worst_mistakes(perfect).tolist() == []
    assert draw_mistakes(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), perfect, ["a", "b", "c"]) is None


ODD_NAMES = ["plain", "with, comma", 'with "quotes"', "line\nbreak", "NA", "ünï"]


def test_predictions_read_back_as_they_were(tmp_path: Path) -> None:
    predictions = some_predictions(30, 6, seed=5)
    pictures = [f"{ODD_NAMES[n % 6]}/{n:03}.png" for n in range(30)]
    path = tmp_path / "predictions.csv"
    table = prediction_table(np.array(pictures, dtype=object), predictions, ODD_NAMES)
    replace_text(path, table.to_csv(index=False, float_format=DIGITS))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["picture", "true", "predicted", *(f"p_{name}" for name in ODD_NAMES)]
    assert [row["picture"] for row in rows] == pictures
    assert [row["true"] for row in rows] == [ODD_NAMES[label] for label in predictions.labels]
    probabilities = np.array([[float(row[f"p_{name}"]) for name in ODD_NAMES] for row in rows])
    np.testing.assert_allclose(probabilities, softmax(predictions.logits.numpy()), rtol=1e-8)
    assert [row["predicted"] for row in rows] == [ODD_NAMES[place] for place in probabilities.argmax(1)]


def test_a_picture_whose_file_name_is_not_utf8_has_its_row_too(tmp_path: Path) -> None:
    name = b"cat/caf\xe9.png".decode("utf-8", "surrogateescape")  # as Path gives a Latin-1 name
    table = prediction_table([name, "cat/b.png"], some_predictions(2, 3), ["a", "b", "c"])
    path = tmp_path / "predictions.csv"
    replace_text(path, table.to_csv(index=False, float_format=DIGITS))
    assert len(pd.read_csv(path, encoding_errors="replace")) == 2


def config(network: str, seed: int = 1, **values: Any) -> dict[str, Any]:
    return {"model._target_": f"viewfinder.models.{network}", "seed": seed, "name": f"run {seed}", **values}


def test_runs_are_described_by_that_in_which_they_differ() -> None:
    lr = "optimizer.lr"
    assert describe([config("a.One", 1, **{lr: 0.1}), config("a.One", 2, **{lr: 0.2})]) == ["lr=0.1", "lr=0.2"]
    assert describe([config("a.One", 1), config("a.One", 2)]) == ["One", "One"]
    several = [
        config("a.One", **{"model.width": 1, lr: 0.1}),
        config("a.One", **{"model.width": 2, lr: 0.1}),
        config("b.Two", **{"model.width": 9, "model.depth": 3, lr: 0.1}),
    ]
    assert describe(several) == ["One width=1", "One width=2", "Two"]
    clash = [config("a.One", **{"model.gamma": 1, "scheduler.gamma": k}) for k in (1, 2)]
    assert describe(clash) == ["gamma=1", "gamma=2"]
    clash.append(config("a.One", **{"model.gamma": 2, "scheduler.gamma": 2}))
    assert describe(clash)[-1] == "model.gamma=2 scheduler.gamma=2"


def test_runs_in_phases_are_described_by_their_choice_and_what_differs_within_it() -> None:
    def phased(lr: float, epochs: int, **more: Any) -> dict[str, Any]:
        head = {"phases.head.train": "head", "phases.head.epochs": epochs}
        return config("a.One", **head, **{"phases.fine_tune.train": "all", "phases.fine_tune.lr": lr}, **more)

    none, fine = config("a.One"), "phases=fine_tune"
    # Whether the choice was typed or an experiment's, it is one.
    typed = [["phases=none"], [fine], ["phases=none", fine, "phases.fine_tune.lr=0.1"], ["experiment=transfer"]]
    configs = with_phases([none, phased(0.1, 1), phased(0.1, 1), phased(0.1, 1)], typed)
    assert describe(configs) == ["phases=none", *3 * [fine]]
    configs = with_phases([none, phased(0.1, 1), phased(0.2, 1)], [[], [fine], []])
    assert describe(configs) == ["phases=none", f"{fine} fine_tune.lr=0.1", f"{fine} fine_tune.lr=0.2"]
    # The optimizer's learning rate is another.
    configs = with_phases([phased(0.1, 1, **{"optimizer.lr": 1}), phased(0.2, 2, **{"optimizer.lr": 2})], [[], []])
    assert describe(configs) == [f"lr={n} fine_tune.lr=0.{n} head.epochs={n}" for n in (1, 2)]
    # What nobody typed, or what was typed for phases of two kinds, names no choice.
    assert describe(with_phases([none, phased(0.1, 1)], [[], []]))[1] == "phases=head,fine_tune"
    other = {"phases.only.train": "all"}
    for word in (fine, "phases=none"):
        said = describe(with_phases([none, phased(0.1, 1), config("a.One", **other)], [[], [word], [word]]))
        assert said == ["phases=none", "phases=head,fine_tune", "phases=only"]


def test_settings_are_summarised_as_numpy_does_over_their_seeds() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"setting": setting, "run": f"{setting}{seed}", "seed": seed, "best_epoch": int(rng.integers(1, 9))}
        | {name: float(rng.random()) + bonus for name in SCORES}
        for setting, bonus, seeds in (("low", 0, 3), ("high", 1, 4), ("single", 2, 1))
        for seed in range(seeds)
    ]
    found = summarise_settings(pd.DataFrame(rows).sample(frac=1, random_state=1)).to_dict("records")
    assert [row["setting"] for row in found] == ["single", "high", "low"]
    for row in found:
        mine = [each for each in rows if each["setting"] == row["setting"]]
        assert row["seeds"] == len(mine)
        assert row["best_epoch"] == pytest.approx(np.mean([each["best_epoch"] for each in mine]))
        for name in SCORES:
            values = [each[name] for each in mine]
            assert row[f"{name}_mean"] == pytest.approx(np.mean(values))
            if len(values) > 1:
                assert row[f"{name}_std"] == pytest.approx(np.std(values, ddof=1))
            else:
                assert math.isnan(row[f"{name}_std"])


def test_a_run_made_twice_with_one_seed_counts_once() -> None:
    table = pd.DataFrame([
        {"setting": "s", "run": run, "seed": seed, "best_epoch": 1, **dict.fromkeys(SCORES, value)}
        for run, seed, value in (("x", 1, 0.5), ("y", 2, 0.7), ("z", 2, 0.9))
    ])  # fmt: skip
    (row,) = summarise_settings(table).to_dict("records")
    assert row["seeds"] == 2
    assert row["best_val_mean"] == pytest.approx(0.7)  # of 0.5 and the later 0.9


def scored_run(folder: Path, names: list[str]) -> tuple[RunFolder, dict[str, Any]]:
    """A run folder with all that a report is made of; its scores are of random logits."""
    cfg = OmegaConf.create({"name": "<b>name</b>", "seed": 3, "run_dir": str(folder), "output_dir": "outputs"})
    assert isinstance(cfg, DictConfig)
    run = RunFolder.create(cfg)
    split = scores(some_predictions(60, len(names), seed=9), 1.25, names)
    found = {which: {"epoch": epoch, "val": split, "test": split} for which, epoch in (("best", 1), ("last", 2))}
    write_json(run.scores, found)
    run.write_data({
        "class_names": names, "channels": 3, "picture_size": [8, 9], "split_sizes": {"train": 9, "val": 60, "test": 60}
    })  # fmt: skip
    run.update_run(
        status="finished",
        device="cpu",
        network={"name": "Net", "parameters": 12_345, "trained": 345, "multiply_adds": 6789},
        epoch_seconds=[30.0, 60.0],
    )
    columns = ["epoch", "train/loss", "train/accuracy", "val/loss", "val/accuracy"]
    pd.DataFrame([[1, 2.0, 0.1, 1.9, 0.2], [2, 1.0, 0.5, 1.2, 0.4]], columns=columns).to_csv(run.metrics, index=False)
    return run, split


def test_class_names_that_look_like_html_are_text_in_the_report(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script>"
    run, split = scored_run(tmp_path / "run", [nasty, "b & c", '"d"'])
    write_report(run)
    page = Page(run.report.read_text(encoding="utf-8"))
    assert "script" not in page.tags
    assert "b" in page.tags  # the report's own bold figures: tags are seen
    text = "".join(page.text)
    assert text.count(nasty) >= 2  # hardest classes, and confused pairs
    assert "b & c" in text
    assert "<b>name</b>" in text
    assert f"{split['accuracy']:.4f}" in text
    assert "12,345 parameters" in text
    assert "training took 1.5 minutes" in " ".join(text.split())


def test_the_report_is_one_file_that_asks_nothing_of_the_network(tmp_path: Path) -> None:
    run, _ = scored_run(tmp_path / "run", ["a", "b"])
    write_report(run)
    content = run.report.read_text(encoding="utf-8")
    sources = Page(content).fetched
    assert len(sources) == 2
    assert all(source.startswith("data:image/png;base64,") for source in sources)
    assert not re.search(r"url\(|@import|https?://", re.sub(r"base64,[^\"]*", "", content))
    for path in (run.curves, run.confusion):
        with Image.open(path) as picture:
            picture.verify()


@pytest.mark.parametrize("name", ["US$ and CA$", r"$\frac$", "a_b^c", "$", "50% {x}", r"back\slash"])
def test_a_class_name_is_drawn_as_it_is_written(tmp_path: Path, name: str) -> None:
    figure = draw_confusion(np.array([[3, 1], [0, 4]]), [name, "other"], "test")
    save_figure(figure, tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as picture:
        picture.verify()
    labels = [text for text in figure.findobj(Text) if name in text.get_text().replace(r"\$", "$")]
    assert labels
    assert not any(is_formula(text) for text in labels)


def is_formula(text: Text) -> bool:
    """Whether matplotlib sets it as mathematics, as it does with an even number of unescaped dollar signs."""
    dollars = len(re.findall(r"(?<!\\)\$", text.get_text()))
    return text.get_parse_math() and dollars > 0 and dollars % 2 == 0


def test_the_confusion_heat_map_writes_shares_of_true_classes_on_its_cells() -> None:
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 2, 4]])
    axes = draw_confusion(counts, ["a", "b", "c"], "test").axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    for row, column in np.ndindex(3, 3):
        share = counts[row, column] / max(counts[row].sum(), 1)
        assert written.get((column, row), "0.00") == f"{share:.2f}"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_the_heat_map_of_an_epoch_is_the_one_that_matplotlib_draws() -> None:
    counts = np.random.default_rng(3).integers(0, 50, (7, 7))
    names = [f"class {number}" for number in range(7)]
    frames = ConfusionFrames(names, "validation")
    frames(counts[::-1])  # of an epoch before, of which nothing may remain
    canvas = FigureCanvasAgg(draw_confusion(counts, names, "validation", numbers=False))
    canvas.draw()
    theirs = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    apart = np.abs(np.asarray(frames(counts)).astype(int) - theirs).max(axis=2) > 1
    # Where two cells meet, and at the frame, Matplotlib mixes the colours over a pixel: lines, never an area.
    assert not binary_erosion(apart, np.ones((3, 3))).any()


def test_pictures_stand_under_captions_in_the_colour_of_right_and_wrong() -> None:
    predictions = Predictions(torch.tensor([[2.0, 0.0], [2.0, 0.0]]).double(), torch.tensor([0, 1]))
    pixels = noise(2, 3, 5, 4)
    sheet = draw_pictures(torch.from_numpy(pixels), predictions, ["cat", "dog"])
    for place, colour in enumerate(((0x2B, 0x6A, 0x30), (0xB3, 0x26, 0x1E))):
        cell = sheet.crop((place * ACROSS, 0, (place + 1) * ACROSS, DOWN))
        shown = cell.crop(((ACROSS - 120) // 2, DOWN - 150, (ACROSS + 120) // 2, DOWN))  # 4 by 5 times 30
        assert np.array_equal(np.asarray(shown)[15::30, 15::30], pixels[place].transpose(1, 2, 0))
        caption = np.asarray(cell)[: DOWN - 150].reshape(-1, 3)
        inked = caption[(caption != 255).any(axis=1)]
        assert len(inked)
        assert (inked == colour).all(axis=1).any()
        # Letters are the colour itself, or its mixture with the white paper.
        assert (inked >= np.array(colour) - 1).all()


def test_a_caption_says_prediction_probability_and_the_truth_where_it_is_another() -> None:
    predictions = Predictions(torch.tensor([[2.0, 0.0], [2.0, 0.0]]).double(), torch.tensor([0, 1]))
    share = f"{softmax(np.array([[2.0, 0.0]]))[0, 0]:.0%}"
    assert captions(predictions, ["cat", "dog"]) == [(f"cat {share}", True), (f"cat {share}\nis dog", False)]
