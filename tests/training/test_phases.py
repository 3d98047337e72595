"""Training in phases: exactly the parts that a phase names are trained, as a plain loop over the phases trains them."""

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Page, Train, Type
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_loop import Batches
from torch import nn

from viewfinder.config.overrides import compose_config
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.seeding import seed_everything
from viewfinder.experiment.build import build_classifier, build_network, open_data
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.transfer import Transferable
from viewfinder.reporting.charts.curves import draw_curves
from viewfinder.runs.folder import RunFolder
from viewfinder.training.phases import Phases

TWO = ["phases=fine_tune", "phases.head.epochs=1", "trainer.max_epochs=3"]
SMALL = ["model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]"]
HALVED = "phases.fine_tune.layer_decay=0.5"
STILL = ["model.block_dropout=0", "model.dropout=0"]


def phases_of(network: Transferable, **phase: Any) -> Phases:
    return Phases({"only": {"epochs": None, "lr": 1.0, "layer_decay": 1.0, **phase}}, network, 5, None)


@pytest.mark.parametrize(
    ("train", "trained"),
    [
        ("all", ["features.0", "features.1", "head.1", "head.2"]),
        ("head", ["head.2"]),
        (1, ["head.1", "head.2"]),
        (2, ["features.1", "head.1", "head.2"]),
        (["features.0", "head"], ["features.0", "head.2"]),
        ("features", ["features.0", "features.1"]),
        (["features.0.2"], ["features.0.2"]),
    ],
)
def test_a_phase_moves_weights_and_statistics_of_the_parts_it_names_and_no_others(
    train: Any, trained: list[str]
) -> None:
    torch.manual_seed(0)
    network = CustomCNN(3, 4, image_size=8, widths=[4, 8], hidden=[16])
    groups = phases_of(network, train=train).enter(0)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.Adam(groups, weight_decay=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(torch.rand(8, 3, 8, 8)), torch.arange(8) % 4).backward()
        optimizer.step()
    moved = [name for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    assert moved == [name for name in before if any(name.startswith(f"{part}.") for part in trained)]
    # Dropout too is part of a block.
    dropping = {name for name, each in network.named_modules() if isinstance(each, nn.Dropout) and each.training}
    assert dropping == {
        name
        for name, each in network.named_modules()
        if isinstance(each, nn.Dropout) and any(name.startswith(f"{part}.") for part in trained)
    }


def test_each_blocks_learning_rate_decays_with_its_distance_from_the_head() -> None:
    network = CustomCNN(3, 4, image_size=8, widths=[4, 8], hidden=[16])
    groups = phases_of(network, train="all", lr=0.8, layer_decay=0.5).enter(0)
    assert [group["lr"] for group in groups] == [0.8, 0.4, 0.2, 0.1]
    parts = [network.head[2], network.head[1], network.features[1], network.features[0]]
    for group, part in zip(groups, parts, strict=True):
        assert {id(p) for p in group["params"]} == {id(p) for p in part.parameters()}


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_training_in_phases_is_a_plain_loop_that_keeps_the_optimizers_state(
    optimizer: str, train: Train, tiny: list[str], tmp_path: Path
) -> None:
    """Against torch's optimizers, made anew for each phase, with what they know of the parameters of the one before."""
    own = ["phases.fine_tune.train=1", "phases.fine_tune.lr=0.003", f"optimizer={optimizer}", "optimizer.lr=0.01"]
    own += ["optimizer.eps=1e-3", "optimizer.fused=false"] if optimizer == "adam" else []
    run = train(tmp_path / "run", *SMALL, *STILL, *TWO, *own, "model.cache_features=false")
    cfg = compose_config([*tiny, *SMALL, *STILL, *own[2:]])
    data = open_data(cfg)
    seed_everything(cfg.seed, "weights")
    network = build_network(cfg, data.in_channels, len(data.class_names))
    data.load(get_preprocess(network))
    classifier = build_classifier(cfg, network, data.summarise()["class_counts"])
    head, block = network.get_submodule("head.2"), network.get_submodule("head.1")
    batches, state, make = Batches(data, SimpleTrainer()), {}, {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}
    settings = {"adam": {"eps": 1e-3}, "sgd": {"momentum": 0.9, "weight_decay": 5e-4, "nesterov": True}}[optimizer]
    for epoch in range(3):
        if epoch < 2:  # where phases begin
            network.requires_grad_(False).eval()
            trained: list[nn.Module] = [head] if epoch == 0 else [head, block]
            for part in trained:
                part.train().requires_grad_(True)
            parameters = [p for part in trained for p in part.parameters()]
            step = make[optimizer](parameters, lr=(0.01, 0.003)[epoch], **settings)
            step.state.update({p: state[p] for p in parameters if p in state})
        batches.trainer.current_epoch = epoch
        for batch in batches:
            step.zero_grad()
            classifier.loss(classifier(batch.pixels), batch.labels).backward()
            step.step()
        state = step.state
    found = torch.load(run.last, weights_only=True)["state_dict"]
    for name, value in network.state_dict().items():
        torch.testing.assert_close(found[f"network.{name}"], value, atol=1e-6, rtol=1e-4)


class SimpleTrainer:
    current_epoch = 0


def features_of(run: RunFolder) -> int:
    """Of how many pictures they were used."""
    found = run.read_run()["features"]
    return found["computed"] + found["found"]


def test_kept_features_train_the_head_as_pictures_do_until_its_phase_ends(train: Train, tmp_path: Path) -> None:
    words = [*SMALL, *TWO, "phases.head.epochs=2", "augment=none"]
    cached, plain = train(tmp_path / "cached", *words), train(tmp_path / "plain", *words, "model.cache_features=false")
    assert features_of(cached) == 36  # 30 training and 6 validation pictures, none of test
    assert plain.read_run()["features"] is None
    ours, theirs = (pd.read_csv(run.metrics) for run in (cached, plain))
    pd.testing.assert_frame_equal(ours, theirs, rtol=0, atol=1e-5)
    assert ours["train/loss"][2] != ours["train/loss"][1]


def test_with_augmentation_the_head_is_trained_on_pictures(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", *SMALL, *TWO, "augment=basic", "augment.padding=1")
    assert run.read_run()["features"] is None
    assert "features are not cached: augment (Basic) changes the images every epoch" in run.log.read_text()


def test_a_backbone_that_was_trained_and_is_frozen_again_is_trained_on_pictures(train: Train, tmp_path: Path) -> None:
    words = [*SMALL, *TWO, "phases.head.train=all", "phases.fine_tune.train=head"]
    run = train(tmp_path / "run", *words)
    assert run.read_run()["features"] is None
    # The first phase is a training without phases, and after it the backbone is left alone.
    first = train(tmp_path / "first", *SMALL, "trainer.max_epochs=1")
    ours, theirs = (torch.load(each.last, weights_only=True)["state_dict"] for each in (run, first))
    assert [name for name in theirs if not torch.equal(ours[name], theirs[name])] == [
        "network.head.2.weight", "network.head.2.bias"
    ]  # fmt: skip


def test_phases_that_train_the_head_alone_are_scored_on_features_too(
    train: Train, tmp_path: Path, viewfinder: Type
) -> None:
    run = train(tmp_path / "run", *SMALL, *TWO, "phases.fine_tune.train=head")
    assert features_of(run) == 51
    assert "Equal to scores.json" in viewfinder("evaluate", run.path).out


def test_a_schedule_begins_anew_with_each_phase_and_the_rates_are_the_phases(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", *SMALL, *TWO, "scheduler=cosine", "phases.fine_tune.lr=0.002", "optimizer.lr=0.1")
    steps = -(-30 // 8)
    last = {0: 1 / steps, 2: 1 / (2 * steps)}  # left of each cosine when its last step begins
    rates = pd.read_csv(run.metrics)["lr"]
    for epoch, rate in ((0, 0.1), (2, 0.002)):
        assert rates[epoch] == pytest.approx(rate / 2 * (1 - np.cos(np.pi * last[epoch])), rel=1e-4)


def test_early_stopping_counts_in_the_last_phase_alone_and_is_said(
    train: Train, tmp_path: Path, viewfinder: Type
) -> None:
    words = [*SMALL, "phases=fine_tune", "phases.head.epochs=4", "phases.head.lr=1e-12", "phases.fine_tune.lr=1e-12"]
    run = train(tmp_path / "run", *words, "trainer.early_stopping_patience=2", "trainer.max_epochs=12")
    # Nothing ever gets better: of the last phase its first epoch is the best, and two more are waited for.
    assert len(pd.read_csv(run.metrics)) == 4 + 3
    said = [line.partition("  ")[2] for line in run.log.read_text().splitlines()]
    epochs = [place for place, line in enumerate(said) if line.startswith("epoch")]
    assert said[epochs[-1] + 1] == "stopped  early: no better val/accuracy for 2 epochs of the last phase"
    # The way to more epochs is one that can be gone.
    for words in ([], ["trainer.max_epochs=24"]):
        answer = " ".join(viewfinder("resume", run.path, *words).err.split())
        assert "early stopping ended the run after epoch 7" in answer
        assert answer.endswith("a new run with a larger trainer.early_stopping_patience, or null.")
        assert "viewfinder resume" not in answer


def test_a_run_in_phases_can_be_extended_in_its_last(train: Train, tmp_path: Path, viewfinder: Type) -> None:
    longer = train(tmp_path / "longer", *SMALL, *TWO, "trainer.max_epochs=4")
    run = train(tmp_path / "run", *SMALL, *TWO)
    used = features_of(run)
    assert viewfinder("resume", run.path, "trainer.max_epochs=1").code == 2
    assert viewfinder("resume", run.path, "trainer.max_epochs=4").code == 0
    assert run.metrics.read_bytes() == longer.metrics.read_bytes()
    assert features_of(run) == used > 0


# What a person sees


def test_terminal_report_and_tensorboard_say_what_each_phase_trains(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", *SMALL, *TWO, "phases.fine_tune.layer_decay=0.5")
    said = [line.partition("  ")[2] for line in run.log.read_text().splitlines()]  # after the time
    lines = [line for line in said if line.startswith(("phase", "epoch"))]
    assert [line.split()[0] for line in lines] == ["phase", "epoch", "phase", "epoch", "epoch"]
    trained = sum(p.numel() for p in CustomCNN(3, 3, 8, [4, 8], hidden=[16]).parameters())
    head = "phase    head (epoch 1): trains head, 51 parameters, lr 0.001"
    rest = f"phase    fine_tune (epochs 2 to 3): trains all, {trained:,} parameters, lr 0.0001, times 0.5 per block"
    blocks = re.findall(r"^phase .*(?:\n {9}.*)*", "\n".join(said), flags=re.M)
    assert [re.sub(r"\n +", " ", block) for block in blocks] == [head, rest]
    assert max(len(line) for line in said if str(tmp_path.parent.parent) not in line) <= 80  # but for places
    page = " ".join(" ".join(Page(run.report.read_text(encoding="utf-8")).text).split())
    for line in (head, rest):
        assert " ".join(line.split()) in page
    assert f"{trained:,} trained in phases;" in page
    assert "         random weights, frozen in phase head (model.weights=null)" in said
    events = EventAccumulator(str(run.path))
    events.Reload()
    texts = events.Tensors("phases/text_summary")
    assert [(each.step, each.tensor_proto.string_val[0].decode()) for each in texts] == [
        (1, head.removeprefix("phase    ")), (2, rest.removeprefix("phase    "))
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("train", "said"),
    [(1, "head and the last block"), (2, "head and the last 2 blocks"), (["head", "features"], "head, features")],
)
def test_a_phase_says_what_it_trains(train: Any, said: str) -> None:
    network = CustomCNN(3, 4, image_size=8, widths=[4, 8], hidden=[16])
    assert phases_of(network, train=train).describe(0).startswith(f"only (epochs 1 to 5): trains {said}, ")


def test_a_name_that_would_steer_a_terminal_is_spelt_out() -> None:
    phases = Phases({"a\x1b[31m": {"train": "head", "lr": 1.0}}, CustomCNN(3, 4, image_size=16), 1, None)
    assert phases.describe(0).startswith("a\\x1b[31m (epoch 1)")


@pytest.mark.parametrize(
    ("phases", "is_upright"),
    [
        ({"head": 1, "fine_tune": 3}, False),
        ({"head": 1, "$x_y$": 4, "日\x1b" + 30 * "a": 5}, True),
        (
            {name: 1 + place for place, name in enumerate(["head", "one", "two", "three", "blocks", "all", 30 * "a"])},
            True,
        ),
    ],
)
def test_curves_have_a_line_between_two_phases_and_their_names_above_clear_of_each_other_and_of_all_else(
    phases: dict[str, int], is_upright: bool
) -> None:
    columns = ["train/loss", "val/loss", "train/accuracy", "val/accuracy"]
    metrics = pd.DataFrame({"epoch": range(1, 8), **{name: np.linspace(0.9, 0.1, 7) for name in columns}})
    figure = draw_curves(metrics, 5, phases)
    figure.savefig(io.BytesIO())
    shown = [name.replace("日\x1b", "□\\x1b") for name in phases]
    boxes = []
    for axes in figure.axes:
        lines = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]  # type: ignore[index]
        assert lines == [first - 0.5 for first in [*phases.values()][1:]]
        (above,) = axes.child_axes
        names = above.get_xticklabels()
        assert [text.get_text() for text in names] == [name if len(name) < 25 else f"{name[:23]}…" for name in shown]
        assert not any(text.get_parse_math() for text in names)
        assert {text.get_rotation() for text in names} == {90.0 if is_upright else 0.0}
        boxes += [text.get_window_extent() for text in [*names, axes.title]] + [axes.get_window_extent()]
    for place, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:place])
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1


def test_torchvisions_own_names_of_parts_are_accepted() -> None:
    with torch.device("meta"):
        network = Pretrained(3, 7, "resnet18", None)
    assert phases_of(network, train=["head", "layer4"]).parts == {"only": ["head", "backbone.layer4"]}
