"""Runs that fail on a full disk, full memory or a loss that is NaN, and resume."""

import errno
import gc
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from conftest import THREE_EPOCHS, Type, assert_same_run, on_one_line, raises_user_error
from interruptions import read_steps, start_run

from viewfinder.errors import UserError
from viewfinder.experiment.resume import resume_experiment
from viewfinder.runs.checkpoints import read_checkpoint
from viewfinder.runs.folder import RunFolder
from viewfinder.training.classifier import Classifier


def test_a_file_that_may_not_grow_is_one_message_and_the_run_goes_on_later(
    tiny: list[str], tmp_path: Path, viewfinder: Type
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    # As on a full disk: no file of this process may pass 60,000 bytes, which every checkpoint does.
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        answer = viewfinder("train", *tiny, *THREE_EPOCHS, f"run_dir={tmp_path / 'run'}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert answer.code == 2, answer.err
    assert "Traceback" not in answer.err
    assert "cannot be written: File too large" in on_one_line(answer.err)
    assert f"viewfinder resume {tmp_path / 'run'}" in on_one_line(answer.err)
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
            start_run(small(tmp_path / "run", "trainer.checkpoint_every=1"))
    (problem,) = failed.value.problems
    assert problem.rule == "is nan at step 14, batch 6 of epoch 2"
    names = sorted(path.relative_to(pictures).as_posix() for path in (pictures / "train").glob("*/*"))
    for position in seen[13]:
        assert names[position] in problem.remedy
    run = RunFolder.open(tmp_path / "run")
    assert all(torch.isfinite(value).all() for value in read_checkpoint(run.last)["state_dict"].values())
    assert read_steps(run.path) == 13
    resume_experiment(run)
    assert_same_run(run, whole)


# torch may be interrupted while it opens files to find the cause, and leaves one open.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_decoding_process_that_is_killed_is_one_message(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path
) -> None:
    others = psutil.Process().children()

    def kill_workers() -> None:
        for child in set(psutil.Process().children()).difference(others):
            child.kill()

    at_step(11, kill_workers)
    with pytest.raises(UserError) as failed:
        start_run(small(tmp_path / "run", "data.storage=stream", "data.workers=1"))
    (problem,) = failed.value.problems
    assert (problem.key, "has ended" in problem.rule) == ("data.workers", True)
    assert f"viewfinder resume {tmp_path / 'run'}" in problem.remedy
    # torch checks its decoding processes whenever a process ends, and would raise here for the killed one.
    subprocess.run(["true"], check=True)
    del failed, problem
    gc.collect()  # closes that file here, not in a later test


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"), "starts no more processes or threads"),
        (RuntimeError("can't start new thread"), "starts no more processes or threads"),
        (OSError(errno.EMFILE, "Too many open files"), "may open no more files"),
    ],
)
def test_a_limit_of_the_system_is_one_message_even_if_another_error_follows(
    error: Exception, rule: str, small: Callable[..., list[str]], at_step: Any, tmp_path: Path
) -> None:
    def fail() -> None:
        try:
            raise error
        except Exception:
            raise RuntimeError("Please call `iter(combined_loader)` first.")  # noqa: B904

    at_step(3, fail)
    with raises_user_error(rule) as failed:
        start_run(small(tmp_path / "run"))
    assert f"viewfinder resume {tmp_path / 'run'}" in failed.value.problems[0].remedy


def test_memory_that_is_full_is_one_message(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder
) -> None:
    def too_much() -> None:
        torch.empty(2**50)

    at_step(11, too_much)
    with pytest.raises(UserError) as failed:
        start_run(small(tmp_path / "run"))
    assert "memory is full" in on_one_line(failed.value)
    run = RunFolder.open(tmp_path / "run")
    assert run.read_run()["status"] == "failed"
    resume_experiment(run)
    assert_same_run(run, whole)
    assert "error" not in run.read_run()
