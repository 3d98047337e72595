"""The group `logger`: several at once, none, and what is refused."""

import json
from pathlib import Path

import pytest
from command_lines import QUICK, expect_error, expect_error_before_torch, find_problem

from viewfinder.config import loggers
from viewfinder.config.flatten import flatten, flatten_settings
from viewfinder.config.loggers import has_tensorboard, list_trackers, validate_loggers
from viewfinder.config.overrides import compose_config, parse_overrides
from viewfinder.config.yaml_text import to_settings
from viewfinder.evaluation.settings import describe_settings
from viewfinder.sweeps.plan import plan_jobs


def settings(*words: str) -> dict:
    return to_settings(compose_config([*QUICK, *words]))


@pytest.mark.parametrize(
    ("words", "has_board", "trackers"),
    [
        ([], True, []),
        (["logger=tensorboard"], True, []),
        (["logger=csv"], False, []),
        (["logger=none"], False, []),
        (["logger=wandb"], False, ["wandb"]),
        (["logger=[tensorboard,mlflow]"], True, ["mlflow"]),
        (["logger=[wandb,csv,mlflow]"], False, ["mlflow", "wandb"]),
        (["logger=[none,mlflow]"], False, ["mlflow"]),
    ],
)
def test_each_choice_names_its_loggers(words: list[str], has_board: bool, trackers: list[str]) -> None:
    chosen = settings(*words)
    assert has_tensorboard(chosen) == has_board
    assert sorted(list_trackers(chosen)) == trackers


def test_a_configuration_without_the_group_writes_tensorboard_as_every_earlier_run() -> None:
    assert has_tensorboard({"seed": 1})
    assert list_trackers({"seed": 1}) == {}


def test_keys_of_several_loggers_are_set_on_the_command_line() -> None:
    chosen = settings("logger=[mlflow,wandb]", "logger.mlflow.experiment_name=e", "logger.wandb.tags=[a,b]")
    assert chosen["logger"]["mlflow"]["experiment_name"] == "e"
    assert chosen["logger"]["wandb"]["tags"] == ["a", "b"]


@pytest.mark.parametrize(
    ("word", "received", "rule"),
    [
        ("logger=[tensorboard,mlfow]", "mlfow", "Did you mean mlflow?"),
        ("logger=[]", "(empty)", "unknown choice"),
        ("logger=[[mlflow]]", "[mlflow]", "Did you mean mlflow?"),
        ("model=[mlp,simple_cnn]", "[mlp,simple_cnn]", ""),
    ],
)
def test_a_wrong_name_among_several_is_answered_by_itself(
    word: str, received: str, rule: str, working_folder: Path
) -> None:
    problem = find_problem(expect_error_before_torch(*QUICK, word), word.partition("=")[0])
    assert problem.received == received
    assert rule in problem.rule


def test_the_key_of_a_logger_that_is_not_chosen_says_how_to_choose_it(working_folder: Path) -> None:
    (problem,) = expect_error_before_torch(*QUICK, "logger.mlflow.tracking_uri=x").problems
    assert problem.rule == "belongs to the logger mlflow, which is not chosen"
    assert "logger=[tensorboard,mlflow]" in problem.remedy


def test_several_loggers_without_brackets_need_a_sweep(working_folder: Path) -> None:
    jobs = plan_jobs(parse_overrides([*QUICK, "logger=tensorboard,[tensorboard,mlflow]", "seed=1,2"])).jobs
    assert [sorted(job.config["logger"]) for job in jobs] == 2 * [["tensorboard"]] + 2 * [["mlflow", "tensorboard"]]


def test_loggers_are_no_setting_that_can_change_a_score() -> None:
    plain, tracked = settings("logger=none"), settings("logger=[tensorboard,mlflow,wandb]")
    assert flatten_settings(plain) == flatten_settings(tracked)
    assert len(set(describe_settings([flatten(plain), flatten(tracked)]))) == 1


@pytest.mark.parametrize("name", ["mlflow", "wandb"])
def test_a_tracker_that_is_not_installed_is_named_before_anything_is_created(
    name: str, working_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("viewfinder.reporting.trackers.tracker.find_spec", lambda _: None)
    (problem,) = expect_error(*QUICK, f"logger={name}").problems
    assert problem.key == f"logger={name}"
    assert "not installed" in problem.rule
    assert problem.remedy == f'pip install "viewfinder[{name}]"'


@pytest.mark.parametrize(
    ("nodes", "key"),
    [
        (None, "logger"),
        ("mlflow", "logger"),
        ({"_target_": loggers.TENSORBOARD}, "logger"),
        ({"../x": {"_target_": loggers.TENSORBOARD}}, "logger.../x"),
        ({"run": None}, "logger.run._target_"),
        ({"own": {"_target_": "os.system"}}, "logger.own._target_"),
        ({"own": {"_target_": "my_file.Tracker"}}, "logger.own._target_"),
        ({"mlflow": {"_target_": loggers.TRACKERS[0], "uri": "x"}}, "logger.mlflow.uri"),
        ({"tensorboard": {"_target_": loggers.TENSORBOARD, "folder": "x"}}, "logger.tensorboard.folder"),
        ({"m": {"_target_": loggers.TRACKERS[0], "tracking_uri": {"_target_": "my.read"}}}, "logger.m.tracking_uri"),
        ({"m": {"_target_": loggers.TRACKERS[0], "files": [{"_target_": "my.read"}]}}, "logger.m.files[0]"),
        ({"m": {"_target_": loggers.TRACKERS[0], "_args_": ["x", "y", ["/etc/passwd"]]}}, "logger.m._args_"),
        ({"m": {"_target_": loggers.TRACKERS[0], "_partial_": True}}, "logger.m._partial_"),
    ],
    ids=json.dumps,
)
def test_an_invalid_group_is_refused_without_importing_what_it_names(nodes: object, key: str) -> None:
    assert [problem.key for problem in validate_loggers(nodes)] == [key]
