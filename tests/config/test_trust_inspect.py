"""`viewfinder inspect` runs nothing that an unknown run folder brings, and writes nothing elsewhere."""

import shutil
from pathlib import Path

import torch
from conftest import Type
from untrusted_runs import TOUCH, Payload, assert_rejected, update_config

from viewfinder.runs.folder import RunFolder


def test_an_unknown_run_folder_runs_nothing(
    run_copy: RunFolder, canary: Path, tmp_path: Path, viewfinder: Type
) -> None:
    (run_copy.path / "evil.py").write_text(TOUCH.format(str(canary)))
    update_config(run_copy, {"model._target_": "evil.Network"})
    assert_rejected(viewfinder("inspect", run_copy.path), "outside the trusted packages")
    shutil.rmtree(run_copy.path / "inspect", ignore_errors=True)
    update_config(run_copy, {"model._target_": "viewfinder.models.simple_cnn.SimpleCNN"})
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "mine.png").touch()
    (run_copy.path / "inspect").symlink_to(elsewhere)
    assert_rejected(viewfinder("inspect", run_copy.path), "contains links")
    assert [path.name for path in elsewhere.iterdir()] == ["mine.png"]
    (run_copy.path / "inspect").unlink()
    torch.save({"state_dict": Payload(canary)}, run_copy.best)
    assert viewfinder("inspect", run_copy.path).code == 2
    assert not canary.exists()
