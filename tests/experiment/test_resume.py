"""A run that was stopped, killed or cut off goes on as if nothing had happened; or says why it cannot."""

import contextlib
import copy
import os
import random
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, Train, Type, paint, train_into
from filelock import FileLock
from hypothesis import given, settings, strategies
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.optim.optimizer import register_optimizer_step_post_hook

from viewfinder.config.overrides import compose_config
from viewfinder.errors import Stopped, UserError
from viewfinder.evaluation.repeat import format_repeat_command
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.models.mlp import MLP
from viewfinder.runs import checkpoints
from viewfinder.runs.checkpoints import read_checkpoint
from viewfinder.runs.folder import RunFolder
from viewfinder.training.classifier import Classifier

SETTINGS = ["data.batch_size=4", "augment=basic", "augment.padding=1", "trainer.max_epochs=3"]
"""Three epochs of eight steps."""


@pytest.fixture
def small(tiny: list[str], tmp_path: Path) -> Callable[..., list[str]]:
    """Overrides for a run at a folder."""
    return lambda folder, *more: [*tiny, *SETTINGS, *more, f"run_dir={folder}"]


@pytest.fixture(scope="module")
def left_alone(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """The run that nothing happens to; for reading alone."""
    return train_into(tmp_path_factory.mktemp("left_alone") / "whole", *tiny, *SETTINGS)


@pytest.fixture
def whole(left_alone: RunFolder, tmp_path: Path) -> RunFolder:
    """A copy of that run."""
    return RunFolder.open(shutil.copytree(left_alone.path, tmp_path / "whole"))


@pytest.fixture
def at_step() -> Iterator[Callable[[int, Callable[[], Any]], None]]:
    """Do something after a step of the optimizer, counted from 1 over all that follow."""
    handles = []

    def do(step: int, action: Callable[[], Any]) -> None:
        seen = 0

        def count(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == step:
                action()

        handles.append(register_optimizer_step_post_hook(count))

    yield do
    for handle in handles:
        handle.remove()


def start(typed: list[str]) -> None:
    run_experiment(compose_config(typed), overrides=typed)


def send(*names: str) -> Callable[[], None]:
    def act() -> None:
        for name in names:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(0.01)  # until Python hands it out

    return act


def assert_same(ours: RunFolder, theirs: RunFolder) -> None:
    """Bit for bit, apart from times and what was resumed."""
    tables = ("metrics.csv", "predictions.csv", "scores.json", "data.json")
    for name in (*tables, *(path.name for path in theirs.path.glob("projector*"))):
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name
    for name in ("best.ckpt", "last.ckpt"):
        one, two = (torch.load(run.path / name, weights_only=True)["state_dict"] for run in (ours, theirs))
        assert [key for key in two if not torch.equal(one[key], two[key])] == []
    assert curves(ours.path) == curves(theirs.path)
    assert {path.name for path in ours.path.iterdir() if "tfevents" not in path.name} == {
        path.name for path in theirs.path.iterdir() if "tfevents" not in path.name
    }


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """As TensorBoard reads them."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


# Killed


@pytest.mark.parametrize(
    "how",
    [["--count", "5", "--seed", "2"], ["--count", "2", "--workers", "2"], ["--count", "2", "--processes", "2"]],
    ids=" ".join,
)
def test_runs_that_are_killed_at_random_moments_end_bit_identical(how: list[str]) -> None:
    script = [sys.executable, str(ROOT / "tests" / "stress" / "crashes.py"), *how]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{how[1]} of {how[1]} bit-identical after " in done.stdout


def test_a_run_that_was_killed_is_called_so(small: Callable[..., list[str]], tmp_path: Path, whole: RunFolder) -> None:
    whole.update_run(status="running")  # as a killed process leaves it
    assert whole.status == "killed"
    with FileLock(whole.path / ".lock"):
        assert whole.status == "running"


# Signals


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGUSR1", 138)])
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder, name: str, code: int,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = signal.getsignal(getattr(signal, name))
    at_step(11, send(name))
    with pytest.raises(Stopped) as stopped:
        start(small(tmp_path / "run"))
    assert stopped.value.code == code
    assert signal.getsignal(getattr(signal, name)) == before
    run, said = RunFolder.open(tmp_path / "run"), capsys.readouterr().out
    assert f"viewfinder resume {run.path}" in said
    assert f"{name} after step 11, in epoch 2 of 3" in " ".join(said.split())
    accuracy = pd.read_csv(run.metrics)["val/accuracy"][0]
    assert f"epoch 1: val accuracy {accuracy:.4f}" in said
    assert (run.read_run()["status"], run.status) == ("interrupted", "interrupted")
    assert (
        read_checkpoint(run.last)["loop"] | {"epoch": 1, "batches": 3, "steps": 11} == read_checkpoint(run.last)["loop"]
    )
    resume_experiment(run)
    assert_same(run, whole)
    (resumed,) = run.read_run()["resumed"]
    assert (resumed["epochs"], resumed["batches"]) == (1, 3)


def test_a_signal_within_validation_saves_what_was_trained(
    small: Callable[..., list[str]], tmp_path: Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, seen = Classifier.step, []

    def counting(self: Classifier, batch: Any, split: str) -> Any:
        seen.append(split)
        if seen.count("val") == 2 and split == "val":
            send("SIGTERM")()
        return step(self, batch, split)

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "step", counting)
        with pytest.raises(Stopped):
            start(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    assert read_checkpoint(run.last)["loop"]["batches"] == 8
    resume_experiment(run)
    assert_same(run, whole)


def test_a_second_ctrl_c_stops_at_once(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    at_step(11, send("SIGINT", "SIGINT"))
    with pytest.raises(Stopped):
        start(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    assert read_checkpoint(run.last)["loop"]["steps"] == 8  # of the epoch before
    resume_experiment(run)
    assert_same(run, whole)


def test_a_run_stopped_again_and_again_is_still_the_same(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    for step in (2, 5, 12, 13):
        at_step(step, send("SIGTERM"))
    with pytest.raises(Stopped):
        start(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    for _ in range(3):
        with pytest.raises(Stopped):
            resume_experiment(run)
    resume_experiment(run)
    assert_same(run, whole)
    assert [each["epochs"] for each in run.read_run()["resumed"]] == [0, 0, 1, 1]


class Drawing(MLP):
    """Its logits depend on chance from outside of torch, too."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return super().forward(pictures) * (0.5 + random.random() + np.random.rand())


def test_a_network_of_ones_own_that_draws_from_python_and_numpy_goes_on_with_the_same_numbers(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path
) -> None:
    def begin(name: str) -> RunFolder:
        cfg = compose_config(small(tmp_path / name, "model=mlp", "trainer.max_epochs=1"))
        cfg.model._target_ = "test_resume.Drawing"
        with contextlib.suppress(Stopped):
            run_experiment(cfg)
        return RunFolder.open(tmp_path / name)

    whole = begin("whole")
    at_step(3, send("SIGTERM"))
    stopped = begin("stopped")
    assert stopped.status == "interrupted"
    resume_experiment(stopped, ["allow=test_resume"])
    assert_same(stopped, whole)


def test_a_signal_to_one_of_two_processes_stops_both(tiny: list[str], tmp_path: Path) -> None:
    typed = [*tiny, *SETTINGS, "trainer=ddp", "trainer.accelerator=cpu", "trainer.max_epochs=500"]
    script = [str(Path(sys.executable).with_name("viewfinder")), "train", *typed, f"run_dir={tmp_path / 'run'}"]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("epoch   2/500"):
                process.send_signal(signal.SIGTERM)
                break
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (143, "")
    epochs = len(pd.read_csv(tmp_path / "run" / "metrics.csv"))
    assert f"of 500; saved up to the end of epoch {epochs}" in out or f"after epoch {epochs} of 500" in out
    assert RunFolder.open(tmp_path / "run").read_run()["status"] == "interrupted"


# Every so many steps


def test_checkpoints_within_an_epoch_come_every_so_many_steps_and_change_nothing(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    steps: list[int] = []
    for step in range(1, 25):
        # When a step is over, last.ckpt is that of the step before or an older one.
        at_step(step, lambda: steps.append(saved(tmp_path / "run")))
    start(small(tmp_path / "run", "trainer.checkpoint_every=3"))
    assert steps == [0, 0, 0, 3, 3, 3, 6, 6, 8, 8, 8, 11, 11, 11, 14, 14, 16, 16, 16, 19, 19, 19, 22, 22]
    ours, theirs = RunFolder.open(tmp_path / "run"), whole
    assert ours.metrics.read_bytes() == theirs.metrics.read_bytes()
    assert ours.predictions.read_bytes() == theirs.predictions.read_bytes()


def saved(folder: Path) -> int:
    """Steps in a run's last checkpoint."""
    return read_checkpoint(folder / "last.ckpt")["loop"]["steps"] if (folder / "last.ckpt").exists() else 0


# More epochs, or fewer


def test_a_run_cannot_end_before_the_epoch_that_it_is_in(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder, viewfinder: Type
) -> None:
    at_step(11, send("SIGTERM"))
    with pytest.raises(Stopped):
        start(small(tmp_path / "run"))
    answer = viewfinder("resume", tmp_path / "run", "trainer.max_epochs=1")
    assert answer.code == 2
    assert "must be 2 or more" in answer.err
    assert viewfinder("resume", tmp_path / "run", "trainer.max_epochs=2").code == 0
    rows = whole.metrics.read_text().splitlines()
    assert RunFolder.open(tmp_path / "run").metrics.read_text().splitlines() == rows[:3]


@pytest.mark.parametrize("scheduler", ["none", "plateau"])
def test_a_finished_run_with_more_epochs_is_the_run_that_was_begun_with_them(
    train: Train, tmp_path: Path, viewfinder: Type, scheduler: str
) -> None:
    run = train(tmp_path / "run", *SETTINGS, f"scheduler={scheduler}")
    longer = train(tmp_path / "longer", *SETTINGS, f"scheduler={scheduler}", "trainer.max_epochs=5")
    answer = viewfinder("resume", run.path, "trainer.max_epochs=5")
    assert answer.code == 0, answer.err
    assert_same(run, longer)
    assert run.read_settings()["trainer"]["max_epochs"] == 5
    (extended,) = run.read_run()["extended"]
    assert (extended["from"], extended["to"]) == (3, 5)
    page = run.report.read_text(encoding="utf-8")
    assert "extended" in page
    assert "\nviewfinder resume run trainer.max_epochs=5</pre>" in page
    command = format_repeat_command([run], [42])
    assert command is not None
    again = compose_config([*shlex.split(command)[2:], f"run_dir={run.path}"])
    assert OmegaConf.to_container(again) == run.read_settings()


def test_a_finished_run_is_left_alone_and_the_way_to_more_epochs_is_named(whole: RunFolder, viewfinder: Type) -> None:
    before = {path.name: path.read_bytes() for path in whole.path.iterdir()}
    answer = viewfinder("resume", whole.path)
    assert answer.code == 2
    assert "has finished" in answer.err
    assert f"viewfinder resume {whole.path} trainer.max_epochs=6" in " ".join(answer.err.split())
    assert {path.name: path.read_bytes() for path in whole.path.iterdir()} == before


def test_a_schedule_that_ends_with_the_run_is_not_extended(train: Train, tmp_path: Path, viewfinder: Type) -> None:
    run = train(tmp_path / "run", *SETTINGS, "scheduler=cosine")
    for words, epochs in (([], 6), (["trainer.max_epochs=5"], 5)):
        answer = viewfinder("resume", run.path, *words)
        assert answer.code == 2
        said = " ".join(answer.err.split())
        assert "schedule of the learning rate was made for 3 epochs" in said
        assert f"a new run with trainer.max_epochs={epochs}, or one with scheduler=none, step or plateau" in said
        assert "viewfinder resume" not in said


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=0.1", "another experiment"),
        ("trainer.max_epochs=2", "must be 3 or more"),
        ("trainer.max_epoch=9", "Did you mean trainer.max_epochs?"),
        ("trainer.max_epochs=many", "must be a whole number"),
        ("nonsense", "is not key=value"),
    ],
)
def test_what_would_be_another_run_is_refused(whole: RunFolder, viewfinder: Type, override: str, said: str) -> None:
    answer = viewfinder("resume", whole.path, override)
    assert answer.code == 2
    assert said in " ".join(answer.err.split())
    assert whole.read_run()["status"] == "finished"


def test_latest_is_the_run_that_was_written_last(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    at_step(3, send("SIGINT"))
    with pytest.raises(Stopped):
        start(small(tmp_path / "outputs" / "net" / "new"))
    shutil.copytree(tmp_path / "outputs" / "net" / "new", tmp_path / "outputs" / "net" / "a" / "copy")
    os.utime(tmp_path / "outputs" / "net" / "a" / "copy" / "run.json", (1, 1))
    monkeypatch.chdir(tmp_path)
    assert viewfinder("resume", "latest").code == 0
    assert RunFolder.open(tmp_path / "outputs" / "net" / "new").read_run()["status"] == "finished"
    assert viewfinder("resume", "outputs/net/none").code == 2
    shutil.rmtree("outputs")
    answer = viewfinder("resume", "latest")
    assert "RUN = latest\n    is the latest run in outputs/, which contains none here" in answer.err


# Damage


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(14, send("SIGTERM"))
    with pytest.raises(Stopped):
        start(small(tmp_path / "stopped", "trainer.checkpoint_every=4"))
    rng, size = random.Random(0), (tmp_path / "stopped" / "last.ckpt").stat().st_size
    for number in range(6):
        shutil.copytree(tmp_path / "stopped", tmp_path / str(number))
        run = RunFolder.open(tmp_path / str(number))
        content = bytearray(run.last.read_bytes())
        if number < 4:
            del content[rng.randrange(size) :]
        else:
            content[rng.randrange(size // 4, size // 2)] ^= 1
        run.last.write_bytes(content)
        with pytest.raises(UserError, match="cannot be read"):
            read_checkpoint(run.last)
        if number not in (0, 4):  # a cut one and a changed one show how a run goes on
            continue
        capsys.readouterr()
        resume_experiment(run)
        said = capsys.readouterr().out
        assert f"damaged  {run.last}" in said
        assert "resumed  after epoch 1 and 4 batches of the next, from previous.ckpt" in said
        assert_same(run, whole)


def test_a_run_whose_checkpoints_are_all_damaged_says_so_and_is_left_as_it_is(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path
) -> None:
    at_step(11, send("SIGTERM"))
    with pytest.raises(Stopped):
        start(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    for path in (run.last, run.previous, run.best):
        path.write_bytes(path.read_bytes()[:1000])
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with pytest.raises(UserError, match="none can be read"):
        resume_experiment(run)
    assert {path.name: path.read_bytes() for path in run.path.iterdir()} == before


@pytest.mark.parametrize("place", [100, 5_000, -1])
def test_a_disk_that_does_not_keep_what_it_is_given_is_noticed_when_a_checkpoint_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    path, fsync = tmp_path / "last.ckpt", os.fsync

    def flip(descriptor: int) -> None:
        content = bytearray(path.read_bytes())
        content[place] ^= 1
        path.write_bytes(content)
        fsync(descriptor)

    monkeypatch.setattr(checkpoints, "BLOCK", 4_096)
    checkpoints.CheckpointIO().save_checkpoint({"weights": torch.ones(4_000)}, path)
    monkeypatch.setattr(os, "fsync", flip)
    with pytest.raises(OSError, match="does not read back as it was written"):
        checkpoints.CheckpointIO().save_checkpoint({"weights": torch.ones(4_000)}, path)


def test_a_bit_that_has_flipped_in_a_checkpoint_is_noticed(whole: RunFolder) -> None:
    content = bytearray(whole.best.read_bytes())
    content[len(content) // 2] ^= 4
    whole.best.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(whole.best)


# Other people's runs


class Payload:
    """What a pickle of it would do when it is loaded."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> Any:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize("name", ["last.ckpt", "optimizer"])
def test_what_is_in_a_strangers_checkpoint_is_not_run(
    whole: RunFolder, tmp_path: Path, viewfinder: Type, name: str
) -> None:
    whole.update_run(status="interrupted")
    if name == "optimizer":
        content = read_checkpoint(whole.last)
        content["optimizer_states"] = [Payload(tmp_path / "canary")]
    else:
        content = Payload(tmp_path / "canary")
    for path in (whole.last, whole.best):
        torch.save(content, path)
    answer = viewfinder("resume", whole.path)
    assert answer.code == 2
    assert "none can be read" in answer.err
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("target", ["os.system", "torch.hub.load", "tiny.Tiny"])
def test_what_a_strangers_configuration_names_is_not_run(
    whole: RunFolder, tmp_path: Path, viewfinder: Type, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    (whole.path / "tiny.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    model = {"_target_": target, "command": f"touch {tmp_path / 'canary'}"}
    whole.write_settings({**whole.read_settings(), "model": model})
    whole.update_run(status="interrupted")
    monkeypatch.chdir(whole.path)
    answer = viewfinder("resume", ".")
    assert answer.code == 2
    assert target in answer.err
    assert not (tmp_path / "canary").exists()
    assert whole.read_run()["status"] == "interrupted"


def damaged(content: dict[str, Any], draw: Any) -> dict[str, Any]:
    """A checkpoint without one of its parts, or with something else there."""
    places = [("loop",), ("callbacks",), ("callbacks", "Recorder"), ("epoch_so_far",), ("optimizer_states",)]
    places += [("loop", key) for key in content["loop"]]
    places += [("callbacks", "Recorder", key) for key in content["callbacks"]["Recorder"]]
    *way, last = draw(strategies.sampled_from(places))
    node = content
    for key in way:
        node = node[key]
    if draw(strategies.booleans()):
        del node[last]
    else:
        node[last] = draw(strategies.sampled_from(["words", [["x"]], {"x": []}, -3]))
    return content


def test_a_checkpoint_that_does_not_say_where_training_stands_is_refused(whole: RunFolder) -> None:
    whole.update_run(status="interrupted")
    whole.best.unlink()
    content = torch.load(whole.last, weights_only=True)

    @settings(max_examples=25, deadline=None)
    @given(strategies.data())
    def refused(data: strategies.DataObject) -> None:
        torch.save(damaged(copy.deepcopy(content), data.draw), whole.last)
        with pytest.raises(UserError):
            resume_experiment(whole)

    refused()
    assert whole.read_run()["status"] == "interrupted"


# Others


def test_run_after_run_leaves_no_file_thread_or_process_behind_in_a_process() -> None:
    script = [sys.executable, str(ROOT / "tests" / "stress" / "many_runs.py"), "--count", "6"]
    done = subprocess.run(script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_two_processes_do_not_train_one_run(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    monkeypatch.setattr("viewfinder.runs.lock.PATIENCE", 0.1)
    found: list[Any] = []
    at_step(5, lambda: found.append(viewfinder("resume", tmp_path / "run")))
    start(small(tmp_path / "run"))
    (answer,) = found
    assert answer.code == 2
    assert f"process {os.getpid()} on" in " ".join(answer.err.split())
    assert RunFolder.open(tmp_path / "run").read_run()["status"] == "finished"


def test_a_run_does_not_go_on_with_other_pictures(
    tiny: list[str], at_step: Any, tmp_path: Path, whole: RunFolder, viewfinder: Type
) -> None:
    root = paint(tmp_path / "mine", seed=1)
    at_step(11, send("SIGTERM"))
    with pytest.raises(Stopped):
        start([*tiny, *SETTINGS, f"data.root={root}", f"run_dir={tmp_path / 'run'}"])
    picture = next(iter((root / "train" / "owl").iterdir()))
    kept = picture.read_bytes()
    shutil.copy(next(iter((root / "test" / "owl").iterdir())), picture)
    answer = viewfinder("resume", tmp_path / "run")
    assert answer.code == 2
    assert "other images" in " ".join(answer.err.split())
    picture.write_bytes(kept)
    shutil.move(root, tmp_path / "moved")
    assert viewfinder("resume", tmp_path / "run").code == 2
    assert viewfinder("resume", tmp_path / "run", f"data.root={tmp_path / 'moved'}").code == 0
    assert RunFolder.open(tmp_path / "run").metrics.read_bytes() == whole.metrics.read_bytes()


# Limits


def test_a_file_that_may_not_grow_is_one_message_and_the_run_goes_on_later(tiny: list[str], tmp_path: Path) -> None:
    # As on a full disk: no file of this process may pass 8,000 bytes, which every checkpoint does.
    typed = [*tiny, *SETTINGS, f"run_dir={tmp_path / 'run'}"]
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), *typed], capture_output=True, text=True, check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "cannot be written: File too large" in done.stderr
    assert f"viewfinder resume {tmp_path / 'run'}" in " ".join(done.stderr.split())
    run = RunFolder.open(tmp_path / "run")
    assert run.status in ("failed", "killed")
    resume_experiment(run)
    assert run.read_run()["status"] == "finished"
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == [".lock"]


def test_a_loss_that_is_no_number_names_step_batch_and_pictures_and_keeps_the_checkpoint_before(
    small: Callable[..., list[str]], tmp_path: Path, whole: RunFolder, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    step, seen = Classifier.step, []

    def poisoned(self: Classifier, batch: Any, split: str) -> Any:
        loss = step(self, batch, split)
        if split == "train":
            seen.append(batch.positions)
            if len(seen) == 14:
                self.outputs["train"][-1] = (loss.detach() * torch.nan, *self.outputs["train"][-1][1:])
                return loss * torch.nan
        return loss

    with monkeypatch.context() as patch:
        patch.setattr(Classifier, "step", poisoned)
        with pytest.raises(UserError) as failed:
            start(small(tmp_path / "run", "trainer.checkpoint_every=1"))
    (problem,) = failed.value.problems
    assert problem.rule == "is nan at step 14, batch 6 of epoch 2"
    names = sorted(path.relative_to(pictures).as_posix() for path in (pictures / "train").glob("*/*"))
    for position in seen[13]:
        assert names[position] in problem.remedy
    run = RunFolder.open(tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in read_checkpoint(run.last)["state_dict"].values())
    assert saved(run.path) == 13
    resume_experiment(run)
    assert_same(run, whole)


def test_memory_that_is_full_is_one_message(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    def too_much() -> None:
        torch.empty(2**50)

    at_step(11, too_much)
    with pytest.raises(UserError) as failed:
        start(small(tmp_path / "run"))
    assert "memory is full" in str(failed.value)
    run = RunFolder.open(tmp_path / "run")
    assert run.read_run()["status"] == "failed"
    resume_experiment(run)
    assert_same(run, whole)
    assert "error" not in run.read_run()
