"""Records in the headers of experiments."""

from pathlib import Path

import pytest
import yaml
from conftest import raises_user_error

from viewfinder.config.overrides import compose_config
from viewfinder.config.own_files import find_conf
from viewfinder.config.record import Figure, extract_record, parse_figure, parse_record, read_record

RECORDED = [
    path.stem for path in sorted(find_conf().glob("experiment/*.yaml"))
    if extract_record(path.read_text(encoding="utf-8")) is not None
]  # fmt: skip
TEXT = """\
# @package _global_
# A header.
# recorded:
#   command: python train.py -m experiment=small data.root=PICTURES 'model.widths=[8],[16]' model.weights=RUN
#     optimizer.lr=0.1
#   seeds: [4, 5]
#   date: 2026-11-24
#   machine: one core
#   scores:
#   - {with: "model.widths=[8]", precision: 32-true, test/best: 0.6060 ±0.0017}
#   - {with: "model.widths=[8]", test/best: 0.61}
#   - {with: "model.widths=[16]", val/epochs: [0.5 ±0.1, 0.6 ±0.02]}
# Not part of it.
seed: 1
"""


def parse(text: str) -> object:
    extracted = extract_record(text)
    assert extracted is not None
    return parse_record(extracted, Path("small.yaml"))


def test_a_record_is_read_from_the_indented_comments_below_its_first_line() -> None:
    record = parse(TEXT)
    assert record.command.endswith("model.weights=RUN optimizer.lr=0.1")
    assert record.seeds == [4, 5]
    assert record.settings() == ["model.widths=[8]", "model.widths=[16]"]
    assert record.scores[0].test_best == Figure(0.606, 0.0017, 1e-4)
    assert record.scores[2].val_epochs[1] == Figure(0.6, 0.02, 0.1)
    assert extract_record("# recorded: no\nseed: 1\n") is None


def test_the_overrides_of_a_run_are_those_of_the_command_the_setting_and_the_user() -> None:
    typed = ["data.root=/a", "model.weights=/b", "optimizer.lr=0.2"]
    expected = [
        "experiment=small",
        "data.root=/a",
        "model.widths=[16]",
        "model.weights=/b",
        "optimizer.lr=0.2",
        "seed=9",
    ]
    assert parse(TEXT).build_overrides("model.widths=[16]", typed, 9) == expected


def test_all_values_that_a_command_leaves_open_are_asked_for_at_once() -> None:
    with raises_user_error("2 problems.*data.root = PICTURES.*model.weights = RUN"):
        parse(TEXT).build_overrides("", [], 1)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("seeds: [4, 5]", "seeds: [4, 4]", "a standard deviation needs several seeds"),
        ("0.6060 ±0.0017", "60.6 ±0.2", "must be an accuracy from 0 to 1"),
        ("test/best: 0.61", "test/first: 0.61", "scores.1.test/first is an unknown key"),
        ("machine: one core", "machine: [", "is invalid YAML"),
        ("date: 2026-11-24", "date: yesterday", "small.yaml: date"),
    ],
)
def test_an_invalid_record_is_refused_with_the_place(old: str, new: str, problem: str) -> None:
    assert old in TEXT
    with raises_user_error(problem):
        parse(TEXT.replace(old, new))


def test_an_experiment_without_a_record_and_an_unknown_one_are_told_apart() -> None:
    with raises_user_error("Did you mean quickstart"):
        read_record("quikstart")
    with raises_user_error("has no record.*quickstart"):
        read_record("ablation_depth")


@pytest.mark.parametrize("name", RECORDED)
def test_each_setting_of_a_shipped_record_is_a_run_of_its_experiment(name: str) -> None:
    record = read_record(name)
    swept = yaml.safe_load((find_conf() / "experiment" / f"{name}.yaml").read_text(encoding="utf-8"))
    params = swept.get("hydra", {}).get("sweeper", {}).get("params", {})
    typed = [f"{key}=x" for key in record.open_keys()]
    assert bool(params) is ("-m" in record.command.split())
    for setting in record.settings():
        overrides = record.build_overrides(setting, typed, record.seeds[0])
        assert f"experiment={name}" in overrides
        cfg = compose_config(overrides)
        assert cfg.seed == record.seeds[0]


def test_figures_keep_the_step_of_their_last_digit() -> None:
    assert parse_figure("0.9916") == Figure(0.9916, None, 1e-4)
    assert parse_figure("0.453 ±0.012").step == pytest.approx(1e-3)
    assert parse_figure("1.0 +- 0.0").deviation == 0
