"""Damaged, invalid and hostile checkpoints of a run that is resumed."""

import copy
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import Type, assert_same_run, on_one_line, raises_user_error
from hypothesis import given, settings, strategies
from interruptions import send_signal, start_run

from viewfinder.errors import Stopped, UserError
from viewfinder.experiment.resume import resume_experiment
from viewfinder.runs import checkpoints
from viewfinder.runs.checkpoints import read_checkpoint
from viewfinder.runs.folder import RunFolder


def test_a_damaged_last_checkpoint_falls_back_to_the_one_before_and_says_so(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path, whole: RunFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    at_step(14, send_signal("SIGTERM"))
    with pytest.raises(Stopped):
        start_run(small(tmp_path / "stopped", "trainer.checkpoint_every=4"))
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
        with raises_user_error("cannot be read"):
            read_checkpoint(run.last)
        if number not in (0, 4):  # a cut one and a changed one show how a run goes on
            continue
        capsys.readouterr()
        resume_experiment(run)
        output = capsys.readouterr().out
        assert f"damaged  {run.last}" in output
        assert "resumed  after epoch 1 and 4 batches of the next, from previous.ckpt" in output
        assert_same_run(run, whole)


def test_a_run_whose_checkpoints_are_all_damaged_says_so_and_is_left_as_it_is(
    small: Callable[..., list[str]], at_step: Any, tmp_path: Path
) -> None:
    at_step(11, send_signal("SIGTERM"))
    with pytest.raises(Stopped):
        start_run(small(tmp_path / "run"))
    run = RunFolder.open(tmp_path / "run")
    for path in (run.last, run.previous, run.best):
        path.write_bytes(path.read_bytes()[:1000])
    before = {path.name: path.read_bytes() for path in run.path.iterdir()}
    with raises_user_error("none of the checkpoints can be read"):
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
    with raises_user_error("cannot be read"):
        read_checkpoint(whole.best)


# Other people's runs


class Payload:
    """Object whose pickle creates a file when it is loaded."""

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
    assert "none of the checkpoints can be read" in on_one_line(answer.err)
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
    assert target in on_one_line(answer.err)
    assert not (tmp_path / "canary").exists()
    assert whole.read_run()["status"] == "interrupted"


def damage_part(content: dict[str, Any], draw: Any) -> dict[str, Any]:
    """Remove a part of a checkpoint, or replace it with an invalid value."""
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
        torch.save(damage_part(copy.deepcopy(content), data.draw), whole.last)
        with pytest.raises(UserError):
            resume_experiment(whole)

    refused()
    assert whole.read_run()["status"] == "interrupted"
