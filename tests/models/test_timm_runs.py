"""Runs of timm's networks, from training to export."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CLASSES, QUICK, Type, train_into

import viewfinder as vf
from viewfinder.runs.folder import RunFolder

pytest.importorskip("timm")


@pytest.fixture(scope="module")
def words(pictures: Path) -> list[str]:
    data = ["data=image_folder", f"data.root={pictures}", "data.batch_size=8", *QUICK]
    return ["model=timm", "model.name=resnet10t.c3_in1k", "model.weights=null", "model.image_size=32", *data]


@pytest.fixture(scope="module")
def run(words: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of a frozen network, on cached features."""
    return train_into(tmp_path_factory.mktemp("timm") / "run", *words)


def test_cached_features_change_neither_backbone_nor_results(run: RunFolder, words: list[str], tmp_path: Path) -> None:
    plain = train_into(tmp_path / "plain", *words, "model.cache_features=false")
    assert run.read_run()["features"]["width"] == 512
    assert plain.read_run()["features"] is None
    ours, theirs = (torch.load(each.best, weights_only=True)["state_dict"] for each in (run, plain))
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[key], theirs[key]) for key in ours if ".backbone." in key)
    tables = [pd.read_csv(each.predictions).filter(like="p_") for each in (run, plain)]
    np.testing.assert_allclose(*tables, atol=1e-4)


@pytest.mark.slow
def test_a_run_is_scored_predicted_loaded_exported_and_resumed(
    run: RunFolder, viewfinder: Type, pictures: Path, tmp_path: Path
) -> None:
    facts = run.read_run()
    assert facts["network"]["name"] == "timm/resnet10t"
    assert facts["versions"]["timm"]
    assert "Equal to scores.json." in viewfinder("evaluate", run.path).out
    answer = viewfinder("predict", run.path, pictures / "test", "--csv", tmp_path / "rows.csv")
    assert (answer.code, answer.err) == (0, "")
    loaded = vf.load_run(run.path)
    rows = pd.read_csv(tmp_path / "rows.csv")
    np.testing.assert_allclose(rows.filter(like="p_"), loaded.predict([pictures / "test"]).filter(like="p_"), atol=1e-6)
    assert rows["predicted"].isin(CLASSES).all()
    assert viewfinder("export", run.path, "--output", tmp_path / "model.onnx").code == 0
    assert viewfinder("resume", run.path, "trainer.max_epochs=3").code == 0
    assert len(pd.read_csv(run.metrics)) == 3
