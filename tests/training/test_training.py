"""Training by every shipped YAML, frozen networks, sweeps, two processes, and what TensorBoard serves of it all."""

import contextlib
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUICK, ROOT, Train, Type, on_one_line, train_into
from new_process import run_scripts
from ranks import run_ranks

from viewfinder.config.overrides import compose_config, find_conf
from viewfinder.experiment.load import open_run
from viewfinder.experiment.run import run_experiment
from viewfinder.models.mlp import MLP
from viewfinder.runs.folder import RunFolder

SHIPPED = sorted(f"{path.parent.name}={path.stem}" for path in find_conf().glob("*/*.yaml"))
PICTURES = "data=image_folder data.root=PICTURES data.batch_size=4"
SHORT = "trainer.max_epochs=1 trainer.limit_batches=1 trainer.progress_bar=false"
RANDOM = "model.weights=null trainer.precision=32-true trainer.threads=1"
TWO = "phases.head.epochs=1 trainer.max_epochs=2"
SIDES = {
    "alexnet": 63, "vgg16": 32, "mobilenet_v3_large": 32, "densenet121": 32, "efficientnet_b0": 32, "vit_b_16": 32,
    "convnext_tiny": 32, "swin_t": 32, "inception_v3": "75 model.freeze=false",
}  # fmt: skip
"""Pixels that a pre-trained family is content with; without its batch norm, inception_v3 of random weights explodes."""
SMALL_SWEPT = "trainer.threads=1 trainer.precision=32-true model.image_size=16"
ABLATIONS = {
    "ablation_hidden_units": "model.widths=[32]",
    "ablation_depth": "model.widths=[32]",
    "ablation_kernel_size": "model.kernel_size=1",
    "ablation_pooling": "model.pooling=stride",
    "ablation_padding": "model.padding=valid",
    "ablation_batch_norm": "model.batch_norm=false",
    "ablation_dropout": "model.block_dropout=0.0 model.dropout=0.0",
    "ablation_data": "data.train_fraction=0.5",
    "ablation_head_depth": "model.hidden=[]",
}
"""Experiments that are sweeps -> one of their values."""
WITH = {
    "model=mlp": PICTURES,
    "model=simple_cnn": PICTURES,
    "model=custom_cnn": PICTURES,
    "model=resnet50": f"{PICTURES} model.weights=WEIGHTS model.image_size=32",
    **{f"model={name}": f"{PICTURES} {RANDOM} model.image_size={side}" for name, side in SIDES.items()},
    "model=airbench": f"{PICTURES} model.image_size=9 model.widths=[4,4,4]",
    "model=resnet18_cifar": f"{PICTURES} model.image_size=8 model.blocks=[1,1,1,1]",
    "model=vit": f"{PICTURES} model.image_size=8 model.width=12 model.depth=1",
    "model=convmixer": f"{PICTURES} model.image_size=8 model.width=8 model.depth=1",
    "model=timm": f"{PICTURES} {RANDOM} model.name=resnet10t model.image_size=32",
    "data=image_folder": PICTURES,
    "data=csv": "data.path=MANIFEST data.batch_size=4",
    "data=digits": "data.limit=64",
    "experiment=quickstart": "data.limit=64",
    **{f"experiment={name}": PICTURES for name in ("simple_cnn", "custom_cnn")},
    "experiment=resnet50": f"{PICTURES} model.weights=WEIGHTS model.image_size=32",
    **{f"phases={name}": f"{PICTURES} {TWO}" for name in ("fine_tune", "transfer")},
    "experiment=mlp_against_cnn": f"{PICTURES} model=mlp",
    **{f"experiment={name}": f"{PICTURES} {SMALL_SWEPT} {value}" for name, value in ABLATIONS.items()},
    "experiment=transfer": f"{PICTURES} {TWO} model.weights=null",
    "experiment=record": f"{PICTURES} model.image_size=9 model.widths=[4,4,4]",
    "experiment=fast": f"{PICTURES} model.image_size=9 model.widths=[4,4,4]",
    "experiment=best": f"{PICTURES} model.image_size=8 model.blocks=[1,1,1,1]",
}
"""Choice -> settings to train it with; by default PICTURES, and for a data source nothing."""
SEVERAL = {f"augment={path.stem}" for path in find_conf().glob("augment/*.yaml")} - {"augment=none", "augment=basic"}
ELSEWHERE = SEVERAL | {
    "data=cifar10", "data=torchvision", "data=huggingface", "trainer=ddp", "logger=mlflow", "logger=wandb",
}  # fmt: skip
"""Sources with files of their own are trained in the tests of the data, two processes below, trackers elsewhere.

Augmentations train together, in tests/experiment/test_augmented_runs.py.
"""

# Every YAML


@pytest.mark.usefixtures("quick_random_weights")
@pytest.mark.parametrize("choice", [choice for choice in SHIPPED if choice not in ELSEWHERE])
def test_every_shipped_choice_trains(
    choice: str, pictures: Path, manifest: Path, resnet_weights: Path, tmp_path: Path
) -> None:
    if choice == "trainer=gpu" and not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    default = "" if choice.startswith("data=") else PICTURES
    words = f"{SHORT} {WITH.get(choice, default)} {choice}".split()
    for name, path in (("PICTURES", pictures), ("MANIFEST", manifest), ("WEIGHTS", resnet_weights)):
        words = [word.replace(name, str(path)) for word in words]
    run = train_into(tmp_path / "run", *words)
    assert run.read_run()["status"] == "finished"
    row = pd.read_csv(run.metrics).iloc[0]
    assert np.isfinite(row).all()
    # Of K classes, an untrained network's cross entropy is near log K; a step of any optimizer leaves it finite.
    assert 0 < row["train/loss"] < 20


# Frozen networks


def test_an_epoch_with_a_frozen_resnet50_moves_its_head_alone(
    pictures: Path, resnet_weights: Path, tmp_path: Path
) -> None:
    data = ["data=image_folder", f"data.root={pictures}", "data.batch_size=6"]
    model = ["model=resnet50", f"model.weights={resnet_weights}", "model.image_size=32"]
    run = train_into(tmp_path / "run", *data, *model, *QUICK, "trainer.max_epochs=1")
    before = torch.load(resnet_weights, weights_only=True)
    after = torch.load(run.last, weights_only=True)["state_dict"]
    frozen = {name: value for name, value in after.items() if name.startswith("network.backbone.")}
    assert len(frozen) == len(before) - 2  # all but torchvision's own head of 1,000 classes
    for name, value in frozen.items():
        assert torch.equal(value, before[name.removeprefix("network.backbone.")]), name
    head = {name: value for name, value in after.items() if name.startswith("network.head.")}
    assert sorted(head) == ["network.head.1.bias", "network.head.1.weight"]
    # PyTorch starts a linear layer of 2,048 inputs within 1 / sqrt(2048); Adam's first steps of 1e-3 leave that range.
    assert head["network.head.1.weight"].abs().max() > 1 / 2048**0.5


def test_a_picture_has_the_same_logits_in_the_validation_and_the_test_split(
    pictures: Path, resnet_weights: Path, tmp_path: Path
) -> None:
    root = tmp_path / "in"
    for split in ("train", "val"):
        shutil.copytree(pictures / split, root / split)
    shutil.copytree(pictures / "val", root / "test")
    data = ["data=image_folder", f"data.root={root}", "data.batch_size=6"]
    model = ["model=resnet50", f"model.weights={resnet_weights}", "model.image_size=32"]
    run = train_into(tmp_path / "run", *data, *model, *QUICK, "trainer.max_epochs=1")
    scores = run.read_scores()["best"]
    assert scores["val"] == scores["test"]
    opened = open_run(run.path, (), "best")
    logits = [opened.logits(opened.open_data(split).images[split].pixels) for split in ("val", "test")]
    assert torch.equal(*logits)


# What is typed


def test_a_loss_that_is_no_number_fails_the_run(tiny: list[str], tmp_path: Path, viewfinder: Type) -> None:
    answer = viewfinder("train", "model=mlp", *tiny, "optimizer.lr=1e30", f"run_dir={tmp_path / 'run'}")
    assert answer.code == 2
    assert "train/loss" in answer.err
    assert "smaller optimizer.lr" in on_one_line(answer.err)
    assert "Traceback" not in answer.err
    facts = RunFolder.open(tmp_path / "run").read_run()
    assert facts["status"] == "failed"
    assert "train/loss" in (tmp_path / "run" / "train.log").read_text(encoding="utf-8")


def test_overrides_and_options_come_in_any_order(tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "conf" / "model" / "mine.yaml").write_text((find_conf() / "model" / "mlp.yaml").read_text())
    lines = ["--cfg", "job", "model=mine", "seed=3"], ["model=mine", "--cfg", "job", "seed=3", "name=a b"]
    for answer in run_scripts([[ROOT / "train.py", *words] for words in lines], tmp_path):
        assert (answer.code, answer.err) == (0, "")
        assert "seed: 3" in answer.out
        assert "viewfinder.models.mlp.MLP" in answer.out


# Two processes


@pytest.mark.slow
@pytest.mark.parametrize(
    "phases",
    [
        [],
        ["phases=fine_tune", "phases.head.epochs=1", "phases.fine_tune.lr=0.01"],
        [
            "phases=fine_tune",
            "phases.head.epochs=1",
            "phases.head.train=[head.1.weight]",
            "phases.fine_tune.train=head",
        ],
    ],
)
def test_two_processes_train_as_one_does_with_their_batches_together(
    train: Train, pictures: Path, tmp_path: Path, phases: list[str]
) -> None:
    epochs = 2 + bool(phases)
    settings = [f"trainer.max_epochs={epochs}", "optimizer=sgd", "optimizer.lr=0.01", "data.limit=24", *phases]
    one = train(tmp_path / "one", "data.batch_size=8", *settings)
    typed = ["model.image_size=8", "data=image_folder", f"data.root={pictures}", "data.batch_size=4", *settings]
    typed += ["trainer=ddp", "trainer.accelerator=cpu", f"run_dir={tmp_path / 'two'}"]
    if phases:  # in forks of this process, since the command starts two new ones
        ranks = run_ranks(lambda _: run_experiment(compose_config(typed)).status, tmp_path)
        assert [(rank.code, rank.result) for rank in ranks] == [(0, "finished")] * 2, ranks[0].output
        output = ranks[0].output
    else:
        script = [sys.executable, ROOT / "train.py", *typed]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")
        output = done.stdout
    assert len([line for line in output.splitlines() if line.startswith("epoch ")]) == epochs
    two = RunFolder.open(tmp_path / "two")
    # Two batches of 4 whose gradients are averaged are one batch of 8: the order is the same, and so are the weights.
    ours, theirs = (torch.load(run.last, weights_only=True)["state_dict"] for run in (two, one))
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, atol=1e-6, rtol=1e-5)
    pd.testing.assert_frame_equal(pd.read_csv(two.metrics), pd.read_csv(one.metrics), rtol=1e-4)
    pd.testing.assert_frame_equal(pd.read_csv(two.predictions), pd.read_csv(one.predictions), rtol=1e-4)
    assert two.metadata.read_bytes() == one.metadata.read_bytes()
    assert two.sprite.read_bytes() == one.sprite.read_bytes()


# TensorBoard, over HTTP

Ask = Callable[..., Any]


@contextlib.contextmanager
def tensorboard(folder: Path) -> Iterator[Ask]:
    """Asks a TensorBoard that serves a folder: ask("scalars/tags"), or with a JSON body."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder), "--host", "127.0.0.1",
         "--port", str(port), "--load_fast", "false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def ask(path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/data/{path}", data)
        request.add_header("Content-Type", "application/json")
        with urllib.request.urlopen(request, timeout=600) as answer:
            content = answer.read()
        return content if path.startswith("plugin/images/individual") else json.loads(content)

    count = len(list(folder.rglob("events.out.tfevents.*")))
    try:
        for _ in range(6000):
            try:
                tags = ask("plugin/scalars/tags")
                if len(tags) == count and all("best/val_loss" in each for each in tags.values()):
                    break
            except (urllib.error.URLError, ConnectionError):
                assert server.poll() is None
            time.sleep(0.1)
        else:
            raise AssertionError(f"TensorBoard does not show {count} runs")
        yield ask
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="module")
def board(finished: RunFolder) -> Iterator[Ask]:
    """A TensorBoard that serves the finished run."""
    with tensorboard(finished.path.parent) as ask:
        yield ask


def test_tensorboard_serves_each_epoch_of_each_metric(board: Ask, finished: RunFolder) -> None:
    (run,) = board("runs")
    tags = board("plugin/scalars/tags")[run]
    rows = pd.read_csv(finished.metrics)
    assert set(rows.columns) - {"epoch"} <= set(tags)
    for name in set(rows.columns) - {"epoch"}:
        points = board(f"plugin/scalars/scalars?run={run}&tag={name}")
        assert [step for _, step, _ in points] == [1, 2, 3]
        np.testing.assert_allclose([value for _, _, value in points], rows[name], rtol=1e-6)


def test_tensorboard_draws_training_and_validation_in_one_chart(board: Ask) -> None:
    layout = board("plugin/custom_scalars/layout")
    charts = {
        chart["title"]: chart["multiline"]["tag"] for category in layout["category"] for chart in category["chart"]
    }
    assert charts["loss"] == ["train/loss", "val/loss"]
    assert charts["accuracy"] == ["train/accuracy", "val/accuracy"]


def test_tensorboard_shows_the_confusion_matrix_and_sample_pictures(board: Ask) -> None:
    (run,) = board("runs")
    tags = board("plugin/images/tags")[run]
    for wanted in ("confusion", "pictures"):
        (tag,) = [tag for tag in tags if re.search(rf"val.*{wanted}", tag)]
        first = board(f"plugin/images/images?run={run}&tag={tag}&sample=0")[0]
        assert board(f"plugin/images/individualImage?{first['query']}").startswith(b"\x89PNG")


class Untraceable(MLP):
    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        if torch.jit.is_tracing():
            raise TypeError("a graph cannot hold what I do\nat all")
        return super().forward(pictures)


def test_a_network_that_cannot_be_traced_is_trained_and_its_missing_graph_is_said(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = compose_config([*tiny, "model=mlp", "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"])
    cfg.model._target_ = "test_training.Untraceable"
    run_experiment(cfg)
    said = " ".join(capsys.readouterr().out.split())
    assert "graph not written to TensorBoard: the network cannot be traced: a graph cannot hold what I do" in said
    assert "at all" not in said


def test_tensorboard_has_the_graph(board: Ask) -> None:
    (run,) = board("runs")
    with pytest.raises(json.JSONDecodeError):  # the graph itself comes as text of a protocol buffer
        board(f"plugin/graphs/graph?run={run}")


def test_tensorboard_shows_settings_beside_final_scores(board: Ask, finished: RunFolder) -> None:
    infos, (group,) = hparams_tab(board)
    assert {"model", "optimizer.lr", "seed"} <= set(infos)
    assert group["hparams"]["optimizer.lr"] == 0.001
    shown = {each["name"]["tag"]: each["value"] for each in group["metricValues"]}
    best = finished.read_scores()["best"]
    for split in ("val", "test"):
        for name in ("accuracy", "loss", "f1"):
            assert shown[f"best/{split}_{name}"] == pytest.approx(best[split][name], rel=1e-6)


def hparams_tab(board: Ask, *columns: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Its columns by name, in order, and its rows: those of runs that have succeeded."""
    experiment = board("plugin/hparams/experiment", {"experimentName": ""})
    wanted = {
        "experimentName": "", "startIndex": 0, "sliceSize": 100, "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": columns,
    }  # fmt: skip
    rows = board("plugin/hparams/session_groups", wanted)["sessionGroups"]
    metrics = {info["name"]["tag"]: info for info in experiment["metricInfos"]}
    return {info["name"]: info for info in experiment["hparamInfos"]} | metrics, rows


def test_tensorboard_has_a_column_for_each_key_that_any_run_of_a_sweep_has(
    finished: RunFolder, seeds: Path, tmp_path: Path
) -> None:
    shutil.copytree(seeds, tmp_path / "runs")
    shutil.copytree(finished.path, tmp_path / "runs" / "cnn")
    with tensorboard(tmp_path / "runs") as ask:
        by_rate = {"hparam": "optimizer.lr", "order": "ORDER_ASC"}
        infos, rows = hparams_tab(ask, by_rate)
    assert {"model.widths", "model.width"} <= set(infos)  # of the MLPs, and of the CNN
    assert {"model", "optimizer.lr", "seed", "augment", "trainer.max_epochs"} >= set(list(infos)[:4])
    assert infos["optimizer.lr"]["type"] == "DATA_TYPE_FLOAT64"
    assert infos["optimizer.lr"]["domainInterval"] == {"minValue": 0.0001, "maxValue": 0.01}
    assert "trainer.progress_bar" not in infos
    assert [row["hparams"]["optimizer.lr"] for row in rows] == [0.0001] * 3 + [0.001] + [0.01] * 3
    for row in rows:
        assert {f"best/{split}_accuracy" for split in ("val", "test")} <= {
            m["name"]["tag"] for m in row["metricValues"]
        }
    assert next(name for name in infos if "/" in name) == "best/test_accuracy"
