"""Runs on a manifest equal those on the folder of the same images, and are evaluated and resumed like them."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import CLASSES, SIZES, Type, on_one_line, train_into

from viewfinder.runs.folder import RunFolder

FILES = ("metrics.csv", "scores.json")


@pytest.fixture(scope="module")
def listed(tiny: list[str], manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run on a manifest, with the settings of the run on the folder; read only."""
    words = [word for word in tiny if not word.startswith("data")]
    data = ["data=csv", f"data.path={manifest}", "data.batch_size=8"]
    folder = tmp_path_factory.mktemp("listed") / "run"
    return train_into(folder, *words, *data, "augment=basic", "trainer.max_epochs=3")


def test_a_run_on_a_manifest_is_bit_identical_to_one_on_the_folder(listed: RunFolder, finished: RunFolder) -> None:
    for name in FILES:
        assert (listed.path / name).read_bytes() == (finished.path / name).read_bytes()
    ours, theirs = (pd.read_csv(run.predictions) for run in (listed, finished))
    pd.testing.assert_frame_equal(ours.drop(columns="picture"), theirs.drop(columns="picture"))


def test_it_is_evaluated_on_its_own_images_and_on_others(
    listed: RunFolder, manifest: Path, pictures: Path, viewfinder: Type, tmp_path: Path
) -> None:
    assert "Equal to scores.json." in viewfinder("evaluate", listed.path).out
    moved = shutil.copytree(pictures, tmp_path / pictures.name)
    assert "Equal to scores.json." in viewfinder("evaluate", listed.path, f"data.root={tmp_path}").out
    table = pd.read_csv(manifest)
    shutil.copy(manifest, tmp_path / "copy.csv")
    assert "Equal to scores.json." in viewfinder("evaluate", listed.path, f"data.path={tmp_path / 'copy.csv'}").out
    alone = table[(table["split"] == "test") & (table["label"] != CLASSES[0])]
    alone.to_csv(tmp_path / "alone.csv", index=False)
    answer = viewfinder("evaluate", listed.path, f"data.path={tmp_path / 'alone.csv'}", "--json", tmp_path / "s.json")
    assert (answer.code, answer.err) == (0, "")
    assert f"no image of {CLASSES[0]} in test" in answer.out
    scores = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    expected = listed.read_scores()["best"]["test"]["confusion"][1:]
    assert (scores["pictures"], scores["confusion"][1:]) == (2 * SIZES["test"], expected)
    alone.drop(columns="split").to_csv(tmp_path / "plain.csv", index=False)
    plain = viewfinder("evaluate", listed.path, f"data.path={tmp_path / 'plain.csv'}")
    assert f"the manifest has no splits, so all its images are scored: {len(alone)}" in plain.out
    alone.assign(label=["bear"] * 3 + list(alone["label"][3:])).to_csv(tmp_path / "other.csv", index=False)
    other = viewfinder("evaluate", listed.path, f"data.path={tmp_path / 'other.csv'}")
    assert other.code == 2
    assert "the run does not know the class bear; 3 images have it" in on_one_line(other.err)
    assert moved.is_dir()


def test_it_predicts_its_test_images_as_its_predictions_say(
    listed: RunFolder, pictures: Path, viewfinder: Type, tmp_path: Path
) -> None:
    answer = viewfinder("predict", listed.path, pictures / "test", "--csv", tmp_path / "predictions.csv")
    assert (answer.code, answer.err) == (0, "")
    ours, theirs = pd.read_csv(tmp_path / "predictions.csv"), pd.read_csv(listed.predictions)
    columns = [f"p_{name}" for name in CLASSES]
    ours.index = [Path(path).relative_to(pictures.parent).as_posix() for path in ours["picture"]]
    pd.testing.assert_frame_equal(ours[columns].sort_index(), theirs.set_index("picture")[columns].sort_index(),
                                  check_names=False, atol=1e-5)  # fmt: skip


def test_it_is_resumed_with_its_manifest_in_another_place(
    listed: RunFolder, manifest: Path, pictures: Path, viewfinder: Type, tmp_path: Path
) -> None:
    run = RunFolder.open(shutil.copytree(listed.path, tmp_path / "run"))
    shutil.copytree(pictures, tmp_path / pictures.name)
    shutil.copy(manifest, tmp_path / "moved.csv")
    answer = viewfinder("resume", run.path, f"data.path={tmp_path / 'moved.csv'}", "trainer.max_epochs=4")
    assert (answer.code, answer.err) == (0, "")
    assert len(run.read_metrics()) == 4
    assert run.read_settings()["data"]["path"] == str(tmp_path / "moved.csv")


def test_a_manifest_is_found_where_the_run_was_started(
    tiny: list[str], manifest: Path, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(manifest.parent)
    words = [word for word in tiny if not word.startswith("data")]
    train_into(tmp_path / "run", *words, "data=csv", f"data.path={manifest.name}", "trainer.max_epochs=1")
    monkeypatch.chdir(tmp_path)
    assert "Equal to scores.json." in viewfinder("evaluate", "run").out
