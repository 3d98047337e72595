"""`viewfinder evaluate` reproduces the scores of a run."""

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import sklearn.metrics
from conftest import CLASSES, SIZES, Train, Type, on_one_line, paint
from torch import nn

from viewfinder.config.overrides import compose_config
from viewfinder.data import module
from viewfinder.data.preprocess import Preprocess
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder


@pytest.mark.parametrize("weights", ["best", "last"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_evaluate_reproduces_scores_json_exactly(
    finished: RunFolder, viewfinder: Type, tmp_path: Path, weights: str, split: str
) -> None:
    scores_file = tmp_path / "scores.json"
    answer = viewfinder("evaluate", finished.path, "--split", split, "--weights", weights, "--json", scores_file)
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(scores_file.read_text(encoding="utf-8")) == finished.read_scores()[weights][split]
    assert "Equal to scores.json." in answer.out


def test_evaluate_scores_the_test_split_with_the_best_weights_by_default(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    viewfinder("evaluate", finished.path, "--json", tmp_path / "scores.json", "--csv", tmp_path / "predictions.csv")
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert scores == finished.read_scores()["best"]["test"]
    assert (tmp_path / "predictions.csv").read_bytes() == finished.predictions.read_bytes()


def test_evaluate_scores_the_training_images_without_augmentation(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    scores_file, table_file = tmp_path / "scores.json", tmp_path / "predictions.csv"
    answer = viewfinder("evaluate", finished.path, "--split", "train", "--json", scores_file, "--csv", table_file)
    assert answer.code == 0
    scores, rows = json.loads(scores_file.read_text(encoding="utf-8")), pd.read_csv(table_file)
    assert scores["pictures"] == len(rows) == SIZES["train"] * len(CLASSES)
    assert scores["accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(rows["true"], rows["predicted"]))


def test_evaluate_needs_only_a_copy_of_the_run_folder_and_the_images(
    train: Train, pictures: Path, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pictures, "pictures here")
    original = train(Path("here/run"), "data.root=pictures here", "trainer.max_epochs=1")
    scores = original.read_scores()
    shutil.copytree(original.path, "somewhere else/copy")
    Path("pictures here").rename("pictures there")
    shutil.rmtree("here")
    monkeypatch.chdir("somewhere else")
    answer = viewfinder("evaluate", "copy", f"data.root={tmp_path / 'pictures there'}", "--json", "scores.json")
    assert (answer.code, answer.err) == (0, "")
    assert json.loads(Path("scores.json").read_text(encoding="utf-8")) == scores["best"]["test"]
    assert "Equal to scores.json." in answer.out


def test_evaluate_reproduces_the_scores_of_a_run_that_streamed_its_images(
    train: Train, viewfinder: Type, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", "data.storage=stream", "data.workers=1", "trainer.max_epochs=1")
    answer = viewfinder("evaluate", run.path)
    assert (answer.code, answer.err) == (0, "")
    assert "Equal to scores.json." in answer.out


def test_evaluate_tells_streamed_images_of_a_run_that_stored_them_by_their_scores(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    """Fingerprints of streamed and of stored images cannot be compared."""
    streaming = ["data.storage=stream", "data.workers=1"]
    assert "Equal to scores.json." in viewfinder("evaluate", finished.path, *streaming).out
    others = viewfinder("evaluate", finished.path, f"data.root={paint(tmp_path / 'others', seed=9)}", *streaming)
    assert "Differs from scores.json" in others.out
    assert "or other images." in others.out


def test_evaluate_hashes_the_images_once(
    finished: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = []
    original = module.compute_fingerprint
    monkeypatch.setattr(
        module, "compute_fingerprint", lambda split, images: hashed.append(1) or original(split, images)
    )
    assert viewfinder("evaluate", finished.path).code == 0
    assert hashed == [1]


def test_evaluate_reports_that_the_images_differ(finished: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    others, table_file = paint(tmp_path / "others", seed=9), tmp_path / "predictions.csv"
    answer = viewfinder("evaluate", finished.path, f"data.root={others}", "--csv", table_file)
    assert answer.code == 0
    assert "These are not the images of the run" in answer.out
    assert "Equal" not in answer.out
    assert len(pd.read_csv(table_file)) == len(list(others.glob("test/*/*")))


@pytest.mark.parametrize("same_images", [True, False])
def test_equal_scores_are_said_to_be_equal(run_copy: RunFolder, viewfinder: Type, same_images: bool) -> None:
    scores = run_copy.read_scores()
    scores["best"]["test"]["mcc"] = 0.5  # of another version
    for values in scores["best"]["test"]["per_class"].values():
        values["mcc"] = 0.5
    run_copy.scores.write_text(json.dumps(scores), encoding="utf-8")
    if not same_images:
        facts = run_copy.read_data()
        run_copy.write_data({**facts, "fingerprint": dict.fromkeys(facts["fingerprint"], "0")})
    out = viewfinder("evaluate", ".").out
    other = "These are not the images of the run, although its scores.json has the same scores."
    assert out.splitlines()[-1] == ("Equal to scores.json." if same_images else other)


def test_evaluate_rejects_an_unknown_override_with_a_suggestion(finished: RunFolder, viewfinder: Type) -> None:
    answer = viewfinder("evaluate", finished.path, "data.rot=elsewhere", "nonsense")
    assert (answer.code, answer.out) == (2, "")
    assert re.search(r"Did you mean (data\.)?root\?", on_one_line(answer.err))
    assert "nonsense" in answer.err


def test_evaluate_rejects_images_of_other_classes(finished: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    others = paint(tmp_path / "others", seed=9)
    for split in SIZES:
        (others / split / "owl").rename(others / split / "eagle")
    answer = viewfinder("evaluate", finished.path, f"data.root={others}")
    assert (answer.code, answer.out) == (2, "")
    assert "eagle" in answer.err
    assert "owl" in answer.err


def test_a_run_that_needs_its_working_folder_names_it(
    train: Train, pictures: Path, viewfinder: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(pictures, "here")
    run = train(Path("run"), "data.root=here", "trainer.max_epochs=1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert viewfinder("evaluate", tmp_path / run.path).code == 0  # found where the run was started
    (tmp_path / "here").rename(tmp_path / "moved")
    answer = viewfinder("evaluate", tmp_path / run.path)
    assert answer.code == 2
    assert f"was started in {tmp_path}" in " ".join(answer.err.split())


class Lazy(nn.Sequential):
    """A network whose last layer infers its inputs from the first image."""

    def __init__(self, channels: int, classes: int):
        super().__init__(nn.Conv2d(channels, 4, 3), nn.ReLU(), nn.Flatten(), nn.LazyLinear(classes))
        self.preprocess = Preprocess(image_size=8)


def test_a_run_of_a_network_with_lazy_layers_is_evaluated_and_resumed(
    tiny: list[str], tmp_path: Path, viewfinder: Type
) -> None:
    cfg = compose_config([*tiny, "trainer.max_epochs=1", f"run_dir={tmp_path / 'run'}"])
    cfg.model = {"_target_": "test_evaluate_command.Lazy"}
    run_experiment(cfg)
    answer = viewfinder("evaluate", tmp_path / "run", "allow=test_evaluate_command")
    assert answer.code == 0, answer.err
    assert "Equal to scores.json." in answer.out
    assert viewfinder("resume", tmp_path / "run", "trainer.max_epochs=2", "allow=test_evaluate_command").code == 0
