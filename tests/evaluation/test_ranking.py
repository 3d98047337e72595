"""Top-k accuracy, AUROC and average precision equal scikit-learn's."""

import numpy as np
import pytest
import sklearn.metrics
import torch
from conftest import softmax, some_predictions

from viewfinder.evaluation import ranking
from viewfinder.evaluation.metrics import Predictions
from viewfinder.evaluation.ranking import compute_ranking_areas, score_ranking


@pytest.mark.parametrize("never", [(), (3,), (0, 5)])
def test_ranking_scores_are_scikit_learns(never: tuple[int, ...]) -> None:
    predictions = some_predictions(200, 6, seed=len(never), never=never)
    probabilities, labels = softmax(predictions.logits.numpy()), predictions.labels.numpy()
    found = score_ranking(predictions)
    assert set(found) == {"top3", "top5", "calibration_error", "auroc", "average_precision"}
    for k in (3, 5):
        expected = sklearn.metrics.top_k_accuracy_score(labels, probabilities, k=k, labels=range(6))
        assert found[f"top{k}"] == pytest.approx(expected, abs=1e-6)
    occurring = [k for k in range(6) if k not in never]
    of_class = [(labels == k, probabilities[:, k]) for k in occurring]
    for name, metric in (
        ("auroc", sklearn.metrics.roc_auc_score),
        ("average_precision", sklearn.metrics.average_precision_score),
    ):
        assert found[name] == pytest.approx(np.mean([metric(*values) for values in of_class]), abs=1e-6)


def test_equal_probabilities_count_as_in_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    probabilities, is_true = rng.random(100).round(1), rng.random(100) < 0.3
    expected = [
        metric(is_true, probabilities)
        for metric in (sklearn.metrics.roc_auc_score, sklearn.metrics.average_precision_score)
    ]
    assert compute_ranking_areas(probabilities, is_true) == pytest.approx(expected, abs=1e-12)


def test_scores_that_need_more_classes_or_numbers_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(score_ranking(some_predictions(20, 2))) == {"calibration_error", "auroc", "average_precision"}
    one_class = Predictions(torch.eye(3).double(), torch.zeros(3, dtype=torch.int64))
    assert set(score_ranking(one_class)) == {"calibration_error"}
    diverged = Predictions(torch.full((3, 3), torch.nan).double(), torch.arange(3))
    assert score_ranking(diverged) == {}
    monkeypatch.setattr(ranking, "MAX_SORTED", 59)
    assert set(score_ranking(some_predictions(10, 6))) == {"top3", "top5", "calibration_error"}
