"""Several processes train as one does, with one run folder, and end together."""

import os
import signal
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
import torch.distributed
from conftest import QUICK, assert_same_run, on_one_line, train_into
from ranks import Variables, run_ranks, srun_variables, torchrun_variables
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from viewfinder.config.overrides import compose_config
from viewfinder.data import storage
from viewfinder.data.module import ImageData
from viewfinder.errors import FAILED, Problem, UserError
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.runs import peers
from viewfinder.runs.folder import RunFolder
from viewfinder.training.sync_batch_norm import SyncLayers

THREE = ["optimizer.lr=0.001", "trainer.max_epochs=3"]
TWO = ["trainer.devices=2"]


@pytest.fixture
def start(tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Function that trains in two ranks on two cores: start(folder, "key=value", ...)."""
    monkeypatch.setattr(storage, "count_cores", lambda: 2)
    monkeypatch.setattr("viewfinder.training.hardware.count_cores", lambda: 2)

    def run(
        folder: Path, *words: str, act: Callable[[int], Any] = lambda rank: None, base: Sequence[str] = tiny,
        **options: Any,
    ) -> Any:  # fmt: skip
        def train(rank: int) -> str:
            act(rank)
            typed = [*base, *TWO, f"run_dir={folder}", *words]
            return str(run_experiment(compose_config(typed), overrides=typed).path)

        return run_ranks(train, tmp_path, **options)

    return run


@pytest.mark.parametrize(
    "words",
    [
        ["data.batch_size=4"],
        ["data.batch_size=4", "loss.class_weights=[1,2,5]", "trainer.accumulate_grad_batches=2"],
        ["data.batch_size=6", "seed=3", "optimizer=sgd", "model=custom_cnn", "model.widths=[4,8]", "model.hidden=[8]",
         "model.dropout=0", "model.block_dropout=0",
         "model.image_size=8", "trainer.sync_batchnorm=true"],
        pytest.param(
            ["data.batch_size=6", "optimizer=sgd", "model=airbench", "model.widths=[4]", "model.image_size=8",
             "model.whitening_eps=0.01", "trainer.sync_batchnorm=true", "tta=mirror"],
            marks=pytest.mark.slow,
        ),
    ],
    ids=["simple_cnn", "class weights", "batch norm", "whitening and views"],
)  # fmt: skip
def test_two_processes_train_as_one_does_where_batches_do_not_divide(
    start: Callable[..., Any], tiny: list[str], tmp_path: Path, words: list[str]
) -> None:
    size, *others = words
    settings = [*others, *THREE]
    for rank in start(tmp_path / "two", *settings, size):
        assert rank.code == 0, rank.output
    double = f"data.batch_size={2 * int(size.partition('=')[2])}"
    one, two = train_into(tmp_path / "one", *tiny, *settings, double), RunFolder.open(tmp_path / "two")
    ours, theirs = two.read_metrics(), one.read_metrics()
    np.testing.assert_allclose(ours, theirs, atol=1e-4)
    assert len(ours) == 3
    best, last = (torch.load(run.last, weights_only=True)["state_dict"] for run in (one, two))
    for name, value in best.items():
        torch.testing.assert_close(last[name], value, atol=1e-4, rtol=1e-3)
    assert two.read_run()["status"] == "finished"


def test_every_image_is_counted_once_and_processes_may_have_different_numbers_of_batches(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageData, "chunk_size", 1)
    words = ["data=digits", "data.limit=33", "data.batch_size=4", "model=custom_cnn", "model.widths=[4]", *QUICK]
    for rank in start(tmp_path / "run", "model.hidden=[8]", "trainer.max_epochs=1", base=words):
        assert rank.code == 0, rank.output
    run = RunFolder.open(tmp_path / "run")
    scores, table = run.read_scores()["best"]["test"], pd.read_csv(run.predictions)
    assert (len(table), np.sum(scores["confusion"])) == (33, 33)
    classes = run.read_data()["class_names"]
    true, predicted = (table[column].astype(str) for column in ("true", "predicted"))
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(true, predicted), abs=1e-6)
    options = {"labels": classes, "average": "macro", "zero_division": 0}
    assert scores["f1"] == pytest.approx(sklearn.metrics.f1_score(true, predicted, **options), abs=1e-6)
    p = table[[f"p_{name}" for name in classes]].to_numpy()
    index = [classes.index(name) for name in true]
    assert scores["loss"] == pytest.approx(-np.log(p[np.arange(33), index]).mean(), abs=1e-4)


@pytest.mark.parametrize(
    ("variables", "delays"), [(torchrun_variables, (0.0, 1.0)), (srun_variables, (1.0, 0.0))], ids=["torchrun", "srun"]
)
def test_processes_that_start_a_second_apart_share_one_folder_and_the_images_of_the_first(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variables: Variables,
    delays: tuple[float, float],
) -> None:  # fmt: skip
    decode = storage.decode_all

    def count(*args: Any) -> Any:
        (tmp_path / f"decoded-{os.getpid()}").touch()
        return decode(*args)

    monkeypatch.setattr(storage, "decode_all", count)
    words = ["run_dir=null", f"output_dir={tmp_path / 'outputs'}", "trainer.max_epochs=1"]
    first, second = start(tmp_path, *words, delays=delays, variables=variables)
    assert (first.code, second.code) == (0, 0), first.output + second.output
    (folder,) = (tmp_path / "outputs").glob("*/*")
    assert first.result == second.result == str(folder)
    assert len(list(tmp_path.glob("decoded-*"))) == 1
    assert (second.output, RunFolder.open(folder).status) == ("", "finished")


def kill_at(step: int, doomed: int) -> Callable[[int], None]:
    """Return a function that kills its process after an optimizer step if it has a number."""

    def act(rank: int) -> None:
        seen: Counter[str] = Counter()

        def count(*_: Any) -> None:
            seen["steps"] += 1
            if rank == doomed and seen["steps"] == step:
                os.kill(os.getpid(), signal.SIGKILL)

        register_optimizer_step_post_hook(count)

    return act


@pytest.mark.slow
@pytest.mark.parametrize("doomed", [0, 1])
def test_when_a_process_is_killed_all_end_and_the_resumed_run_is_bit_identical(
    start: Callable[..., Any], tmp_path: Path, doomed: int
) -> None:
    words = ["data.batch_size=4", "augment=basic", "augment.padding=1", "trainer.max_epochs=3"]
    ends = start(tmp_path / "run", *words, act=kill_at(6, doomed))
    codes = [-signal.SIGKILL if rank == doomed else FAILED for rank in (0, 1)]
    assert [end.code for end in ends] == codes, ends[1 - doomed].output
    assert abs(ends[0].seconds - ends[1].seconds) < 2 * peers.GRACE_SECONDS + 4
    run = RunFolder.open(tmp_path / "run")
    if doomed:
        assert "ends, because process 1 has ended" in ends[0].output
        assert run.read_run()["status"] == "failed"
    else:
        assert (ends[1].output, run.status) == ("", "killed")
    for rank in run_ranks(lambda rank: resume_experiment(RunFolder(run.path)).status, tmp_path):
        assert (rank.code, rank.result) == (0, "finished"), rank.output
    for rank in start(tmp_path / "whole", *words):
        assert rank.code == 0, rank.output
    assert_same_run(run, RunFolder.open(tmp_path / "whole"))


@pytest.mark.slow
def test_a_signal_to_one_process_saves_within_the_epoch_and_the_resumed_run_is_bit_identical(
    start: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ImageData, "chunk_size", 1)
    words = ["data.batch_size=4", "augment=basic", "augment.padding=1", "trainer.max_epochs=2"]

    def act(rank: int) -> None:
        if rank:
            register_optimizer_step_post_hook(lambda *_: os.kill(os.getpid(), signal.SIGTERM))

    first, second = start(tmp_path / "run", *words, act=act)
    assert (first.code, second.code) == (143, 0), first.output + second.output
    run = RunFolder.open(tmp_path / "run")
    assert torch.load(run.last, weights_only=True)["loop"]["batches"] > 0
    for rank in run_ranks(lambda rank: resume_experiment(RunFolder(run.path)).status, tmp_path):
        assert (rank.code, rank.result) == (0, "finished"), rank.output
    for rank in start(tmp_path / "whole", *words):
        assert rank.code == 0, rank.output
    assert_same_run(run, RunFolder.open(tmp_path / "whole"))


def test_an_error_of_one_process_is_the_error_of_the_run(start: Callable[..., Any], tmp_path: Path) -> None:
    def act(rank: int) -> None:
        def fail(*_: Any) -> None:
            raise UserError("the data", [Problem("a.png", "is gone")])

        if rank:
            register_optimizer_step_post_hook(fail)

    first, second = start(tmp_path / "run", act=act)
    assert first.code == second.code
    assert "process 1 fails: One problem with the data: a.png is gone" in on_one_line(first.output)
    assert second.output == ""


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3, 3)])
def test_synchronised_batch_norm_is_batch_norm_of_all_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    images, weights = 5 + 3 * torch.randn(shape), torch.randn(shape)
    layer = nn.BatchNorm1d(4) if len(shape) == 2 else nn.BatchNorm2d(4)
    with torch.no_grad():
        layer.weight.copy_(torch.rand(4))

    def compute(part: slice, module: nn.Module) -> dict[str, torch.Tensor]:
        own = images[part].clone().requires_grad_()
        (module(own) * weights[part]).sum().backward()
        assert own.grad is not None
        state = {name: value.double() for name, value in layer.state_dict().items()}
        return {"input": own.grad, **state, **{f"d{n}": p.grad for n, p in layer.named_parameters()}}  # type: ignore[dict-item]

    def train(rank: int) -> dict[str, torch.Tensor]:
        store = torch.distributed.FileStore(str(tmp_path / "store"), 2)
        torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
        return compute(slice(0, 2) if rank == 0 else slice(2, 6), SyncLayers().apply(layer))

    parts = run_ranks(train, tmp_path)
    assert [part.code for part in parts] == [0, 0], parts[0].output + parts[1].output
    first, second = (part.result for part in parts)
    expected = compute(slice(0, 6), layer)
    torch.testing.assert_close(torch.cat([first["input"], second["input"]]), expected["input"], atol=1e-5, rtol=1e-4)
    for name in ("dweight", "dbias"):
        torch.testing.assert_close(first[name] + second[name], expected[name], atol=1e-5, rtol=1e-4)
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        torch.testing.assert_close(first[name], expected[name])
        torch.testing.assert_close(second[name], expected[name])


def test_layers_are_as_before_after_training() -> None:
    network, plugin = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)), SyncLayers()
    before = repr(network)
    plugin.apply(network)
    assert repr(network) != before
    plugin.revert(network)
    assert repr(network) == before
