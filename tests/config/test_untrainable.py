"""An optimizer that cannot step, and batches that a network cannot train on, are refused before anything is created."""

from pathlib import Path

import pytest
from command_lines import expect_error, start_run
from conftest import write_images

QUICK = ("data=digits", "data.limit=40", "trainer=cpu", "trainer.progress_bar=false")
ASSERTING = """
from torch.optim import SGD

class Asserting(SGD):
    def step(self, closure=None):
        assert closure is not None, "requires closure"
"""
ONE_PIXEL = """
from torch import nn
from viewfinder.data.preprocess import Preprocess
class OnePixel(nn.Sequential):
    def __init__(self, channels, classes):
        norm = nn.InstanceNorm2d(channels, track_running_stats=True)
        super().__init__(nn.AdaptiveAvgPool2d(1), norm, nn.Flatten(), nn.Linear(channels, classes))
        self.preprocess = Preprocess(8)
"""
"""A network that evaluates without the pixels of a batch, and does not train."""


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("torch.optim.LBFGS", "its step needs a closure"),
        ("torch.optim.SparseAdam", "does not support dense gradients"),
        ("asserting.Asserting", "its step needs a closure"),
    ],
)
def test_an_optimizer_that_cannot_step_is_refused(working_folder: Path, target: str, rule: str) -> None:
    (working_folder / "asserting.py").write_text(ASSERTING)
    (working_folder / "conf" / "optimizer").mkdir(parents=True)
    (working_folder / "conf" / "optimizer" / "mine.yaml").write_text(f"_target_: {target}\nlr: 0.1\n")
    error = expect_error(*QUICK, "model=mlp", "optimizer=mine")
    assert [problem.key for problem in error.problems] == ["optimizer._target_"]
    assert rule in error.problems[0].rule


def test_batches_of_one_image_are_refused_with_batch_norm(working_folder: Path) -> None:
    words = ("model=custom_cnn", "model.widths=[4,8]", "data.batch_size=1")
    (problem,) = expect_error(*QUICK, *words).problems
    assert (problem.key, problem.received) == ("data.batch_size", "1")
    assert "batch norm" in problem.rule


def test_a_single_training_image_is_refused_with_batch_norm(working_folder: Path) -> None:
    write_images(working_folder / "data", "cat", "dog", count=6)
    words = ("data=image_folder", "data.root=data", "data.limit=1", "model=custom_cnn", "trainer=cpu")
    (problem,) = expect_error(*words).problems
    assert (problem.key, problem.received) == ("the train split", "1 image")


def test_instance_norm_over_a_single_pixel_is_refused(working_folder: Path) -> None:
    (working_folder / "pixel.py").write_text(ONE_PIXEL)
    (working_folder / "conf" / "model").mkdir(parents=True)
    (working_folder / "conf" / "model" / "mine.yaml").write_text("_target_: pixel.OnePixel\n")
    (problem,) = expect_error(*QUICK, "model=mine", "data.batch_size=1").problems
    assert (problem.key, problem.received) == ("model", None)
    assert "OnePixel" in problem.rule
    assert "instance norm" in problem.rule


@pytest.mark.parametrize("model", ["mlp", "simple_cnn"])
def test_batches_of_one_image_are_accepted_without_batch_norm(working_folder: Path, model: str) -> None:
    with pytest.raises(pytest.fail.Exception, match="training began"):
        start_run(*QUICK, f"model={model}", "data.batch_size=1")
