"""Search spaces, parsed from overrides."""

from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from viewfinder.config.hydra_internals import parse_override
from viewfinder.errors import UserError
from viewfinder.sweeps.search.space import check_corners, parse_search_spec


def read_problems(*overrides: str) -> dict[str, str]:
    with pytest.raises(UserError) as error:
        check_corners(parse_search_spec(list(overrides)), lambda _: None)
    return {problem.key: f"{problem.rule} {problem.remedy}" for problem in error.value.problems}


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("optimizer.lr=interval(1e-3,5e-2)", FloatDistribution(1e-3, 5e-2)),
        ("optimizer.lr=interval(1e-4,1e-2)", FloatDistribution(1e-4, 1e-2, log=True)),
        ("optimizer.lr=tag(linear, interval(1e-4,1e-1))", FloatDistribution(1e-4, 1e-1)),
        ("optimizer.lr=tag(log, interval(1e-3,5e-2))", FloatDistribution(1e-3, 5e-2, log=True)),
        ("optimizer.weight_decay=interval(0,1)", FloatDistribution(0, 1)),
        ("data.batch_size=interval(8,64)", IntDistribution(8, 64)),
        ("data.batch_size=interval(8,1024)", IntDistribution(8, 1024, log=True)),
        ("data.batch_size=range(8,33,8)", IntDistribution(8, 32, step=8)),
        ("loss.label_smoothing=range(0.5,0,-0.1)", FloatDistribution(0.1, 0.5, step=0.1)),
        ("optimizer=adam,sgd", CategoricalDistribution(["adam", "sgd"])),
        ("optimizer.betas=choice([0.9,0.99],[0.8,0.9])", CategoricalDistribution(["[0.9,0.99]", "[0.8,0.9]"])),
    ],
)
def test_each_sweep_of_hydras_grammar_becomes_a_distribution(override: str, expected: Any) -> None:
    (parameter,) = parse_search_spec([override]).space.values()
    assert parameter.distribution == expected


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("optimizer.lr=interval(1e-4,1e-1)", "0.0001 to 0.1, log"),
        ("optimizer.weight_decay=interval(0,1)", "0 to 1"),
        ("data.batch_size=interval(8,64)", "8 to 64, whole numbers"),
        ("data.batch_size=range(8,33,8)", "8 to 32, whole numbers in steps of 8"),
        ("loss.label_smoothing=range(0.5,0,-0.1)", "0.1 to 0.5 in steps of 0.1"),
        ("optimizer=adam,sgd", "adam, sgd"),
    ],
)
def test_a_parameter_is_written_as_earlier_searches_stored_it(override: str, text: str) -> None:
    (parameter,) = parse_search_spec([override]).space.values()
    assert str(parameter) == text


def test_a_searched_range_has_the_values_of_a_swept_range() -> None:
    override = "loss.label_smoothing=range(0,0.5,0.1)"
    swept = parse_override(override)
    (parameter,) = parse_search_spec([override]).space.values()
    grid = [parameter.format_override(0.1 * step) for step in range(5)]
    assert grid == [f"loss.label_smoothing={value}" for value in swept.sweep_string_iterator()]
    assert [float(word.partition("=")[2]) for word in grid] == [0, 0.1, 0.2, 0.3, 0.4]


def test_all_unsupported_overrides_are_reported_at_once() -> None:
    problems = read_problems(
        "optimizer.lr=interval(1,0)", "optimizer.weight_decay=tag(log,interval(0,1))", "optimizer.eps=glob(*)",
        "data.batch_size=interval(1.5,3)", "model.width=range(3,4)", "trainer.max_epochs=tag(x,choice(1,2))",
    )  # fmt: skip
    rules = {
        "optimizer.lr": "smaller one first", "optimizer.weight_decay": "above 0", "optimizer.eps": "cannot be searched",
        "data.batch_size": "whole number", "model.width": "one value", "trainer.max_epochs": "tag",
    }  # fmt: skip
    assert list(problems) == list(rules)
    assert all(rule in problems[key] for key, rule in rules.items())
    assert list(read_problems("seed=1,2", "name=a,b", "run_dir=x", "optimizer.lr=1,2", "optimizer.lr=3")) == [
        "run_dir", "optimizer.lr", "seed", "name"
    ]  # fmt: skip
    assert "interval" in read_problems("seed=1")["the search"]


def test_a_searched_key_that_one_choice_lacks_is_reported_with_that_choice() -> None:
    (message,) = read_problems("optimizer=adam,sgd", "optimizer.betas=[0.9,0.99],[0.8,0.9]").values()
    assert "unknown key" in message
    assert "optimizer=sgd" in message
