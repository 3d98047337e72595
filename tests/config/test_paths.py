"""Paths on the command line are taken as typed, with ~ for the home folder."""

from enum import Enum
from pathlib import Path

import pytest
from command_lines import expect_error
from conftest import QUICK, on_one_line
from omegaconf import OmegaConf

from viewfinder.config.overrides import compose_config, parse_overrides
from viewfinder.config.paths import PATH_KEYS
from viewfinder.config.validate import validate_arguments
from viewfinder.errors import UserError
from viewfinder.sweeps.plan import plan_jobs

FOLDER = ["data=csv", "data.path=x", "data.root=x", "model=mlp"]
PATHS = [
    "2024", "1e3", "-5", "true", "0123", "2024-01-01", "/data/grün", "/data/set #1", "a b", " a ", "it's", 'a"b',
    "a(1)", "a=b", "a&b;c!<d>", "a{b}", "a]b", "a\nb", "a\tb", "$HOME/x", "a/", "./a//b", "日本", "a\\b", "nul", "100%",
    "a:b", "é\u0301",
]  # fmt: skip


@pytest.mark.parametrize("key", [key for key in PATH_KEYS if key != "data.path"])
@pytest.mark.parametrize("path", PATHS, ids=ascii)
def test_a_path_is_taken_as_typed(key: str, path: str) -> None:
    assert OmegaConf.select(compose_config([*FOLDER, f"{key}={path}"]), key) == path


@pytest.mark.parametrize("key", [key for key in PATH_KEYS if key != "data.path"])
def test_a_tilde_is_the_home_folder(key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for typed in (f"{key}=~/a b", f"{key}='~/a b'", f'{key}="~/a b"'):
        assert OmegaConf.select(compose_config([*FOLDER, typed]), key) == "/home/me/a b"
    assert OmegaConf.select(compose_config([*FOLDER, f"{key}=./~/a"]), key) == "./~/a"


@pytest.mark.parametrize("key", [key for key in PATH_KEYS if key != "data.path"])
def test_an_unknown_home_folder_is_refused(key: str) -> None:
    error = expect_error(*FOLDER, f"{key}=~nobody-of-this-name/x")
    assert [problem.key for problem in error.problems] == [key]


def test_words_with_letters_outside_ascii_need_no_quotes() -> None:
    cfg = compose_config(["name=köln", "model=mlp"])
    assert cfg.name == "köln"


@pytest.mark.parametrize("typed", ["optimizer.lr=(1", "data.root='a", "data.root=[a", "optimizer.betas=[ü"])
def test_open_quotes_and_brackets_are_still_refused(typed: str) -> None:
    assert "cannot be parsed" in on_one_line(expect_error(*FOLDER, typed))


def test_null_means_no_path_and_a_comma_several() -> None:
    assert compose_config([*FOLDER, "run_dir=null"]).run_dir is None
    (swept,) = parse_overrides(["output_dir=a,b"])
    assert swept.is_sweep_override()


def test_an_interpolation_without_a_value_names_its_key() -> None:
    error = expect_error(*FOLDER, "data.root=a${b}")
    assert [problem.key for problem in error.problems] == ["data.root"]
    assert "'b' not found" in error.problems[0].rule


def test_a_path_that_a_run_folder_could_not_store_is_refused(working_folder: Path) -> None:
    error = expect_error("experiment=quickstart", "trainer=cpu", "output_dir='a\\${b}'")
    assert [problem.key for problem in error.problems] == ["output_dir"]


def test_a_sweep_takes_paths_as_a_single_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/scratch/me")
    monkeypatch.setenv("HOME", "/home/me")
    words = ["data=image_folder", "data.root=2024", "model=mlp", "seed=1,2", *QUICK]
    plan = plan_jobs(parse_overrides([*words, "output_dir=${oc.env:SCRATCH}/a b"]))
    assert plan.settings.output_dir == "/scratch/me/a b"
    assert [(job.config["data"]["root"], job.config["output_dir"]) for job in plan.jobs] == 2 * [
        ("2024", "/scratch/me/a b")
    ]
    assert plan_jobs(parse_overrides([*words, "output_dir=~/vf"])).settings.output_dir == "/home/me/vf"


class Kind(Enum):
    fine = "fine"


def build(kind: Kind = Kind.fine, place: Path = Path("here"), names: frozenset[str] = frozenset({"a"})) -> None:
    """Have defaults that JSON lacks."""


def test_an_error_shows_defaults_that_json_lacks() -> None:
    problems = validate_arguments("", build, {"kind": 5, "place": 7, "names": 3})
    assert [problem.key for problem in problems] == ["kind", "place", "names"]
    assert problems[0].remedy == 'The default is "fine".'
    assert all(UserError("a test", [problem]).reason for problem in problems)


def test_text_that_yaml_reads_as_something_else_is_to_be_quoted() -> None:
    def select(name: str, classes: list[str | int]) -> None:
        """Select classes by name."""

    for value in ({"name": False}, {"name": 5}, {"classes": [False, "se"]}, {"classes": ["a", 0.001]}):
        (problem,) = validate_arguments("", select, value)
        assert "in quotes" in problem.remedy
