"""Invalid values of keys are rejected with the received value and a remedy before anything is created."""

from pathlib import Path

import pytest
import torch
from command_lines import (
    GROUPS,
    KEYS,
    NULL_IS_LEGAL,
    OUT_OF_RANGE,
    QUICK,
    REQUIRED,
    TOO_LARGE,
    TOO_SMALL,
    WRONG_TYPES,
    Case,
    assert_value_rejected,
    command_lines,
    expect_error,
    find_problem,
)

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.check import check_config


@pytest.mark.parametrize("chosen", [f"{group}={choice}" for group in GROUPS for choice in GROUPS[group]])
def test_every_shipped_choice_is_valid(chosen: str, working_folder: Path) -> None:
    if chosen == "trainer=gpu" and not torch.cuda.is_available():
        pytest.skip("this machine has no GPU")
    if chosen in ("logger=mlflow", "logger=wandb"):
        pytest.importorskip(chosen.removeprefix("logger="))
    check_config(compose_config([*QUICK, chosen, *REQUIRED.get(chosen, ())]))


@pytest.mark.parametrize(
    ("overrides", "received", "lr"), [("min_lr=0.01", "0.01", "0.001"), ("min_lr=0.5 optimizer.lr=0.2", "0.5", "0.2")]
)
def test_a_schedule_that_would_raise_the_learning_rate_is_rejected(
    overrides: str, received: str, lr: str, working_folder: Path
) -> None:
    problem = find_problem(
        expect_error(*QUICK, "scheduler=cosine", *f"scheduler.{overrides}".split()), "scheduler.min_lr"
    )
    assert f"above the learning rate, {lr}, so the rate would rise instead of fall" in problem.rule
    assert problem.received == received


@command_lines(
    key.case(f"{key.name}={value}")
    for key in KEYS
    for value in WRONG_TYPES[key.kind]
    if value != "null" or not (key.value is None or {key.name, key.last} & NULL_IS_LEGAL)
)
def test_a_value_of_a_wrong_type_is_rejected(case: Case, working_folder: Path, cats_and_dogs: Path) -> None:
    assert_value_rejected(case, cats_and_dogs)


@command_lines(
    key.case(f"{key.name}={value}")
    for key in KEYS
    for value in (
        *OUT_OF_RANGE[key.kind],
        *(table[key.last] for table in (TOO_SMALL, TOO_LARGE) if key.last in table),
    )
)
def test_a_value_out_of_range_is_rejected(case: Case, working_folder: Path, cats_and_dogs: Path) -> None:
    assert_value_rejected(case, cats_and_dogs)


@command_lines(key.case(f"{key.name}=") for key in KEYS)
def test_an_empty_value_is_rejected(case: Case, working_folder: Path, cats_and_dogs: Path) -> None:
    assert_value_rejected(case, cats_and_dogs)


def test_all_problems_of_a_configuration_are_reported_at_once(working_folder: Path) -> None:
    error = expect_error(
        *QUICK, "seed=-1", "model.dropout=2", "data.batch_size=0", "optimizer.lr=-1", "trainer.devices=x"
    )
    keys = ["data.batch_size", "model.dropout", "optimizer.lr", "seed", "trainer.devices"]
    assert sorted(problem.key for problem in error.problems) == keys
