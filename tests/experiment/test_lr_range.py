"""Learning-rate range test: it measures what training would do, and proposes what the curve shows."""

import json
import math
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUICK, Answer, Type, on_one_line, raises_user_error
from omegaconf import OmegaConf
from torch import nn

from viewfinder.config.overrides import compose_config
from viewfinder.data.batches import Batch, Chunk
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything
from viewfinder.evaluation.lr_curve import Curve, is_diverged, propose_rate, smooth_losses
from viewfinder.experiment.build import build_network, open_data
from viewfinder.runs.find import find_runs
from viewfinder.runs.outputs import is_output_folder
from viewfinder.training.callbacks import progress, range_recorder
from viewfinder.training.callbacks.range_recorder import scale_rates
from viewfinder.training.schedulers import Schedule

MLP = ["model=mlp", "model.widths=[8]"]
FILES = {"config.yaml", "lr_range.csv", "lr_range.html", "lr_range.json", "lr_range.png"}


@pytest.fixture
def words(tiny: list[str], tmp_path: Path) -> list[str]:
    return [*MLP, *tiny, f"output_dir={tmp_path / 'out'}"]


def only_folder(tmp_path: Path, name: str = "mlp") -> Path:
    (folder,) = (tmp_path / "out" / name).iterdir()
    assert is_output_folder(folder)  # its charts are never images of a data set
    return folder


def rows(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "lr_range.csv")


def facts(folder: Path) -> dict:
    return json.loads((folder / "lr_range.json").read_text(encoding="utf-8"))


# What is measured


def endless_batches(data: ImageData, accumulate: int) -> Iterator[list[Batch]]:
    """Yield the batches of each step, epoch after epoch."""
    epoch = 0
    while True:
        order = data.training_order()
        order.set_epoch(epoch)
        batches = [batch for part in order for batch in Chunk(data.images["train"], part)]
        for first in range(0, len(batches), accumulate):
            yield batches[first : first + accumulate]
        epoch += 1


@pytest.mark.parametrize(("optimizer", "accumulate", "clip"), [("adam", 1, None), ("sgd", 3, 0.5)])
def test_the_curve_is_that_of_a_plain_loop_with_the_same_rates_and_batches(
    words: list[str], viewfinder: Type, tmp_path: Path, optimizer: str, accumulate: int, clip: float | None
) -> None:
    words += [f"optimizer={optimizer}", "trainer.early_stopping_patience=1"]
    loop = [f"trainer.accumulate_grad_batches={accumulate}", f"trainer.gradient_clip_val={clip or 'null'}"]
    viewfinder("lr-range", *words, *loop, "--steps", "40", "--from", "1e-5", "--to", "0.1")
    measured = rows(only_folder(tmp_path))
    rates = [1e-5 * 1e4 ** (step / 39) for step in range(40)]
    assert list(measured["step"]) == list(range(1, 41))
    np.testing.assert_allclose(measured["lr"], rates, rtol=1e-6)

    cfg = compose_config(words)
    data = open_data(cfg)
    seed_everything(cfg.seed, "weights")
    network = build_network(cfg, data.in_channels, len(data.class_names))
    preprocess = get_preprocess(network)
    data.load(preprocess.image_size)
    parameters = list(network.parameters())
    plain: torch.optim.Optimizer = torch.optim.Adam(parameters)
    if optimizer == "sgd":
        plain = torch.optim.SGD(parameters, momentum=0.9, weight_decay=5e-4, nesterov=True)
    losses = []
    for rate, batches in zip(rates, endless_batches(data, accumulate), strict=False):
        plain.param_groups[0]["lr"] = rate
        found = [nn.functional.cross_entropy(network(preprocess(each.pixels)), each.labels) for each in batches]
        losses.append(sum(each.item() for each in found) / len(found))
        plain.zero_grad()
        (torch.stack(found).sum() / accumulate).backward()
        if clip:
            nn.utils.clip_grad_norm_(parameters, clip)
        plain.step()
    np.testing.assert_allclose(measured["loss"], losses, rtol=1e-4)
    assert max(losses) > min(losses) * 1.02  # they move at all

    average, smoothed = 0.0, []  # Kingma and Ba's, with a memory of a twentieth of 40 steps
    for step, loss in enumerate(losses, 1):
        average = 0.5 * average + 0.5 * loss
        smoothed.append(average / (1 - 0.5**step))
    np.testing.assert_allclose(measured["smoothed"], smoothed, rtol=1e-4)


def test_parameter_groups_keep_their_ratios() -> None:
    one, other = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([{"params": [one], "lr": 0.1}, {"params": [other], "lr": 0.01}])
    schedule: Schedule = scale_rates(optimizer, np.array([1e-3, 1e-2, 1e-1]))
    seen = []
    for _ in range(3):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule["scheduler"].step()
    np.testing.assert_allclose(seen, [[1e-4, 1e-5], [1e-3, 1e-4], [1e-2, 1e-3]])


def test_the_same_command_gives_the_same_curve_and_a_folder_that_is_no_run(
    tiny: list[str], viewfinder: Type, tmp_path: Path
) -> None:
    # With dropout and augmentation, whose random numbers follow from the seed.
    words = ["model=custom_cnn", "model.widths=[4]", "model.hidden=[8]", *tiny, "augment=basic", "augment.padding=1"]
    for name in ("one", "two"):
        viewfinder("lr-range", *words, "--steps", "40", "--to", "0.1", f"run_dir={tmp_path / name}")
        assert {path.name for path in (tmp_path / name).iterdir()} == FILES
    one, two = ((tmp_path / name / "lr_range.csv").read_bytes() for name in ("one", "two"))
    assert one == two
    kept = OmegaConf.load(tmp_path / "one" / "config.yaml")
    assert kept == compose_config([*words, f"run_dir={tmp_path / 'one'}"])
    with raises_user_error("contains no run"):
        find_runs(tmp_path)


def test_a_frozen_resnet50_is_tested_too(
    pictures: Path, resnet_weights: Path, viewfinder: Type, tmp_path: Path
) -> None:
    model = ["model=resnet50", f"model.weights={resnet_weights}", "model.image_size=32", "data.batch_size=4"]
    data = ["data=image_folder", f"data.root={pictures}", *QUICK]
    answer = viewfinder("lr-range", *model, *data, "--steps", "40", f"output_dir={tmp_path / 'out'}")
    assert answer.code in (0, 2)
    assert len(rows(only_folder(tmp_path, "resnet50"))) > 8
    assert answer.err == ""


# What is proposed


def curve_of(losses: np.ndarray, first: float = 1e-7, last: float = 10.0) -> Curve:
    rates = np.geomspace(first, last, len(losses))
    return Curve(rates, losses, smooth_losses(losses, len(losses)), len(losses), None)


@pytest.mark.parametrize("steps", [100, 200, 1000])
@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_the_proposal_is_where_a_known_curve_is_steepest(steps: int, noise: float) -> None:
    # A logistic fall of 1 around 1e-3 over a decade and a half, then a rise from 0.1 on.
    place = np.linspace(-7, 1, steps)
    losses = 2.3 - 1 / (1 + np.exp(-(place + 3) / 0.3)) + 20 * np.clip(place + 1, 0, None) ** 2
    losses += np.random.default_rng(0).normal(0, noise, steps)
    finding = propose_rate(curve_of(losses))
    assert finding.proposal is not None
    assert finding.fell is not None
    assert abs(math.log10(finding.proposal) + 3) < 0.3
    assert finding.fell[0] < finding.proposal < finding.fell[1] < 0.2


def test_of_noise_alone_a_rate_is_proposed_but_rarely() -> None:
    rng = np.random.default_rng(1)
    proposals = [propose_rate(curve_of(rng.normal(2.3, 0.1, 200))).proposal for _ in range(50)]
    assert sum(each is not None for each in proposals) <= 3


def test_a_loss_diverges_above_four_times_its_lowest_and_above_its_first() -> None:
    assert is_diverged([2.0] * 30 + [1.0] * 30 + [50.0], 100)
    assert not is_diverged([2.0] * 30 + [1.0] * 30 + [3.0] * 30, 100)
    assert not is_diverged([2.0] * 30 + [0.01] * 30 + [1.0] * 30, 100)  # still better than untrained
    assert is_diverged([2.0, math.nan], 100)
    assert is_diverged([math.inf], 100)


# What is said and left


def test_what_it_found_is_said_with_the_commands_to_use_it(viewfinder: Type, tmp_path: Path) -> None:
    words = ["model=mlp", "model.widths=[32]", "data=digits", "optimizer.lr=0.5", "scheduler=one_cycle"]
    answer = viewfinder("lr-range", *words, f"output_dir={tmp_path / 'out'}", *QUICK)
    assert (answer.code, answer.err) == (0, "")
    folder = only_folder(tmp_path)
    assert folder.name.endswith("_lr_range")
    assert {path.name for path in folder.iterdir()} == FILES
    known = facts(folder)
    assert f"proposed optimizer.lr={known['proposal']:.2g}," in answer.out
    assert "one_cycle is ignored: the range test sets the learning rate" in answer.out
    trained, swept = (shlex.split(line) for line in answer.out.splitlines()[-2:])
    assert trained[:3] == ["viewfinder", "train", "model=mlp"]
    assert trained[-1] == f"optimizer.lr={known['proposal']:.2g}"
    assert "optimizer.lr=0.5" not in trained
    compose_config(trained[2:])
    lower, middle, upper = map(float, swept[-1].removeprefix("optimizer.lr=").split(","))
    assert (swept[2], middle) == ("-m", known["proposal"])
    assert upper / middle == pytest.approx(3, rel=0.05)
    assert middle / lower == pytest.approx(3, rel=0.05)


def test_it_draws_one_bar_of_its_steps_and_none_of_epochs(
    words: list[str], viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    for module in (range_recorder, progress):
        monkeypatch.setattr(module, "tqdm", lambda *_, desc, **__: drawn.append(desc) or MagicMock())
    assert viewfinder("lr-range", *words, "trainer.progress_bar=true", "--steps", "60").code in (0, 2)
    assert drawn == ["range test"]


def test_the_test_ends_where_the_loss_diverges(words: list[str], viewfinder: Type, tmp_path: Path) -> None:
    answer = viewfinder("lr-range", *words, "optimizer=sgd", "--to", "1e6", "--from", "1e-4", "--steps", "100")
    folder = only_folder(tmp_path)
    table, known = rows(folder), facts(folder)
    assert len(table) < 100
    assert np.isfinite(table["loss"]).all()
    step = round(99 * math.log10(known["diverged"] / 1e-4) / 10)
    assert step in (len(table) - 1, len(table))  # the last loss may be no number, which is no row
    assert f"diverged at lr {known['diverged']:.2g}" in answer.out


def test_of_a_loss_that_does_not_fall_nothing_is_proposed(words: list[str], viewfinder: Type, tmp_path: Path) -> None:
    answer = viewfinder("lr-range", *words, "--to", "1e-6", "--steps", "60")
    assert answer.code == 2
    assert "proposed nothing: the loss did not fall" in answer.out
    assert "viewfinder train" not in answer.out
    folder = only_folder(tmp_path)
    assert {path.name for path in folder.iterdir()} == FILES
    assert facts(folder)["proposal"] is None


def refused(answer: Answer, tmp_path: Path, said: str) -> None:
    assert answer.code == 2
    assert said in on_one_line(answer.err)
    assert "Traceback" not in answer.err
    assert list((tmp_path / "out").rglob("*_lr_range*")) == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("--steps 10", "at least 40"),
        ("--from 0", "above 0"),
        ("--from 1e-2 --to 1e-3", "two learning rates above 0"),
        ("--to inf", "two learning rates above 0"),
        ("--to nan", "two learning rates above 0"),
        ("seed=1,2", "takes one value"),
        ("optimizer.lrr=1", "Did you mean optimizer.lr?"),
        ("optimizer.lr=0", "a number above 0"),
        ("~optimizer.lr", "+optimizer.lr=1e-3"),
        ("trainer.devices=2", "a single process"),
        ("data.root=nowhere", "data.root"),
    ],
)
def test_what_cannot_be_tested_is_refused_and_leaves_nothing(
    words: list[str], viewfinder: Type, tmp_path: Path, typed: str, said: str
) -> None:
    refused(viewfinder("lr-range", *words, *typed.split()), tmp_path, said)


def test_a_network_of_ones_own_whose_loss_is_no_number_at_once_is_told_so(
    words: list[str], viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "lost.yaml").write_text("_target_: lost_network.Lost\nimage_size: 8\n")
    (tmp_path / "lost_network.py").write_text(
        "from viewfinder.models.mlp import MLP\n\n\n"
        "class Lost(MLP):\n"
        "    def forward(self, pixels):\n"
        "        return super().forward(pixels) / 0 * 0\n"
    )
    monkeypatch.chdir(tmp_path)
    answer = viewfinder("lr-range", "model=lost", *words[2:])
    refused(answer, tmp_path, "is nan at the first step")


def test_ctrl_c_ends_it_with_130_and_leaves_nothing(
    words: list[str], viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(losses: list[float], planned: int) -> bool:
        if len(losses) == 7:
            signal.raise_signal(signal.SIGINT)
        return False

    monkeypatch.setattr(range_recorder, "is_diverged", interrupt)
    answer = viewfinder("lr-range", *words)
    assert (answer.code, answer.err) == (130, "")
    assert "stopped by SIGINT after 7 of 200 steps; nothing is saved" in answer.out
    assert list((tmp_path / "out").rglob("*_lr_range*")) == []
