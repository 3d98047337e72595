"""Test-time augmentation in training, evaluate, predict, export and Python."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CLASSES, Train, Type, noise, on_one_line, raises_user_error, softmax

import viewfinder as package
from viewfinder.experiment.export.run import export_run
from viewfinder.experiment.load import open_run
from viewfinder.models.inference import InferenceNetwork
from viewfinder.runs.folder import RunFolder

PROBABILITIES = [f"p_{name}" for name in CLASSES]


def read_probabilities(path: Path) -> np.ndarray:
    return pd.read_csv(path)[PROBABILITIES].to_numpy()


def test_scores_predictions_and_python_use_the_views_of_the_command(
    run_copy: RunFolder, pictures: Path, viewfinder: Type, tmp_path: Path
) -> None:
    scored, predicted = tmp_path / "scored.csv", tmp_path / "predicted.csv"
    answer = viewfinder("evaluate", run_copy.path, "--tta", "mirror", "--csv", scored)
    assert (answer.code, answer.err) == (0, "")
    assert "Not compared with scores.json, whose scores have another" in on_one_line(answer.out)
    opened = open_run(run_copy.path, [], "best")
    data = opened.open_data("test")
    pixels = data.images["test"].pixels
    logits = np.mean([opened.classifier.eval()(each).detach().numpy() for each in (pixels, pixels.flip(3))], 0)
    np.testing.assert_allclose(read_probabilities(scored), softmax(logits.astype(float)), atol=1e-5)
    assert abs(read_probabilities(scored) - read_probabilities(run_copy.predictions)).max() > 1e-3
    assert viewfinder("predict", run_copy.path, pictures / "test", "--tta", "mirror", "--csv", predicted).code == 0
    ours, theirs = (pd.read_csv(path).sort_values(PROBABILITIES)[PROBABILITIES] for path in (scored, predicted))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    model = package.load_run(run_copy.path, tta="mirror").model
    np.testing.assert_allclose(model(pixels).softmax(1), read_probabilities(scored), atol=1e-5)
    again = viewfinder("evaluate", run_copy.path, "--tta", "none")
    assert again.out.splitlines()[-1] == "Equal to scores.json."


def test_a_run_with_views_is_validated_tested_and_evaluated_on_them(
    train: Train, viewfinder: Type, tmp_path: Path
) -> None:
    plain, views, final = (
        train(tmp_path / name, *words)
        for name, words in (
            ("plain", ["logger=none"]),
            ("views", ["tta=mirror_translate"]),
            ("final", ["tta=mirror_translate", "tta.every_epoch=false", "logger=none"]),
        )
    )
    columns = ["train/loss", "train/accuracy"]
    tables = {run.path.name: pd.read_csv(run.metrics) for run in (plain, views, final)}
    assert tables["plain"].equals(tables["final"])
    assert tables["plain"][columns].equals(tables["views"][columns])
    assert not tables["plain"]["val/loss"].equals(tables["views"]["val/loss"])
    assert views.read_scores()["last"]["val"]["loss"] == pytest.approx(tables["views"]["val/loss"].iloc[-1], abs=1e-6)
    assert views.read_scores()["last"]["val"] == final.read_scores()["last"]["val"]
    assert plain.read_scores()["last"]["val"] != final.read_scores()["last"]["val"]
    assert viewfinder("evaluate", views.path).out.splitlines()[-1] == "Equal to scores.json."
    opened, pixels = open_run(final.path, [], "last"), torch.from_numpy(noise(2, 3, 8, 8))
    assert torch.equal(opened.logits(pixels), open_run(plain.path, [], "last", tta="mirror_translate").logits(pixels))
    network = InferenceNetwork(opened.classifier.network, (8, 8)).eval()
    torch.testing.assert_close(network(pixels)[1].double(), opened.logits(pixels), atol=1e-5, rtol=1e-5)


def test_features_of_a_frozen_network_are_cached_for_the_training_images_alone(
    train: Train, finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    words = [f"model.weights={finished.path}", "model.freeze=true", "tta=mirror", "logger=none"]
    run, uncached = train(tmp_path / "run", *words), train(tmp_path / "slow", *words, "model.cache_features=false")
    facts = run.read_run()["features"]
    assert facts["computed"] + facts["found"] == 30
    ours, theirs = (pd.read_csv(each.metrics) for each in (run, uncached))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert viewfinder("evaluate", run.path).out.splitlines()[-1] == "Equal to scores.json."


def test_a_temperature_belongs_to_the_views_that_it_was_fitted_with(
    run_copy: RunFolder, pictures: Path, viewfinder: Type
) -> None:
    words = [run_copy.path, f"data.root={pictures}", "--split", "train"]
    entry = {"temperature": 2.0, "steps": open_run(run_copy.path, [], "best").steps, "epoch": 1, "pictures": 6}
    entry |= {"loss": [1, 1], "calibration_error": [0, 0]}  # as an earlier version wrote it
    run_copy.calibration.write_text(json.dumps({"best": entry}))
    assert open_run(run_copy.path, [], "best").temperature == 2
    with raises_user_error(r"was fitted with tta \(none\), not with tta \(mirror, mean of logits\)"):
        assert open_run(run_copy.path, [], "best", tta="mirror").temperature
    assert "was fitted with tta (none)" in on_one_line(viewfinder("evaluate", *words, "--tta", "mirror").out)


def test_an_unknown_choice_is_refused(run_copy: RunFolder, pictures: Path, viewfinder: Type) -> None:
    answer = viewfinder("evaluate", run_copy.path, "--tta", "miror")
    assert answer.code == 2
    assert "did you mean mirror" in on_one_line(answer.err).lower()
    (run_copy.path / "model.onnx").write_bytes(b"")
    answer = viewfinder("predict", run_copy.path / "model.onnx", pictures / "test", "--tta", "mirror")
    assert "--tta = mirror cannot be changed in an exported file" in on_one_line(answer.err)


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["onnx", "torch"])
def test_an_exported_file_averages_its_views(finished: RunFolder, tmp_path: Path, file_format: str) -> None:
    opened = open_run(finished.path, [], "best", accelerator="cpu", tta="mirror_translate")
    result = export_run(opened, tmp_path / "model", file_format, "best")  # type: ignore[arg-type]
    assert result.comparison.largest_difference < 1e-6
    described = json.loads(result.description.read_text())
    assert described["test_time_augmentation"] == "mirror, translate 1, mean of logits"
