"""Accuracy against the cost of training."""

import numpy as np
import pandas as pd
import pytest

from viewfinder.evaluation.costs import read_training_cost
from viewfinder.evaluation.frontier import find_frontier, summarise
from viewfinder.runs.folder import RunFolder


def test_the_frontier_has_the_points_that_no_other_beats() -> None:
    costs, accuracies = [1, 2, 2, 3, 3, np.nan, 4], [0.5, 0.6, 0.7, 0.7, 0.65, 0.99, 0.8]
    assert find_frontier(costs, accuracies).tolist() == [True, False, True, False, False, False, True]
    assert find_frontier([1, 1], [0.5, 0.5]).tolist() == [True, True]  # equal points do not beat each other


def test_seeds_of_a_setting_are_one_point_with_their_spread() -> None:
    rows = pd.DataFrame({
        "setting": ["a", "a", "b"], "seed": [1, 2, 1], "accuracy": [0.6, 0.7, 0.9], "seconds": [10.0, 14.0, 11.0],
        "multiply_adds": [5.0, 5.0, 9.0],
    })  # fmt: skip
    settings = summarise(rows).set_index("setting")
    assert list(settings.index) == ["b", "a"]
    assert settings.loc["a", ["seeds", "accuracy_mean", "seconds_mean"]].tolist() == pytest.approx([2, 0.65, 12])
    assert settings.loc["a", "seconds_std"] == pytest.approx(np.sqrt(8))
    assert settings["on_seconds_frontier"].tolist() == [True, False]
    assert settings["on_multiply_adds_frontier"].tolist() == [True, True]


def test_a_training_costs_three_forward_passes_for_each_image_of_each_epoch(run_copy: RunFolder) -> None:
    facts = run_copy.read_run()
    cost = read_training_cost(run_copy)
    assert cost.multiply_adds == 3 * facts["network"]["multiply_adds"] * 30 * 3  # 30 images, 3 epochs
    assert cost.seconds == pytest.approx(sum(facts["epoch_seconds"]))
    assert cost.missing == []


def test_a_frozen_backbone_costs_one_pass_for_all_epochs_with_cached_features(run_copy: RunFolder) -> None:
    network = run_copy.read_run()["network"]
    run_copy.update_run(network=network | {"trained": 10})
    assert read_training_cost(run_copy).multiply_adds == network["multiply_adds"] * 30 * 3
    seconds = read_training_cost(run_copy).seconds
    run_copy.update_run(features={"computed": 51, "seconds": 100.0})
    cost = read_training_cost(run_copy)
    assert cost.multiply_adds == network["multiply_adds"] * 30
    assert cost.seconds == pytest.approx(seconds + 100)


def test_a_run_names_what_it_does_not_tell(run_copy: RunFolder) -> None:
    run_copy.update_run(phases=["head", "everything"])
    cost = read_training_cost(run_copy)
    assert np.isnan(cost.multiply_adds)
    assert cost.missing == ["multiply-adds: its phases train different parts of the network"]
    run_copy.update_run(epoch_seconds=[])
    assert [reason.partition(":")[0] for reason in read_training_cost(run_copy).missing] == ["seconds", "multiply-adds"]
