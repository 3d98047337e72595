"""A network that initialises itself from images sees those of the training split, once, at the start of a run."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import QUICK, noise, raises_user_error, train_into
from torch import Tensor, nn

from viewfinder.data.batches import SplitImages
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.split import ImageRows
from viewfinder.experiment import initialize
from viewfinder.experiment.initialize import initialize_network
from viewfinder.experiment.load import open_run
from viewfinder.experiment.resume import resume_experiment
from viewfinder.models.whitening import Whitening
from viewfinder.runs.folder import RunFolder

AIRBENCH = ["model=airbench", "model.widths=[4]", "model.whitening_eps=0.01", "logger=none"]


class Seeing(nn.Module):
    """A network that stores what it is shown."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(4, mean=(0.5,))

    def initialize_from_images(self, images: Tensor) -> None:
        self.images = images


def make_data(count: int) -> Any:
    rows = ImageRows(torch.from_numpy(noise(count, 4, 4, 3)))
    return SimpleNamespace(images={"train": SplitImages(rows, torch.zeros(count, dtype=torch.int64))})


def test_a_network_receives_preprocessed_images_spread_over_the_training_split(monkeypatch: pytest.MonkeyPatch) -> None:
    network, data = Seeing(), make_data(10)
    expected = torch.from_numpy(noise(10, 4, 4, 3)).permute(0, 3, 1, 2) / 255 - 0.5
    initialize_network(network, data)
    torch.testing.assert_close(network.images, expected)
    monkeypatch.setattr(initialize, "MAX_BYTES", 4 * 4 * 4 * 4 * 3 + 1)
    initialize_network(network, data)
    torch.testing.assert_close(network.images, expected[[0, 2, 5, 7]])
    initialize_network(nn.Linear(1, 1), data)


def test_an_error_in_the_network_is_reported_with_its_line() -> None:
    class Failing(Seeing):
        def initialize_from_images(self, images: Tensor) -> None:
            raise IndexError("no such patch")

    with raises_user_error(r"initialize_from_images of Failing fails: IndexError: no such patch \(.*line \d+\)"):
        initialize_network(Failing(), make_data(2))


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """Images that whitening convolutions see from now on."""
    seen: list[Tensor] = []
    fit: Callable[[Whitening, Tensor], None] = Whitening.fit

    def record(self: Whitening, images: Tensor) -> None:
        seen.append(images)
        fit(self, images)

    monkeypatch.setattr(Whitening, "fit", record)
    return seen


def read_whitening(run: RunFolder) -> Tensor:
    return torch.load(run.last, weights_only=True)["state_dict"]["network.whitening.weight"]


def test_a_run_whitens_with_its_training_images_whatever_their_storage_and_a_resumed_one_does_not(
    tiny: list[str], tmp_path: Path, fits: list[Tensor]
) -> None:
    words = [*tiny, *AIRBENCH, "trainer.max_epochs=1"]
    run = train_into(tmp_path / "run", *words)
    (images,) = fits
    pixels = open_run(run.path, [], "best").open_data("train").images["train"].pixels
    torch.testing.assert_close(images, (pixels / 255 - 0.5) / 0.25)
    layer = Whitening(3, 2, 0.01)
    layer.fit(images)
    assert torch.equal(read_whitening(run), layer.weight)  # also after training
    streamed = train_into(tmp_path / "streamed", *words, "data.storage=stream", "data.workers=1")
    assert torch.equal(read_whitening(streamed), layer.weight)
    fits.clear()
    resume_experiment(run, ["trainer.max_epochs=2"])
    again = train_into(tmp_path / "again", *words, f"model.weights={run.path}", "model.freeze=true")
    assert not fits
    for resumed in (run, again):
        assert torch.equal(read_whitening(resumed), layer.weight)


def test_without_whitening_the_first_convolution_trains(tmp_path: Path, fits: list[Tensor]) -> None:
    words = ["data=digits", "data.limit=40", "data.batch_size=8", "model.image_size=8", *QUICK, *AIRBENCH]
    run = train_into(tmp_path / "run", *words, "model.whitening=false", "trainer.max_epochs=1")
    assert not fits
    assert run.read_run()["network"]["trained"] == sum(
        np.prod(shape) for shape in [(8, 1, 2, 2), (8,), (4, 8, 3, 3), (4, 4, 3, 3), (4,), (4,), (10, 4)]
    )
