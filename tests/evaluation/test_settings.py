"""Settings of several runs: how they differ and what they score over their seeds."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from viewfinder.evaluation.comparison import SCORES, summarise_settings
from viewfinder.evaluation.settings import describe_settings, name_phases


def config(network: str, seed: int = 1, **values: Any) -> dict[str, Any]:
    return {"model._target_": f"viewfinder.models.{network}", "seed": seed, "name": f"run {seed}", **values}


def test_runs_are_described_by_that_in_which_they_differ() -> None:
    lr = "optimizer.lr"
    assert describe_settings([config("a.One", 1, **{lr: 0.1}), config("a.One", 2, **{lr: 0.2})]) == ["lr=0.1", "lr=0.2"]
    assert describe_settings([config("a.One", 1), config("a.One", 2)]) == ["One", "One"]
    several = [
        config("a.One", **{"model.width": 1, lr: 0.1}),
        config("a.One", **{"model.width": 2, lr: 0.1}),
        config("b.Two", **{"model.width": 9, "model.depth": 3, lr: 0.1}),
    ]
    assert describe_settings(several) == ["One width=1", "One width=2", "Two"]
    clash = [config("a.One", **{"model.gamma": 1, "scheduler.gamma": k}) for k in (1, 2)]
    assert describe_settings(clash) == ["gamma=1", "gamma=2"]
    clash.append(config("a.One", **{"model.gamma": 2, "scheduler.gamma": 2}))
    assert describe_settings(clash)[-1] == "model.gamma=2 scheduler.gamma=2"


def test_runs_in_phases_are_described_by_their_choice_and_what_differs_within_it() -> None:
    def phased(lr: float, epochs: int, **more: Any) -> dict[str, Any]:
        head = {"phases.head.train": "head", "phases.head.epochs": epochs}
        return config("a.One", **head, **{"phases.fine_tune.train": "all", "phases.fine_tune.lr": lr}, **more)

    none, fine = config("a.One"), "phases=fine_tune"
    # Whether the choice was typed or an experiment's, it is one.
    typed = [["phases=none"], [fine], ["phases=none", fine, "phases.fine_tune.lr=0.1"], ["experiment=transfer"]]
    configs = name_phases([none, phased(0.1, 1), phased(0.1, 1), phased(0.1, 1)], typed)
    assert describe_settings(configs) == ["phases=none", *3 * [fine]]
    configs = name_phases([none, phased(0.1, 1), phased(0.2, 1)], [[], [fine], []])
    assert describe_settings(configs) == ["phases=none", f"{fine} fine_tune.lr=0.1", f"{fine} fine_tune.lr=0.2"]
    # The optimizer's learning rate is another.
    configs = name_phases([phased(0.1, 1, **{"optimizer.lr": 1}), phased(0.2, 2, **{"optimizer.lr": 2})], [[], []])
    assert describe_settings(configs) == [f"lr={n} fine_tune.lr=0.{n} head.epochs={n}" for n in (1, 2)]
    # What nobody typed, or what was typed for phases of two kinds, names no choice.
    assert describe_settings(name_phases([none, phased(0.1, 1)], [[], []]))[1] == "phases=head,fine_tune"
    other = {"phases.only.train": "all"}
    for word in (fine, "phases=none"):
        said = describe_settings(name_phases([none, phased(0.1, 1), config("a.One", **other)], [[], [word], [word]]))
        assert said == ["phases=none", "phases=head,fine_tune", "phases=only"]


def test_settings_are_summarised_as_numpy_does_over_their_seeds() -> None:
    rng = np.random.default_rng(0)
    rows = [
        {"setting": setting, "run": f"{setting}{seed}", "seed": seed, "best_epoch": int(rng.integers(1, 9))}
        | {name: float(rng.random()) + bonus for name in SCORES}
        for setting, bonus, seeds in (("low", 0, 3), ("high", 1, 4), ("single", 2, 1))
        for seed in range(seeds)
    ]
    found = summarise_settings(pd.DataFrame(rows).sample(frac=1, random_state=1)).to_dict("records")
    assert [row["setting"] for row in found] == ["single", "high", "low"]
    for row in found:
        mine = [each for each in rows if each["setting"] == row["setting"]]
        assert row["seeds"] == len(mine)
        assert row["best_epoch"] == pytest.approx(np.mean([each["best_epoch"] for each in mine]))
        for name in SCORES:
            values = [each[name] for each in mine]
            assert row[f"{name}_mean"] == pytest.approx(np.mean(values))
            if len(values) > 1:
                assert row[f"{name}_std"] == pytest.approx(np.std(values, ddof=1))
            else:
                assert math.isnan(row[f"{name}_std"])


def test_a_run_made_twice_with_one_seed_counts_once() -> None:
    table = pd.DataFrame([
        {"setting": "s", "run": run, "seed": seed, "best_epoch": 1, **dict.fromkeys(SCORES, value)}
        for run, seed, value in (("x", 1, 0.5), ("y", 2, 0.7), ("z", 2, 0.9))
    ])  # fmt: skip
    (row,) = summarise_settings(table).to_dict("records")
    assert row["seeds"] == 2
    assert row["best_val_mean"] == pytest.approx(0.7)  # of 0.5 and the later 0.9


def test_settings_are_told_apart_by_more_than_the_last_word_of_a_class_or_how_a_value_looks() -> None:
    nets = describe_settings(
        [{"model._target_": "one.Net"}, {"model._target_": "two.Net"}, {"model._target_": "two.Other"}]
    )
    assert nets == ["one.Net", "two.Net", "Other"]
    values = describe_settings([{"a": value} for value in (1, "1", True, "true", None, "x", "[1]", [1])])
    assert len(set(values)) == 8
    assert values[5] == "a=x"
