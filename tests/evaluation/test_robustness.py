"""Accuracies on corrupted images and their summary, against values computed by hand."""

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from viewfinder.data.corruptions import CORRUPTIONS, Place
from viewfinder.evaluation.costs import read_costs
from viewfinder.evaluation.robustness import count_correct, list_levels, summarise, tabulate_accuracies


def classify_brightness(images: Tensor) -> Tensor:
    """Return logits of two classes: dark and bright."""
    bright = images.float().mean((1, 2, 3)) - 100
    return torch.stack([-bright, bright], 1)


def test_correct_images_are_counted_for_each_network_and_level_in_every_split_into_batches() -> None:
    levels = torch.tensor([10, 60, 90, 120, 180, 250])
    images = levels.view(-1, 1, 1, 1).expand(-1, 3, 8, 8).to(torch.uint8)
    labels = (levels > 100).long()
    networks = [classify_brightness, lambda images: -classify_brightness(images)]
    for sizes in ((6,), (4, 2)):
        batches = zip(images.split(sizes), labels.split(sizes), strict=True)
        counts = count_correct(networks, batches, ["brightness"], seed=0, forward_size=3)
        factors = CORRUPTIONS["brightness"].strengths
        known = [[(min(level * factor, 255) > 100) == (level > 100) for level in levels.tolist()] for factor in factors]
        expected = [6, *map(sum, known)]
        assert counts.tolist() == [expected, [6 - count for count in expected]]
        assert expected == [6, 3, 4, 5, 5, 4]


def test_the_batches_number_and_position_reach_the_corruption(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(pixels: Tensor, strength: float, place: Place) -> Tensor:
        seen.append((len(pixels), strength, place.first, place.seed, place.number))
        return pixels

    monkeypatch.setitem(CORRUPTIONS, "noise", CORRUPTIONS["noise"]._replace(function=record, levels=(None, 5.0)))
    pixels = torch.zeros(5, 1, 2, 2, dtype=torch.uint8)
    batches = [(part, torch.zeros(len(part), dtype=torch.int64)) for part in pixels.split((3, 2))]
    count_correct([classify_brightness], batches, ["noise"], seed=7, forward_size=8)
    assert seen == [(3, 5.0, 0, 7, 0), (2, 5.0, 3, 7, 1)]


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """Accuracies of two settings, one of them with two seeds, under two corruptions."""
    monkeypatch.setitem(CORRUPTIONS, "blur", CORRUPTIONS["blur"]._replace(levels=(None, 1.0)))
    monkeypatch.setitem(CORRUPTIONS, "noise", CORRUPTIONS["noise"]._replace(levels=(None, 1.0, 2.0)))
    runs = pd.DataFrame({"run": ["a", "b", "c"], "setting": ["x", "x", "y"], "seed": [1, 2, 1], "best_val": 0.0})
    counts = [np.array([80, 40, 60, 20]), np.array([100, 100, 50, 50]), np.array([0, 0, 0, 0])]
    return tabulate_accuracies(runs, counts, [100, 100, 100], ["blur", "noise"])


def test_relative_accuracies_are_averaged_over_strengths_and_then_over_corruptions(table: pd.DataFrame) -> None:
    assert list(table.columns) == ["run", "setting", "seed", "corruption", "strength", "images", "accuracy", "relative"]
    assert len(table) == 3 * len(list_levels(["blur", "noise"]))
    first = table[table["run"] == "a"]
    assert first["accuracy"].tolist() == [0.8, 0.4, 0.6, 0.2]
    np.testing.assert_allclose(first["relative"], [1, 0.5, 0.75, 0.25])
    settings, corruptions, levels = summarise(table)
    assert list(settings["setting"]) == ["x", "y"]
    x, y = settings.to_dict("records")
    # Seed 1: (0.5 + (0.75 + 0.25) / 2) / 2 = 0.5; seed 2: (1 + 0.5) / 2 = 0.75.
    assert x["relative_mean"] == pytest.approx(0.625)
    assert x["relative_std"] == pytest.approx(np.std([0.5, 0.75], ddof=1))
    assert x["corrupted_mean"] == pytest.approx((0.4 + 0.75) / 2)
    assert (x["seeds"], x["accuracy_mean"]) == (2, pytest.approx(0.9))
    assert np.isnan([y["relative_mean"], y["relative_std"]]).all()
    by_name = corruptions.set_index(["setting", "corruption"])["accuracy_mean"].to_dict()
    assert by_name == pytest.approx({("x", "blur"): 0.7, ("x", "noise"): 0.45, ("y", "blur"): 0, ("y", "noise"): 0})
    assert len(levels) == 2 * 4


def test_folds_count_like_seeds_and_may_be_missing(table: pd.DataFrame) -> None:
    folds = table["run"].map({"a": 0, "b": 1}).astype("Int64")
    settings = summarise(table.assign(seed=1, fold=folds)).settings
    assert settings[["seeds", "folds"]].to_numpy().tolist() == [[1, 2], [1, 1]]
    assert settings["relative_mean"][0] == pytest.approx(0.625)


def test_costs_of_a_run_that_records_none_are_missing() -> None:
    costs = read_costs(["no/such/run"], ["x"])
    assert costs.index.tolist() == ["x"]
    assert costs.isna().to_numpy().all()
