"""Splits whose logits would take too much memory have the scores of those whose logits are kept."""

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import Train, Type

from viewfinder.data.module import ImageData
from viewfinder.evaluation.metrics import Predictions
from viewfinder.runs.folder import RunFolder
from viewfinder.training import classifier
from viewfinder.training.losses import CrossEntropy


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Let no logits be kept where they are not needed; the list gets the rows of each part that is tallied."""
    monkeypatch.setattr(classifier, "MAX_LOGITS_BYTES", 0)
    parts: list[int] = []
    original = classifier.tally

    def count(predictions: Predictions, loss: float, weight: float) -> object:
        parts.append(len(predictions.labels))
        return original(predictions, loss, weight)

    monkeypatch.setattr(classifier, "tally", count)
    return parts


@pytest.mark.parametrize("loss", [[], ["loss.class_weights=[1,2,0.5]", "loss.label_smoothing=0.1"]])
def test_a_tallied_run_has_the_files_of_another(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, without_memory: list[int], loss: list[str]
) -> None:
    small = [*loss, "data.batch_size=1", "trainer.max_epochs=1"]  # evaluated four by four
    monkeypatch.setattr(ImageData, "chunk_size", 1)
    tallied = train(tmp_path / "tallied", *small)
    assert 0 < max(without_memory) < 6
    monkeypatch.undo()
    whole = train(tmp_path / "whole", *small)
    assert tallied.predictions.read_bytes() == whole.predictions.read_bytes()
    assert_same_scores(tallied.read_scores()["best"]["val"], whole.read_scores()["best"]["val"])
    assert tallied.read_scores()["best"]["test"] == whole.read_scores()["best"]["test"]
    pd.testing.assert_frame_equal(tallied.read_metrics(), whole.read_metrics(), rtol=1e-12)


def test_evaluate_needs_no_logits_unless_it_writes_them(
    finished: RunFolder, viewfinder: Type, tmp_path: Path, without_memory: list[int]
) -> None:
    answer = viewfinder("evaluate", finished.path, "--json", tmp_path / "scores.json")
    assert answer.code == 0, answer.err
    assert sum(without_memory) == len(pd.read_csv(finished.predictions))
    scores = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert_same_scores(scores, finished.read_scores()["best"]["test"])
    without_memory.clear()
    viewfinder("evaluate", finished.path, "--csv", tmp_path / "rows.csv")
    assert (tmp_path / "rows.csv").read_bytes() == finished.predictions.read_bytes()
    assert without_memory == []


def test_a_weighted_loss_of_parts_is_that_of_the_whole() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(50, 3, generator=generator, dtype=torch.float64), torch.arange(50) ** 2 % 3
    loss = CrossEntropy([1, 2, 3], 0.1, [0.5, 2.0, 1.0])
    first, second = [
        classifier.tally(Predictions(logits[part], labels[part]), loss(logits[part], labels[part]).item(), weight)
        for part in (slice(0, 17), slice(17, 50))
        for weight in [loss.total_weight(labels[part])]
    ]
    joined = first + second
    assert joined.loss == pytest.approx(loss(logits, labels).item(), rel=1e-12)
    assert torch.equal(joined.predicted, logits.argmax(1))
    assert torch.equal(joined.labels, labels)
    assert torch.equal(joined.logits, logits[:16])


def assert_same_scores(ours: dict, theirs: dict) -> None:
    """Assert that a tally has all scores that do not need every image's probabilities."""
    assert theirs.keys() - ours.keys() == {"auroc", "average_precision", "calibration_error"}
    assert ours.pop("loss") == pytest.approx(theirs["loss"], rel=1e-12)
    assert ours == {name: theirs[name] for name in ours}
