"""The table of predictions and the selection of the worst mistakes."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from conftest import softmax, some_predictions

from viewfinder.evaluation.classified import FLOAT_FORMAT
from viewfinder.evaluation.metrics import Predictions
from viewfinder.evaluation.predictions_csv import build_prediction_table, find_worst_mistakes
from viewfinder.reporting.charts.mistakes import draw_mistakes
from viewfinder.runs.atomic import replace_text


def test_the_worst_mistakes_are_the_wrong_ones_with_the_least_probability_of_the_truth() -> None:
    predictions = some_predictions(80, 5, seed=4)
    logits, labels = predictions.logits.numpy(), predictions.labels.numpy()
    of_truth = softmax(logits)[np.arange(80), labels]
    wrong = np.flatnonzero(logits.argmax(1) != labels)
    expected = sorted(wrong, key=lambda place: of_truth[place])
    assert find_worst_mistakes(predictions, max_mistakes=1000).tolist() == expected
    assert find_worst_mistakes(predictions).tolist() == expected[:12]
    perfect = Predictions(torch.eye(3).double(), torch.arange(3))
    assert find_worst_mistakes(perfect).tolist() == []
    assert draw_mistakes(torch.zeros(3, 1, 4, 4, dtype=torch.uint8), perfect, ["a", "b", "c"]) is None


ODD_NAMES = ["plain", "with, comma", 'with "quotes"', "line\nbreak", "NA", "ünï"]


def test_predictions_read_back_as_they_were(tmp_path: Path) -> None:
    predictions = some_predictions(30, 6, seed=5)
    pictures = [f"{ODD_NAMES[n % 6]}/{n:03}.png" for n in range(30)]
    path = tmp_path / "predictions.csv"
    table = build_prediction_table(np.array(pictures, dtype=object), predictions, ODD_NAMES)
    replace_text(path, table.to_csv(index=False, float_format=FLOAT_FORMAT))
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["picture", "true", "predicted", *(f"p_{name}" for name in ODD_NAMES)]
    assert [row["picture"] for row in rows] == pictures
    assert [row["true"] for row in rows] == [ODD_NAMES[label] for label in predictions.labels]
    probabilities = np.array([[float(row[f"p_{name}"]) for name in ODD_NAMES] for row in rows])
    np.testing.assert_allclose(probabilities, softmax(predictions.logits.numpy()), rtol=1e-8)
    assert [row["predicted"] for row in rows] == [ODD_NAMES[place] for place in probabilities.argmax(1)]


def test_a_picture_whose_file_name_is_not_utf8_has_its_row_too(tmp_path: Path) -> None:
    name = b"cat/caf\xe9.png".decode("utf-8", "surrogateescape")  # as Path gives a Latin-1 name
    table = build_prediction_table([name, "cat/b.png"], some_predictions(2, 3), ["a", "b", "c"])
    path = tmp_path / "predictions.csv"
    replace_text(path, table.to_csv(index=False, float_format=FLOAT_FORMAT))
    assert len(pd.read_csv(path, encoding_errors="replace")) == 2
