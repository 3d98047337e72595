"""Cross entropy, focal loss and balanced class weights equal their formulas, torchvision and scikit-learn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import raises_user_error, softmax, train_into
from sklearn.utils.class_weight import compute_class_weight
from torchvision.ops import sigmoid_focal_loss

from viewfinder.config.overrides import compose_config
from viewfinder.training.losses import CrossEntropy, Focal


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.25]])
def test_cross_entropy_is_the_formula(smoothing: float, weights: list[float] | None) -> None:
    logits, labels = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 4
    w = np.ones(4) if weights is None else np.array(weights)
    target = np.full((20, 4), smoothing / 4) + (1 - smoothing) * np.eye(4)[labels]
    losses = -(target * np.log(softmax(logits))).sum(1)
    expected = (w[labels] * losses).sum() / w[labels].sum()
    loss = CrossEntropy([5, 5, 5, 5], smoothing, weights)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("smoothing", "weights"), [(0.0, None), (0.1, None), (0.0, [0.5, 2.0, 0.0, 1.25])])
def test_smoothing_or_weights_alone_are_torchs_to_the_last_bit(smoothing: float, weights: list[float] | None) -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(64, 4, generator=generator), torch.arange(64) % 4
    tensor = None if weights is None else torch.tensor(weights)
    expected = torch.nn.CrossEntropyLoss(tensor, label_smoothing=smoothing)(logits, labels)
    assert torch.equal(CrossEntropy([16] * 4, smoothing, weights)(logits, labels), expected)


def test_a_rare_class_does_not_draw_the_images_of_the_others_to_itself_under_smoothing() -> None:
    """With constant logits, the loss of 60, 60 and 1 images is least where every class is equally likely."""
    loss, logits = CrossEntropy([60, 60, 1], 0.1, "balanced"), torch.zeros(3, dtype=torch.float64, requires_grad=True)
    loss(logits.expand(121, 3), torch.tensor([0] * 60 + [1] * 60 + [2])).backward()
    assert np.abs(np.asarray(logits.grad)).max() < 1e-7


def test_balanced_class_weights_are_scikit_learns() -> None:
    counts = [50, 3, 17, 30]
    labels = np.repeat(np.arange(4), counts)
    expected = compute_class_weight("balanced", classes=np.arange(4), y=labels)
    found = CrossEntropy(counts, class_weights="balanced").weights
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_class_without_training_images_has_no_balanced_weight_and_the_others_have_scikit_learns() -> None:
    labels = np.repeat([0, 2, 3], [60, 20, 5])
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 3]), y=labels)
    weights = CrossEntropy([60, 0, 20, 5], class_weights="balanced").weights
    assert weights is not None
    np.testing.assert_allclose(weights[[0, 2, 3]], expected, rtol=1e-6)
    assert weights[1] == 0


def test_as_many_class_weights_as_classes_are_wanted() -> None:
    with raises_user_error(r"one weight for each of the 3 classes, not 2"):
        CrossEntropy([1, 2, 3], class_weights=[1.0, 2.0])


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 0.0, 1.25]])
def test_focal_loss_is_the_formula(gamma: float, smoothing: float, weights: list[float] | None) -> None:
    logits, labels = np.random.default_rng(0).normal(size=(20, 4)), np.arange(20) % 4
    w, p = np.ones(4) if weights is None else np.array(weights), softmax(logits)
    target = np.full((20, 4), smoothing / 4) + (1 - smoothing) * np.eye(4)[labels]
    losses = -(target * (1 - p) ** gamma * np.log(p)).sum(1)
    expected = (w[labels] * losses).sum() / w[labels].sum()
    loss = Focal([5, 5, 5, 5], gamma, smoothing, weights)(torch.from_numpy(logits), torch.from_numpy(labels))
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_focal_loss_of_two_classes_is_torchvisions(gamma: float) -> None:
    """The probability of the second of two logits, 0 and x, is the sigmoid of x."""
    x, labels = torch.linspace(-4, 4, 50, dtype=torch.float64), torch.arange(50) % 2
    logits = torch.stack([torch.zeros_like(x), x], 1)
    expected = sigmoid_focal_loss(x, labels.double(), alpha=-1, gamma=gamma, reduction="mean")
    torch.testing.assert_close(Focal([25, 25], gamma)(logits, labels), expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_gradients_of_focal_loss_are_finite_for_certain_predictions(gamma: float) -> None:
    logits = torch.tensor([[200.0, -200.0], [-200.0, 200.0], [1e-8, 0.0]], requires_grad=True)
    loss = Focal([2, 1], gamma)(logits, torch.tensor([0, 0, 1]))
    loss.backward()
    assert torch.isfinite(loss)
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_focal_loss_of_half_precision_is_computed_in_single_precision() -> None:
    logits = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    labels = torch.arange(8) % 3
    assert torch.equal(Focal([3, 3, 2])(logits, labels), Focal([3, 3, 2])(logits.float(), labels))


def test_the_overrides_of_earlier_versions_set_the_keys_of_the_loss() -> None:
    for choice in ([], ["loss=cross_entropy"], ["loss=focal"]):
        loss = compose_config([*choice, "loss.label_smoothing=0.1", "loss.class_weights=balanced"]).loss
        assert (loss.label_smoothing, loss.class_weights) == (0.1, "balanced")
    assert compose_config([]).loss == {
        "_target_": "viewfinder.training.losses.CrossEntropy", "label_smoothing": 0.0, "class_weights": None,
    }  # fmt: skip
    own = compose_config(["loss._target_=torch.nn.MultiMarginLoss", "~loss.label_smoothing", "+loss.margin=2"]).loss
    assert own == {"_target_": "torch.nn.MultiMarginLoss", "class_weights": None, "margin": 2}


def test_focal_loss_and_a_balanced_sampler_train_together(tiny: list[str], tmp_path: Path) -> None:
    words = ["loss=focal", "loss.gamma=1.5", "loss.label_smoothing=0.1", "loss.class_weights=balanced"]
    run = train_into(tmp_path / "run", *tiny, *words, "model=mlp", "data.sampler=balanced")
    assert run.read_run()["status"] == "finished"
    assert run.read_settings()["data"]["sampler"] == "balanced"
