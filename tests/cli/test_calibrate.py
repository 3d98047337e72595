"""`viewfinder evaluate --calibrate` fits a temperature that predict and export use."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CLASSES, Page, Type, noise, on_one_line, paint, raises_user_error
from scipy import optimize
from scipy.special import log_softmax

import viewfinder as package
from viewfinder.experiment.load import open_run
from viewfinder.models.inference import InferenceNetwork
from viewfinder.runs.folder import RunFolder

PROBABILITIES = [f"p_{name}" for name in CLASSES]


@pytest.fixture(scope="module")
def others(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the same classes, enough for some mistakes in val."""
    return paint(tmp_path_factory.mktemp("others"), seed=9, sizes={"train": 1, "val": 20, "test": 4})


def predict(viewfinder: Type, model: Path, images: Path, table: Path) -> np.ndarray:
    answer = viewfinder("predict", model, images, "--csv", table)
    assert answer.code == 0, answer.err
    return pd.read_csv(table)[PROBABILITIES].to_numpy()


def test_predict_and_python_use_the_temperature_that_fits_the_validation_split(
    run_copy: RunFolder, others: Path, viewfinder: Type, tmp_path: Path
) -> None:
    holiday, table = others / "test", tmp_path / "predictions.csv"
    before = predict(viewfinder, run_copy.path, holiday, table)
    values = tmp_path / "val.csv"
    viewfinder("evaluate", run_copy.path, f"data.root={others}", "--split", "val", "--csv", values)
    answer = viewfinder("evaluate", run_copy.path, f"data.root={others}", "--calibrate")
    assert (answer.code, answer.err) == (0, "")
    entry = json.loads(run_copy.calibration.read_text())["best"]
    temperature, rows = entry["temperature"], pd.read_csv(values)
    logits, labels = np.log(rows[PROBABILITIES].to_numpy()), rows["true"].map(CLASSES.index).to_numpy()

    def loss(logarithm: float) -> float:
        return -log_softmax(logits / np.exp(logarithm), axis=1)[np.arange(len(rows)), labels].mean()

    assert np.log(temperature) == pytest.approx(optimize.minimize_scalar(loss, bracket=(-1, 1)).x, abs=1e-4)
    assert entry["loss"] == pytest.approx([loss(0), loss(np.log(temperature))], abs=1e-6)
    assert entry["pictures"] == len(rows) == 60
    assert f"temperature {temperature:.4g}, fitted on 60 images of the val split" in on_one_line(answer.out)
    expected = before ** (1 / temperature)
    expected /= expected.sum(1, keepdims=True)
    assert abs(expected - before).max() > 0.005
    after = predict(viewfinder, run_copy.path, holiday, table)
    np.testing.assert_allclose(after, expected, atol=1e-6)
    run = package.load_run(run_copy.path)
    np.testing.assert_allclose(run.predict(holiday)[PROBABILITIES].to_numpy(), after, atol=1e-9)
    images = noise(4, 3, 8, 8)
    opened = open_run(run_copy.path, [], "best")
    network = InferenceNetwork(opened.classifier.network, (8, 8), temperature).eval()
    with torch.inference_mode():
        found = network(torch.from_numpy(images))
    assert opened.temperature == temperature
    torch.testing.assert_close(found[1].double(), opened.logits(torch.from_numpy(images)), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(found[0], found[1].softmax(1))


@pytest.mark.slow
def test_an_exported_file_answers_as_the_calibrated_run(
    run_copy: RunFolder, others: Path, viewfinder: Type, tmp_path: Path
) -> None:
    holiday, table = others / "test", tmp_path / "predictions.csv"
    viewfinder("evaluate", run_copy.path, f"data.root={others}", "--calibrate")
    expected = predict(viewfinder, run_copy.path, holiday, table)
    for file_format in ("onnx", "torch"):
        assert viewfinder("export", run_copy.path, "--images", holiday, "--format", file_format).code == 0
    np.testing.assert_allclose(predict(viewfinder, run_copy.onnx_model, holiday, table), expected, atol=1e-6)
    temperature = json.loads(run_copy.calibration.read_text())["best"]["temperature"]
    for model in (run_copy.onnx_model, run_copy.torch_model):
        described = json.loads(model.with_name(f"{model.name}.json").read_text())
        assert described["calibration"] == {"temperature": temperature}
        assert described["compared_with_run"]["largest_difference"] < 1e-6


def test_evaluate_says_what_calibration_changes_and_the_report_shows_both(
    run_copy: RunFolder, others: Path, viewfinder: Type
) -> None:
    first = viewfinder("evaluate", run_copy.path)
    assert "after division" not in first.out
    assert Page(run_copy.report.read_text(encoding="utf-8")).text.count("As trained") == 1
    viewfinder("evaluate", run_copy.path, f"data.root={others}", "--calibrate")
    again = viewfinder("evaluate", run_copy.path)
    temperature = json.loads(run_copy.calibration.read_text())["best"]["temperature"]
    assert f"after division of the logits by the temperature {temperature:.4g}, " in again.out
    assert again.out.splitlines()[-1] == "Equal to scores.json."
    said = " ".join(Page(run_copy.report.read_text(encoding="utf-8")).text)
    assert "As trained" in said
    assert f"With temperature {temperature:.3g}" in said


def test_a_temperature_of_other_weights_is_refused(run_copy: RunFolder, others: Path, viewfinder: Type) -> None:
    viewfinder("evaluate", run_copy.path, f"data.root={others}", "--calibrate")
    facts = json.loads(run_copy.calibration.read_text())
    facts["best"]["steps"] += 1
    run_copy.calibration.write_text(json.dumps(facts))
    answer = viewfinder("predict", run_copy.path, others / "test")
    assert (answer.code, answer.out) == (2, "")
    assert "was fitted to the best weights after" in on_one_line(answer.err)
    warned = viewfinder("evaluate", run_copy.path)
    assert warned.code == 0
    assert "was fitted to the best weights after" in on_one_line(warned.out)
    assert open_run(run_copy.path, [], "last").temperature is None
    facts["best"]["temperature"] = -1
    run_copy.calibration.write_text(json.dumps(facts))
    with raises_user_error("best.temperature"):
        assert open_run(run_copy.path, [], "best").temperature


def test_evaluate_names_confident_mistakes_and_confused_pairs(
    run_copy: RunFolder, viewfinder: Type, others: Path, tmp_path: Path
) -> None:
    answer = viewfinder("evaluate", run_copy.path, f"data.root={others}", "--split", "val", "--csv", tmp_path / "v.csv")
    rows = pd.read_csv(tmp_path / "v.csv")
    wrong = rows[rows["true"] != rows["predicted"]]
    confidence = wrong[PROBABILITIES].max(axis=1).sort_values(ascending=False)
    lines = answer.out.splitlines()
    (start,) = [number for number, line in enumerate(lines) if line.startswith("most confident mistakes")]
    for line, index in zip(lines[start + 1 : start + 6], confidence.index, strict=False):
        assert line.split()[0] == wrong.loc[index, "picture"].split()[0]
        assert line.endswith(f"{100 * confidence[index]:.1f}%")
    pair, count = max(wrong.groupby(["true", "predicted"]).size().items(), key=lambda item: item[1])
    (start,) = [number for number, line in enumerate(lines) if line.startswith("most confused")]
    assert f" {count} " in lines[start + 1]
    assert len(pair) == 2


def test_a_run_that_another_process_writes_is_not_calibrated(
    run_copy: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viewfinder.runs.lock.PATIENCE", 0.1)
    with run_copy.locked():
        answer = viewfinder("evaluate", run_copy.path, "--calibrate")
    assert (answer.code, answer.out) == (2, "")
    assert "is locked by process" in on_one_line(answer.err)
    assert not run_copy.calibration.exists()
