"""Runs that fail keep their finished epochs, and every command names what is missing."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Type

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

STOPPING = """
import torch
from torch import nn
from viewfinder.data.preprocess import Preprocess


class MyNet(nn.Module):
    def __init__(self, channels, classes):
        super().__init__()
        self.preprocess, self.steps = Preprocess(4), 0
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(16 * channels, classes))

    def forward(self, pictures):
        self.steps += self.training
        if self.steps > 4:
            raise RuntimeError('the flux ran dry')
        return self.layers(pictures)
"""


def test_a_run_that_fails_keeps_its_finished_epochs_and_says_why(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_stopping.py").write_text(STOPPING)
    monkeypatch.syspath_prepend(str(tmp_path))
    cfg = compose_config([*tiny, f"run_dir={tmp_path / 'run'}"])
    cfg.model = {"_target_": "my_stopping.MyNet"}
    with pytest.raises(RuntimeError, match="the flux ran dry"):
        run_experiment(cfg)
    run = RunFolder.open(tmp_path / "run")
    facts = run.read_run()
    assert (facts["status"], facts["error"]) == ("failed", "RuntimeError: the flux ran dry")
    assert pd.read_csv(run.metrics)["epoch"].tolist() == [1]
    assert torch.load(run.last, weights_only=True)["epoch"] == 0
    assert not run.scores.exists()
    assert [path.name for path in run.path.iterdir() if path.name.startswith(".")] == [".lock"]


def test_a_run_without_scores_is_named_by_every_later_command(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    shutil.copytree(finished.path, tmp_path / "run")
    for name in ("scores.json", "best.ckpt", "report.html"):
        (tmp_path / "run" / name).unlink()
    run = RunFolder.open(tmp_path / "run")
    run.update_run(status="interrupted")
    for words in (("evaluate", run.path), ("predict", run.path, run.curves), ("compare", run.path)):
        answer = viewfinder(*words)
        assert answer.code == 2
        assert "interrupted" in answer.err
        assert "Traceback" not in answer.err
    answer = viewfinder("report", run.path)
    assert "interrupted" in answer.out + answer.err
    assert not run.report.exists()
