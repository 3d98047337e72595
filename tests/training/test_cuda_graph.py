"""Training steps as CUDA graphs: the training that launches each operation by itself, or a reason why not."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Train, Type
from tf32 import read_tf32
from torch import Tensor, nn

from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.training.cuda_graph import StepGraph, capture, cuda_graph_blocker
from viewfinder.training.hardware import choose_settings
from viewfinder.training.losses import CrossEntropy

GPU = torch.device("cuda")
on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no GPU")
DROPOUT = [
    "trainer=gpu", "model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]", "augment=basic", "augment.padding=1",
    "data.batch_size=4",
]  # fmt: skip
STEPS = 8
"""An epoch: 30 pictures make seven batches of four and one of two."""
WARM = 3


class Deciding(SimpleCNN):
    """A network of one's own."""


@pytest.mark.parametrize(
    ("network", "device", "trainer", "said"),
    [
        (SimpleCNN, "cuda", {}, ""),
        (SimpleCNN, "cuda", {"cuda_graph": "always"}, ""),
        (Deciding, "cuda", {"cuda_graph": "always"}, ""),
        (Deciding, "cuda", {"cuda_graph": "auto"}, "Deciding may run Python code"),
        (SimpleCNN, "cuda", {"accumulate_grad_batches": 2}, "accumulated"),
        (SimpleCNN, "cuda", {"precision": "16-mixed"}, "16-mixed"),
        (SimpleCNN, "cuda", {"cuda_graph": "never"}, None),
        (SimpleCNN, "cuda", {"deterministic": True}, None),
        (SimpleCNN, "cuda", {"devices": 2}, None),
        (SimpleCNN, "cpu", {}, None),
        (SimpleCNN, "cpu", {"cuda_graph": "always"}, "the device is not a GPU"),
        (SimpleCNN, "cuda", {"cuda_graph": "always", "deterministic": True}, "deterministic"),
        (SimpleCNN, "cuda", {"cuda_graph": "always", "devices": 2}, "several devices"),
    ],
)
def test_a_step_is_a_graph_where_that_cannot_change_it(
    network: type[SimpleCNN], device: str, trainer: dict[str, Any], said: str | None
) -> None:
    blocker = cuda_graph_blocker([network(3, 2, 16), CrossEntropy([1, 1])], torch.device(device), trainer)
    assert blocker == said if not said else said in (blocker or "")


def test_on_a_gpu_the_precision_follows_from_its_capability_and_steps_are_a_graph(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
    settings = choose_settings(SimpleCNN(3, 2, 16), None, GPU, {"precision": "auto", "threads": 1})
    assert (settings.precision, settings.is_graphed) == ("bf16-mixed", True)
    assert settings.log_lines == [
        "device   cuda, a GPU",
        "precision  bf16-mixed (GPU has compute capability 9.0)",
        "         one CUDA graph for each training step",
    ]


@pytest.fixture
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Capturing as torch does it, of what launches nothing; the bytes that torch has reserved before and after."""
    reserved = [0, 0]

    @contextlib.contextmanager
    def graph(*_: Any, **__: Any) -> Iterator[None]:
        try:
            yield
        except Exception:
            raise RuntimeError("operation failed due to a previous error during capture")  # noqa: B904
        reserved.pop(0)

    monkeypatch.setattr(torch.cuda, "CUDAGraph", object)
    monkeypatch.setattr(torch.cuda, "graph", graph)
    monkeypatch.setattr(torch.cuda, "stream", contextlib.nullcontext)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda _: None)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: reserved[0])
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (2**30, 2**33))
    monkeypatch.setattr(torch.cuda, "default_generators", [MagicMock()])
    return reserved


@pytest.mark.parametrize(("kept", "fits"), [(2**30, True), (2**30 + 1, False)])
def test_a_graph_leaves_as_much_memory_as_it_keeps(pretended_gpu: list[int], kept: int, fits: bool) -> None:
    pretended_gpu[:] = [2**20, 2**20 + kept]
    if fits:
        assert capture(lambda: 7, GPU)[1] == 7
    else:
        with pytest.raises(RuntimeError, match=r"it needs 1\.0 GiB of memory, but only 1\.0 GiB is free"):
            capture(lambda: 7, GPU)


def test_of_a_capture_that_failed_the_cause_is_said(pretended_gpu: list[int]) -> None:
    with pytest.raises(RuntimeError, match=r"^IndexError: pop from empty list$"):
        capture(lambda: [].pop(), GPU)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each step that a graph takes from now on, whether it updates the weights too."""
    taken: list[bool] = []
    take = StepGraph.replay

    def counting(self: StepGraph, batch: Any) -> Any:
        taken.append(self.includes_update)
        return take(self, batch)

    monkeypatch.setattr(StepGraph, "replay", counting)
    return taken


@on_gpu
@pytest.mark.parametrize(
    ("settings", "updates"),
    [
        ([], True),
        (["scheduler=cosine", "trainer.gradient_clip_val=0.1", "optimizer=adamw"], True),
        (["optimizer=sgd", "optimizer.lr=0.01"], True),
        (["scheduler=one_cycle"], False),  # which turns the momentum too
        (["optimizer.fused=false"], False),
        (["trainer.precision=bf16-mixed"], True),
        (["trainer.precision=tf32"], True),
        (["loss.label_smoothing=0.1"], True),
        (["parameter_groups=muon", "averaging=ema", "lookahead=constant"], True),
    ],
)
def test_a_graph_trains_what_steps_launched_one_by_one_train(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str], updates: bool
) -> None:
    runs = {}
    for graph in ("never", "auto"):
        taken = counted(monkeypatch)
        words = [*DROPOUT, "trainer.max_epochs=4", *settings, f"trainer.cuda_graph={graph}"]
        runs[graph] = train(tmp_path / graph, *words)
        assert taken == ([updates] * (4 * (STEPS - 1) - WARM) if graph == "auto" else [])
        assert runs[graph].read_run()["cuda_graph"] is (graph == "auto")
    ours, theirs = (pd.read_csv(runs[graph].metrics) for graph in ("auto", "never"))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)
    assert ours["lr"].equals(theirs["lr"])
    ours, theirs = (torch.load(runs[graph].last, weights_only=True) for graph in ("auto", "never"))
    assert ours["global_step"] == theirs["global_step"] == 4 * STEPS
    for name, value in ours["state_dict"].items():
        torch.testing.assert_close(value, theirs["state_dict"][name], rtol=1e-2, atol=1e-3)


@on_gpu
def test_each_phase_has_a_graph_of_its_own(train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [*DROPOUT[:4], *DROPOUT[6:], "phases=fine_tune", "phases.head.epochs=2", "trainer.max_epochs=4"]
    losses = {}
    for graph in ("never", "auto"):
        taken = counted(monkeypatch)
        run = train(tmp_path / graph, *settings, f"trainer.cuda_graph={graph}")
        losses[graph] = pd.read_csv(run.metrics)["val/loss"]
    assert len(taken) == 2 * (2 * (STEPS - 1) - WARM)
    np.testing.assert_allclose(losses["auto"], losses["never"], rtol=2e-3)


@on_gpu
def test_a_head_is_trained_on_a_gpu_on_kept_features_as_with_the_pictures(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*DROPOUT[:4], *DROPOUT[6:], "model.freeze=true", "trainer.precision=32-true", "trainer.max_epochs=4"]
    taken = counted(monkeypatch)
    cached = train(tmp_path / "cached", *settings)
    assert len(taken) == 4 * (STEPS - 1) - WARM
    plain = train(tmp_path / "plain", *settings, "model.cache_features=false")
    assert cached.read_run()["features"]["computed"] == 30 + 6 + 15
    for name in ("metrics", "predictions"):
        ours, theirs = (pd.read_csv(getattr(each, name)) for each in (cached, plain))
        pd.testing.assert_frame_equal(ours, theirs, rtol=2e-3)


@on_gpu
def test_where_memory_is_short_a_step_is_taken_without_a_graph(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _=None: (0, 2**33))
    taken = counted(monkeypatch)
    train(tmp_path / "run", *DROPOUT)
    assert not taken
    assert "no CUDA graph, since a step cannot be one: it would keep" in capsys.readouterr().out


@on_gpu
@pytest.mark.parametrize("precision", ["32-true", "auto"])  # to choose, such a step is tried too
def test_a_step_that_cannot_be_a_graph_is_taken_without_one(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], precision: str
) -> None:
    forward = CustomCNN.forward

    def waiting(self: CustomCNN, pictures: Tensor) -> Tensor:
        logits = forward(self, pictures)
        assert logits.sum().item() < 1e9  # for which Python waits for the GPU
        return logits

    with monkeypatch.context() as patch:
        patch.setattr(CustomCNN, "forward", waiting)
        run = train(tmp_path / "run", *DROPOUT, "trainer.cuda_graph=always", f"trainer.precision={precision}")
    chosen = f"trainer.precision={run.read_run()['precision']}"
    assert "no CUDA graph, since a step cannot be one" in capsys.readouterr().out
    expected = train(tmp_path / "expected", *DROPOUT, "trainer.cuda_graph=never", chosen)
    ours, theirs = (pd.read_csv(each.metrics) for each in (run, expected))
    np.testing.assert_allclose(ours, theirs, rtol=2e-3)


@on_gpu
def test_tf32_is_used_in_training_and_never_in_evaluation(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[bool, ...]] = set()
    forward = nn.Conv2d.forward

    def noting(self: nn.Conv2d, pictures: Tensor) -> Tensor:
        if pictures.is_cuda:
            seen.add((self.training, *read_tf32()))
        return forward(self, pictures)

    monkeypatch.setattr(nn.Conv2d, "forward", noting)
    train(tmp_path / "run", "trainer=gpu", "trainer.precision=tf32", "trainer.cuda_graph=never")
    assert seen == {(True, True, True), (False, False, False)}


@on_gpu
def test_a_deterministic_run_that_is_continued_on_a_gpu_ends_bit_identical(
    train: Train, tmp_path: Path, viewfinder: Type
) -> None:
    settings = [*DROPOUT, "trainer.deterministic=true", "scheduler=step"]
    whole = train(tmp_path / "whole", *settings, "trainer.max_epochs=4")
    run = train(tmp_path / "run", *settings, "trainer.max_epochs=2")
    assert viewfinder("resume", run.path, "trainer.max_epochs=4").code == 0
    assert run.metrics.read_bytes() == whole.metrics.read_bytes()
    assert run.predictions.read_bytes() == whole.predictions.read_bytes()


@on_gpu
def test_what_a_run_on_a_gpu_scored_is_scored_again(train: Train, tmp_path: Path, viewfinder: Type) -> None:
    run = train(tmp_path / "run", *DROPOUT, "trainer.precision=auto")
    answer = viewfinder("evaluate", run.path)
    assert answer.code == 0
    assert "Equal to scores.json." in answer.out


@on_gpu
def test_a_range_test_on_a_gpu_tries_the_rates_it_says(tmp_path: Path, tiny: list[str], viewfinder: Type) -> None:
    losses = []
    for graph in ("never", "always"):
        words = [*tiny, *DROPOUT, f"trainer.cuda_graph={graph}", f"run_dir={tmp_path / graph}"]
        viewfinder("lr-range", *words, "--steps", "40", "--from", "1e-5", "--to", "0.1")
        losses.append(pd.read_csv(tmp_path / graph / "lr_range.csv"))
    np.testing.assert_allclose(losses[1]["lr"], losses[0]["lr"], rtol=1e-6)
    np.testing.assert_allclose(losses[1]["loss"], losses[0]["loss"], rtol=2e-2)
