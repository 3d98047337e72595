"""Runs stopped by a signal: they save, and resume bit-identically."""

import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil
import pytest
import torch
from conftest import THREE_EPOCHS, assert_same_run
from interruptions import send_signal, start_run

from viewfinder.config.overrides import compose_config
from viewfinder.errors import Stopped
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.models.mlp import MLP
from viewfinder.runs.checkpoints import read_checkpoint
from viewfinder.runs.folder import RunFolder
from viewfinder.training.classifier import Classifier


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129), ("SIGQUIT", 131), ("SIGUSR1", 138), ("SIGUSR2", 140),
        ("SIGXCPU", 152),
    ],
)  # fmt: skip
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder, name: str, code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    inherited = signal.getsignal(getattr(signal, name))
    before = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
    signal.signal(getattr(signal, name), before)  # pytest may have been started with nohup
    at_step(11, send_signal(name))
    with pytest.raises(Stopped) as stopped:
        start_run(small(tmp_path / "run"))
    assert stopped.value.code == code
    assert signal.getsignal(getattr(signal, name)) == before
    signal.signal(getattr(signal, name), inherited)
    run, output = RunFolder.open(tmp_path / "run"), capsys.readouterr().out
    assert f"viewfinder resume {run.path}" in output
    assert f"{name} after step 11, in epoch 2 of 3" in " ".join(output.split())
    accuracy = pd.read_csv(run.metrics)["val/accuracy"][0]
    assert f"epoch 1: val accuracy {accuracy:.4f}" in output
    assert (run.read_run()["status"], run.status) == ("interrupted", "interrupted")
    assert (
        read_checkpoint(run.last)["loop"] | {"epoch": 1, "batches": 3, "steps": 11} == read_checkpoint(run.last)["loop"]
    )
    resume_experiment(run)
    assert_same_run(run, whole)
    (resumed,) = run.read_run()["resumed"]
    assert (resumed["epochs"], resumed["batches"]) == (1, 3)


def test_a_signal_to_all_processes_of_a_run_saves_though_some_of_them_decode_images(
    small: Callable[..., list[str]], tmp_path: Path, at_step: Callable[..., None]
) -> None:
    def send_to_all() -> None:
        for process in [*psutil.Process().children(recursive=True), psutil.Process()]:
            process.send_signal(signal.SIGTERM)

    at_step(3, send_to_all)
    with pytest.raises(Stopped):
        start_run(small(tmp_path / "run", "data.storage=stream", "data.workers=1"))
    run = RunFolder.open(tmp_path / "run")
    assert run.status == "interrupted"
    assert read_checkpoint(run.last)["loop"]["batches"] == 3


def test_a_signal_within_validation_saves_what_was_trained(
    small: Callable[..., list[str]], tmp_path: Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = Classifier.step, []

    def counting(self: Classifier, batch: Any, split: str) -> Any:
        seen.append(split)
        if seen.count("val") == 2 and split == "val":
            send_signal("SIGTERM")()
        return step(self, batch, split)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "step", counting)
        with pytest.raises(Stopped):
            start_run(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    assert read_checkpoint(run.last)["loop"]["batches"] == 8
    resume_experiment(run)
    assert_same_run(run, whole)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGINT", "SIGTERM"])
def test_a_signal_that_is_ignored_at_the_start_does_not_stop_a_run(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder, name: str
) -> None:
    number = getattr(signal, name)
    previous = signal.signal(number, signal.SIG_IGN)  # as nohup and the background of a shell script do
    try:
        at_step(11, send_signal(name))
        start_run(small(tmp_path / "run"))
        assert signal.getsignal(number) == signal.SIG_IGN
    finally:
        signal.signal(number, previous)
    assert_same_run(RunFolder.open(tmp_path / "run"), whole)


def test_a_second_ctrl_c_stops_at_once(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    at_step(11, send_signal("SIGINT", "SIGINT"))
    with pytest.raises(Stopped):
        start_run(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    assert read_checkpoint(run.last)["loop"]["steps"] == 8  # of the epoch before
    resume_experiment(run)
    assert_same_run(run, whole)


def test_a_run_stopped_again_and_again_is_still_the_same(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    for step in (2, 5, 12, 13):
        at_step(step, send_signal("SIGTERM"))
    with pytest.raises(Stopped):
        start_run(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    for _ in range(3):
        with pytest.raises(Stopped):
            resume_experiment(run)
    resume_experiment(run)
    assert_same_run(run, whole)
    assert [each["epochs"] for each in run.read_run()["resumed"]] == [0, 0, 1, 1]


class Drawing(MLP):
    """Its logits depend on chance from outside of torch, too."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return super().forward(images) * (0.5 + random.random() + np.random.rand())


def test_a_network_of_ones_own_that_draws_from_python_and_numpy_goes_on_with_the_same_numbers(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path
) -> None:
    def begin(name: str) -> RunFolder:
        cfg = compose_config(small(tmp_path / name, "model=mlp", "trainer.max_epochs=1"))
        cfg.model._target_ = "test_stop_signals.Drawing"
        with contextlib.suppress(Stopped):
            run_experiment(cfg)
        return RunFolder.open(tmp_path / name)

    whole = begin("whole")
    at_step(3, send_signal("SIGTERM"))
    stopped = begin("stopped")
    assert stopped.status == "interrupted"
    resume_experiment(stopped, ["allow=test_stop_signals"])
    assert_same_run(stopped, whole)


def start_two_processes(tiny: list[str], tmp_path: Path, stderr: int) -> subprocess.Popen[str]:
    """Start a long run of two processes, and wait for its second epoch."""
    typed = [*tiny, *THREE_EPOCHS, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=500"]
    script = [str(Path(sys.executable).with_name("viewfinder")), "train", *typed, f"run_dir={tmp_path / 'run'}"]
    process = subprocess.Popen(script, stdout=subprocess.PIPE, stderr=stderr, text=True)
    assert process.stdout is not None
    next(line for line in process.stdout if line.startswith("epoch   2/500"))
    return process


@pytest.mark.slow
def test_killing_the_first_of_two_processes_ends_both(tiny: list[str], tmp_path: Path) -> None:
    with start_two_processes(tiny, tmp_path, subprocess.DEVNULL) as process:
        (helper,) = psutil.Process(process.pid).children()
        process.kill()
        helper.wait(timeout=600)
    assert RunFolder.open(tmp_path / "run").status == "killed"


@pytest.mark.slow
def test_a_signal_to_one_of_two_processes_stops_both(tiny: list[str], tmp_path: Path) -> None:
    with start_two_processes(tiny, tmp_path, subprocess.PIPE) as process:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (143, "")
    epochs = len(pd.read_csv(tmp_path / "run" / "metrics.csv"))
    assert f"in epoch {epochs + 1} of 500; all of it is saved" in out or f"after epoch {epochs} of 500" in out
    assert RunFolder.open(tmp_path / "run").read_run()["status"] == "interrupted"
