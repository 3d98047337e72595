"""Charts show the numbers that they are given."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from conftest import noise, softmax, some_predictions
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image
from scipy.ndimage import binary_erosion

from viewfinder.evaluation.confusion import find_most_confused, normalise_rows
from viewfinder.evaluation.metrics import Predictions, count_confusion
from viewfinder.reporting.charts.confusion import ConfusionFrames, draw_confusion
from viewfinder.reporting.charts.files import save_figure
from viewfinder.reporting.charts.images import CELL_HEIGHT, CELL_WIDTH, draw_images, format_captions


def test_each_row_of_a_normalised_confusion_matrix_sums_to_one_or_is_empty() -> None:
    predictions = some_predictions(100, 5, never=(2,))
    true, predicted = predictions.labels.numpy(), predictions.logits.numpy().argmax(1)
    expected = sklearn.metrics.confusion_matrix(true, predicted, labels=range(5), normalize="true")
    found = normalise_rows(count_confusion(predictions).numpy())
    np.testing.assert_allclose(found, expected)
    np.testing.assert_allclose(found.sum(axis=1), [1, 1, 0, 1, 1])


def test_the_most_confused_pairs_are_those_that_pandas_counts() -> None:
    names = ["a", "b", "c", "d"]
    predictions = some_predictions(150, 4, seed=3)
    frame = pd.DataFrame({"true": predictions.labels, "predicted": predictions.logits.argmax(1)})
    counts = frame[frame["true"] != frame["predicted"]].value_counts()
    totals = frame["true"].value_counts()
    found = find_most_confused(count_confusion(predictions).numpy(), names, max_pairs=20)
    assert len(found) == len(counts)
    assert [pair["pictures"] for pair in found] == sorted(counts, reverse=True)
    for pair in found:
        i, j = names.index(pair["true"]), names.index(pair["predicted"])
        assert pair["pictures"] == counts[(i, j)]
        assert pair["share"] == pytest.approx(counts[(i, j)] / totals[i])
    assert find_most_confused(count_confusion(predictions).numpy(), names, max_pairs=3) == found[:3]
    assert find_most_confused(np.diag([3, 4]), ["a", "b"]) == []


@pytest.mark.parametrize("name", ["US$ and CA$", r"$\frac$", "a_b^c", "$", "50% {x}", r"back\slash"])
def test_a_class_name_is_drawn_as_it_is_written(tmp_path: Path, name: str) -> None:
    figure = draw_confusion(np.array([[3, 1], [0, 4]]), [name, "other"], "test")
    save_figure(figure, tmp_path / "drawn.png")
    with Image.open(tmp_path / "drawn.png") as picture:
        picture.verify()
    labels = [text for text in figure.findobj(Text) if name in text.get_text().replace(r"\$", "$")]
    assert labels
    assert not any(is_formula(text) for text in labels)


def is_formula(text: Text) -> bool:
    """Tell whether Matplotlib reads a text as mathematics: it has an even number of unescaped dollar signs."""
    dollars = len(re.findall(r"(?<!\\)\$", text.get_text()))
    return text.get_parse_math() and dollars > 0 and dollars % 2 == 0


def test_the_confusion_heat_map_writes_shares_of_true_classes_on_its_cells() -> None:
    counts = np.array([[3, 1, 0], [0, 0, 0], [2, 2, 4]])
    axes = draw_confusion(counts, ["a", "b", "c"], "test").axes[0]
    written = {text.get_position(): text.get_text() for text in axes.texts}
    for row, column in np.ndindex(3, 3):
        share = counts[row, column] / max(counts[row].sum(), 1)
        assert written.get((column, row), "0.00") == f"{share:.2f}"
    assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["a", "b", "c"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted class", "true class")


def test_the_heat_map_of_an_epoch_is_the_one_that_matplotlib_draws() -> None:
    counts = np.random.default_rng(3).integers(0, 50, (7, 7))
    names = [f"class {number}" for number in range(7)]
    frames = ConfusionFrames(names, "validation")
    frames.draw(counts[::-1])  # of an epoch before, of which nothing may remain
    canvas = FigureCanvasAgg(draw_confusion(counts, names, "validation", numbers=False))
    canvas.draw()
    theirs = np.asarray(canvas.buffer_rgba())[..., :3].astype(int)
    apart = np.abs(np.asarray(frames.draw(counts)).astype(int) - theirs).max(axis=2) > 1
    # Where two cells meet, and at the frame, Matplotlib mixes the colours over a pixel: lines, never an area.
    assert not binary_erosion(apart, np.ones((3, 3))).any()


def test_pictures_stand_under_captions_in_the_colour_of_right_and_wrong() -> None:
    predictions = Predictions(torch.tensor([[2.0, 0.0], [2.0, 0.0]]).double(), torch.tensor([0, 1]))
    pixels = noise(2, 3, 5, 4)
    sheet = draw_images(torch.from_numpy(pixels), predictions, ["cat", "dog"])
    for place, colour in enumerate(((0x2B, 0x6A, 0x30), (0xB3, 0x26, 0x1E))):
        cell = sheet.crop((place * CELL_WIDTH, 0, (place + 1) * CELL_WIDTH, CELL_HEIGHT))
        shown = cell.crop(
            ((CELL_WIDTH - 120) // 2, CELL_HEIGHT - 150, (CELL_WIDTH + 120) // 2, CELL_HEIGHT)
        )  # 4 by 5 times 30
        assert np.array_equal(np.asarray(shown)[15::30, 15::30], pixels[place].transpose(1, 2, 0))
        caption = np.asarray(cell)[: CELL_HEIGHT - 150].reshape(-1, 3)
        inked = caption[(caption != 255).any(axis=1)]
        assert len(inked)
        assert (inked == colour).all(axis=1).any()
        # Letters are the colour itself, or its mixture with the white paper.
        assert (inked >= np.array(colour) - 1).all()


def test_a_caption_says_prediction_probability_and_the_truth_where_it_is_another() -> None:
    predictions = Predictions(torch.tensor([[2.0, 0.0], [2.0, 0.0]]).double(), torch.tensor([0, 1]))
    share = f"{softmax(np.array([[2.0, 0.0]]))[0, 0]:.0%}"
    assert format_captions(predictions, ["cat", "dog"]) == [(f"cat {share}", True), (f"cat {share}\nis dog", False)]
