"""Runs with averages, Lookahead, several optimizers and freezing go on bit-identical, and are not extended wrongly."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from conftest import ROOT, Train, Type, assert_same_run
from interruptions import send_signal, start_run

from viewfinder.errors import Stopped
from viewfinder.experiment.resume import resume_experiment
from viewfinder.runs.folder import RunFolder

sys.path.insert(0, str(ROOT / "tests" / "stress"))
from crashes import RECIPES, flatten

SMALL = ["model=custom_cnn", "model.widths=[4,8]", "model.hidden=[16]"]


@pytest.mark.parametrize(("recipe", "step"), [(RECIPES[0], 29), (RECIPES[1], 20)], ids=["ema", "swa"])
def test_a_run_of_all_pieces_that_is_stopped_within_an_epoch_ends_bit_identical(
    tiny: list[str], at_step: Callable[..., None], tmp_path: Path, recipe: list[str], step: int
) -> None:
    """Each step is counted three times: for two optimizers, and for both together."""
    words = [*tiny, *SMALL, "data.batch_size=4", "trainer.max_epochs=3", *recipe]
    start_run([*words, f"run_dir={tmp_path / 'whole'}"])
    at_step(step, send_signal("SIGTERM"))
    with pytest.raises(Stopped):
        start_run([*words, f"run_dir={tmp_path / 'run'}"])
    run, whole = RunFolder.open(tmp_path / "run"), RunFolder.open(tmp_path / "whole")
    assert torch.load(run.last, weights_only=True)["loop"]["batches"] in range(1, 8)
    resume_experiment(run)
    assert_same_run(run, whole)
    ours, theirs = (torch.load(each.last, weights_only=True) for each in (run, whole))
    for key in ("trained_weights", "optimizer_states", "lr_schedulers"):
        assert flatten(ours[key]) == flatten(theirs[key])
    for name in ("Averaging", "Lookahead"):
        assert flatten(ours["callbacks"][name]) == flatten(theirs["callbacks"][name])


def test_a_run_that_planned_its_average_for_its_epochs_is_not_extended(
    train: Train, tmp_path: Path, viewfinder: Type
) -> None:
    mean, ema = (
        train(tmp_path / name, "model=mlp", "model.widths=[4]", f"averaging={name}") for name in ("swa", "ema")
    )
    answer = viewfinder("resume", mean.path, "trainer.max_epochs=4")
    assert answer.code == 2
    said = " ".join(answer.err.split())
    assert "its average of weights was made for 2 epochs" in said
    assert "trainer.max_epochs=4, or one with averaging=none or ema" in said
    longer = train(tmp_path / "longer", "model=mlp", "model.widths=[4]", "averaging=ema", "trainer.max_epochs=4")
    assert viewfinder("resume", ema.path, "trainer.max_epochs=4").code == 0
    assert_same_run(ema, longer)
