"""Runs with several augmentations: stopped and resumed, streamed, and of growing images."""

import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import Train, Type, assert_same_run, raises_user_error
from interruptions import send_signal, start_run
from torch import Tensor, nn

from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Stopped

EVERYTHING = [
    "augment=[alternating_flip,crop,flip,cutout,random_erasing,color_jitter,rand_augment,trivial_augment,mixup,cutmix]",
    "augment.crop.padding=1", "augment.cutout.size=3", "augment.mixup.probability=0.5",
]  # fmt: skip
SIZES: list[tuple[bool, int]] = []
"""Mode and side of the images of each forward pass."""


class Pooling(nn.Sequential):
    """A network that takes images of any size."""

    def __init__(self, channels: int, classes: int, image_size: int = 8):
        super().__init__(
            nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)
        )
        self.preprocess = Preprocess(image_size)

    def forward(self, images: Tensor) -> Tensor:
        SIZES.append((self.training, int(images.shape[-1])))
        return super().forward(images)


@pytest.fixture
def pooling(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides that choose the network above."""
    monkeypatch.setitem(sys.modules, "pooling_network", sys.modules[__name__])
    (working_folder / "pooling_network.py").touch()
    (working_folder / "conf" / "model").mkdir(parents=True)
    (working_folder / "conf" / "model" / "pooling.yaml").write_text(
        "_target_: pooling_network.Pooling\nimage_size: 8\n"
    )
    SIZES.clear()
    return ["model=pooling", "augment=[crop,progressive_resizing]", "augment.progressive_resizing.multiple=2"]


def test_a_run_with_every_augmentation_ends_bit_identical_after_a_stop(
    tiny: list[str], train: Train, at_step: Any, tmp_path: Path, viewfinder: Type
) -> None:
    words = [*EVERYTHING, "data.batch_size=4"]
    whole = train(tmp_path / "whole", *words)
    at_step(11, send_signal("SIGTERM"))
    with pytest.raises(Stopped):
        start_run([*tiny, *words, f"run_dir={tmp_path / 'run'}"])
    assert viewfinder("resume", tmp_path / "run").code == 0
    assert_same_run(type(whole).open(tmp_path / "run"), whole)
    table = pd.read_csv(whole.metrics)
    assert table["train/loss"].between(0.5, 3).all()
    assert table["train/accuracy"].between(0, 1).all()


def test_streamed_images_are_augmented_as_those_in_memory(train: Train, tmp_path: Path) -> None:
    words = [*EVERYTHING, "model=mlp", "model.widths=[4]", "trainer.max_epochs=1"]
    streamed = train(tmp_path / "stream", *words, "data.storage=stream", "data.workers=1")
    in_memory = train(tmp_path / "memory", *words, "data.storage=memory")
    assert streamed.metrics.read_bytes() == in_memory.metrics.read_bytes()


def test_training_images_grow_from_epoch_to_epoch_and_others_have_the_full_size(
    pooling: list[str], train: Train, tmp_path: Path
) -> None:
    train(tmp_path / "run", *pooling, "trainer.max_epochs=3")
    training = [side for is_training, side in SIZES if is_training]
    assert training == [4] * 4 + [6] * 4 + [8] * 4
    start = SIZES.index((True, 4))
    assert {side for is_training, side in SIZES[start:] if not is_training} == {8}


def test_a_network_of_one_size_is_refused_before_anything_is_created(train: Train, tmp_path: Path) -> None:
    with raises_user_error(r"augment\.progressive_resizing .*SimpleCNN fails at 4x4: RuntimeError: .*~augment"):
        train(tmp_path / "run", "augment=progressive_resizing", "trainer.max_epochs=3")
    assert not (tmp_path / "run").exists()


def test_an_argument_that_does_not_suit_the_images_is_refused_before_anything_is_created(
    train: Train, tmp_path: Path
) -> None:
    with raises_user_error(r"augment\.crop = RandomCrop cannot change images of 8x8: padding=8 reflects more pixels"):
        train(tmp_path / "run", "augment=crop", "augment.crop.border=reflect", "augment.crop.padding=8")
    assert not (tmp_path / "run").exists()


class Dividing:
    """An augmentation that returns no images of whole levels."""

    def __call__(self, pixels: Tensor, generator: torch.Generator) -> Tensor:
        return pixels / 255


def test_an_augmentation_that_returns_something_else_is_named(
    working_folder: Path, train: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "dividing", sys.modules[__name__])
    (working_folder / "dividing.py").touch()
    (working_folder / "conf" / "augment").mkdir(parents=True)
    (working_folder / "conf" / "augment" / "mine.yaml").write_text("mine:\n  _target_: dividing.Dividing\n")
    with raises_user_error(r"augment\.mine = Dividing must return uint8 images \(N, C, H, W\), not torch\.float32"):
        train(working_folder / "run", "augment=[crop,mine]")
