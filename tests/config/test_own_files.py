"""Configuration files of the user's own are read in UTF-8, win over shipped ones, and are refused clearly otherwise."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Type, on_one_line

from viewfinder.config import own_files
from viewfinder.config.overrides import compose_config, parse_overrides
from viewfinder.config.own_files import describe_own_files, find_conf, use_config_dir
from viewfinder.errors import UserError
from viewfinder.sweeps.plan import plan_jobs

GLOBAL = "# @package _global_\n"
Write = Callable[..., Path]


@pytest.fixture
def write(working_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Function that writes a file in conf/ or another folder: write("experiment/mine.yaml", text, encoding)."""
    monkeypatch.setattr(own_files, "config_dirs", [])

    def write_file(name: str, text: str, encoding: str = "utf-8", folder: str = "conf") -> Path:
        path = working_folder / folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode(encoding))
        return path

    return write_file


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_a_byte_order_mark_changes_nothing(write: Write, encoding: str) -> None:
    write("experiment/mine.yaml", f"{GLOBAL}seed: 7\nname: köln\n", encoding)
    cfg = compose_config(["experiment=mine"])
    assert (cfg.seed, cfg.name) == (7, "köln")


@pytest.mark.parametrize(
    ("text", "encoding", "rule", "remedy"),
    [
        (f"{GLOBAL}seed: 1\nname: köln\n", "latin-1", "0xf6 in line 3", "iconv -f LATIN1"),
        (f"{GLOBAL}seed: 1\n", "utf-16", "is not UTF-8", "iconv -f UTF-16"),
        (f"{GLOBAL}optimizer:\n\tlr: 1\n", "utf-8", "line 3", "spaces, not tabs"),
        ("seed: 7\n", "utf-8", "has no effect on seed", "first line"),
        ("- seed\n", "utf-8", "must contain keys and values", "Fix that file"),
        (f"{GLOBAL}seed: 7\nseed: 8\n", "utf-8", "duplicate key seed", "Fix that line"),
    ],
)
def test_a_file_that_would_be_misread_is_refused(
    write: Write, text: str, encoding: str, rule: str, remedy: str
) -> None:
    write("experiment/mine.yaml", text, encoding)
    with pytest.raises(UserError) as caught:
        compose_config(["experiment=mine"])
    (problem,) = caught.value.problems
    assert rule in problem.rule
    assert remedy in problem.remedy


def test_an_own_file_replaces_the_shipped_one_of_its_name_and_this_is_said(write: Write) -> None:
    write("optimizer/adam.yaml", "_target_: torch.optim.Adam\nlr: 0.5\n")
    assert compose_config(["optimizer=adam"]).optimizer.lr == 0.5
    assert describe_own_files() == ["conf     your own instead of the shipped optimizer/adam.yaml"]
    jobs = plan_jobs(parse_overrides(["optimizer=adam,sgd", "data=digits", "trainer=cpu"])).jobs
    assert [job.config["optimizer"]["lr"] for job in jobs] == [0.5, compose_config(["optimizer=sgd"]).optimizer.lr]


def test_a_copy_of_the_shipped_files_is_no_news(working_folder: Path) -> None:
    shutil.copytree(find_conf(), working_folder / "conf")
    assert describe_own_files() == []


def test_an_own_primary_file_is_not_read_and_this_is_said(write: Write) -> None:
    write("config.yaml", "seed: 9\n")
    assert compose_config([]).seed == 42
    (line,) = describe_own_files()
    assert "config.yaml is not read" in line


def test_a_config_dir_comes_before_conf(write: Write, working_folder: Path) -> None:
    write("optimizer/adam.yaml", "_target_: torch.optim.Adam\nlr: 0.5\n")
    write("optimizer/adam.yaml", "_target_: torch.optim.Adam\nlr: 0.25\n", folder="mine")
    write("optimizer/quick.yaml", "_target_: torch.optim.SGD\nlr: 4\n", folder="mine")
    use_config_dir(Path("mine"))
    assert compose_config(["optimizer=adam"]).optimizer.lr == 0.25
    assert compose_config(["optimizer=quick"]).optimizer.lr == 4


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("--config-dir", "missing"), "does not exist"),
        (("-cd", "file"), "is not a folder"),
        (("hydra.searchpath=0",), "must be a list of folders"),
        (("--config-path", "x"), "would replace Viewfinder's configuration"),
        (("--config-name", "x"), "would replace Viewfinder's configuration"),
    ],
)
def test_options_that_name_no_folder_of_own_files_are_refused(
    write: Write, viewfinder: Type, working_folder: Path, words: tuple[str, ...], rule: str
) -> None:
    (working_folder / "file").touch()
    answer = viewfinder("train", "data=digits", *words)
    assert (answer.code, answer.out) == (2, "")
    assert rule in on_one_line(answer.err)
