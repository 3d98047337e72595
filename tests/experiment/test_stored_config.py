"""Commands on an existing run read overrides as training does, and find its data from any folder."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import Type, on_one_line, raises_user_error
from omegaconf import OmegaConf

from viewfinder.config.overrides import compose_config
from viewfinder.data.resources import count_cores
from viewfinder.errors import UserError
from viewfinder.experiment.find_run import find_run
from viewfinder.experiment.load import open_run
from viewfinder.experiment.stored_config import load_config
from viewfinder.runs.folder import RunFolder


@pytest.mark.parametrize(
    "typed",
    [
        "data.root=/data/set #1", "data.root=2024", "data.root=~/a", "data.root='a, b'", "data.root=a: b",
        "data.root=grün",
        "data.batch_size=1_0", "data.classes=[no,se]", "data.classes=[yes, 007]", "data.classes=null",
        "optimizer.lr=.5", "trainer.checkpoint_every=10min", "name=0x10", "name=12:30", "data.download=true",
        "data.storage=\"disk\"", "model.weights=null", "loss.class_weights=[1e-3,2,3]", "data.stratify=True",
    ],
)  # fmt: skip
def test_an_override_has_the_value_that_it_has_in_training(finished: RunFolder, typed: str, tiny: list[str]) -> None:
    key = typed.partition("=")[0]
    if key == "data.download":
        pytest.skip("an image folder has no such key")
    ours, theirs = load_config(finished, [typed]), compose_config([*tiny, typed])
    assert OmegaConf.select(ours, key) == OmegaConf.select(theirs, key)


@pytest.mark.parametrize(
    ("typed", "rule"),
    [
        ("data.batch_size=1,2", "has several values"),
        ("trainer.max_epochs=(1", "cannot be parsed"),
        (f"trainer.max_epochs={'9' * 5000}", "trainer.max_epochs = [...]"),
        ("data.rot=x", "Did you mean data.root?"),
        ("+data.root=x", "no such key"),
        ("~data.root=x", "no such key"),
        ("data.root", "is not key=value"),
        ("data=x", "is a group of keys"),
        ("data.root=${nothing}", "'nothing' not found"),
    ],
)
def test_an_override_that_does_not_fit_the_run_is_refused(finished: RunFolder, typed: str, rule: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(finished, [typed])
    assert rule in on_one_line(caught.value)


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        ("data.root=/x/a,b", "/x/a,b"),
        ("data.root=~root/(1),2", "~root/(1),2"),
        ("data.root=a,b\\", "a,b\\"),
        ("model.weights=a,b", "a,b"),
        ("name=first, second", "first, second"),
        ("name=it's", "it's"),
        ("name=range(1,3)", "range(1,3)"),
    ],
)
def test_text_with_commas_and_brackets_is_taken_as_typed(finished: RunFolder, typed: str, value: str) -> None:
    cfg = load_config(finished, [typed])
    assert OmegaConf.select(cfg, typed.partition("=")[0]) == value.replace("~root", str(Path("~root").expanduser()))


def test_a_run_with_more_threads_than_this_machine_can_start_opens_but_no_run_is_given_so_many(
    run_copy: RunFolder,
) -> None:
    many = max(256, count_cores()) + 44
    settings = run_copy.read_settings()
    run_copy.write_settings({**settings, "trainer": {**settings["trainer"], "threads": many}})
    open_run(run_copy.path, [], "best")
    assert torch.get_num_threads() <= many - 44
    with raises_user_error(f"must be at most {many - 44}"):
        open_run(run_copy.path, [f"trainer.threads={many}"], "best")
    assert run_copy.read_settings()["trainer"]["threads"] == many


def record_start(run: RunFolder, folder: Path, **data: str) -> None:
    """Make a run look as if it was started in a folder, with other keys of its data."""
    facts = json.loads(run.run.read_text(encoding="utf-8"))
    run.run.write_text(json.dumps({**facts, "working_folder": str(folder)}), encoding="utf-8")
    settings = run.read_settings()
    run.write_settings({**settings, "data": {**settings["data"], **data}})


def test_relative_paths_are_found_where_the_run_was_started(
    run_copy: RunFolder, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record_start(run_copy, pictures.parent, root=pictures.name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    data = open_run(run_copy.path, [], "best").open_data("test")
    assert data.summarise()["fingerprint"]["test"] == run_copy.read_data()["fingerprint"]["test"]
    assert run_copy.read_settings()["data"]["root"] == pictures.name


@pytest.mark.parametrize("root", ["images", "~/images", "./images/", "{home}/images"])
def test_a_runs_class_folders_are_split_as_in_the_run_from_any_working_folder(
    root: str, run_copy: RunFolder, pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    shutil.copytree(pictures / "train", home / "images")
    monkeypatch.setenv("HOME", str(home))
    record_start(run_copy, home, root=root.format(home=home))
    shutil.copy(home / "images" / "owl" / "00.png", home / "images" / "owl" / "new.png")
    total = sum(path.is_file() for path in home.rglob("*"))
    (tmp_path / "elsewhere").mkdir()
    names = []
    for folder, typed in ((home, []), (tmp_path / "elsewhere", []), (tmp_path, ["data.root=home/images"])):
        monkeypatch.chdir(folder)
        data = open_run(run_copy.path, typed, "best").list_data("test")
        names.append(list(data.splits["test"].names))
    assert len(names[0]) == round(0.2 * total)
    assert names[1:] == names[:1] * 2
    shutil.copytree(home / "images", tmp_path / "others")
    data = open_run(run_copy.path, [f"data.root={tmp_path / 'others'}"], "best").list_data("test")
    assert len(data.splits["test"]) == total


def test_a_path_in_the_working_folder_comes_before_the_one_where_the_run_was_started(
    run_copy: RunFolder, pictures: Path, tmp_path: Path
) -> None:
    record_start(run_copy, pictures.parent, root=pictures.name)
    Path(pictures.name).mkdir()  # in the working folder
    assert load_config(run_copy, []).data.root == pictures.name
    assert load_config(run_copy, ["data.root=other"]).data.root == "other"


def test_the_latest_run_is_looked_for_in_the_given_output_folder(
    finished: RunFolder, working_folder: Path, seeds: Path
) -> None:
    run, overrides = find_run("latest", ["seed=3", f"output_dir={finished.path.parent}"])
    assert (run.path, overrides) == (finished.path, ["seed=3"])
    with raises_user_error("below outputs/"):
        find_run("latest")
    with raises_user_error("below seeds/"):
        find_run("latest", ["output_dir=seeds/"])


def test_every_command_takes_the_latest_run_of_a_folder_and_the_home_folder(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    run = shutil.copytree(finished.path, tmp_path / "outputs" / "net" / "run")
    photo = run / "curves.png"
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for name in ("latest", "outputs/latest", "outputs/net/latest", "~/outputs/net/run", "~/outputs/latest"):
        for command in (["evaluate", name], ["predict", name, photo], ["compare", name], ["report", name]):
            answer = viewfinder(*command)
            assert (command, answer.code, answer.err) == (command, 0, "")
        refused = viewfinder("resume", name)
        assert "has finished all 3 epochs" in on_one_line(refused.err)
    monkeypatch.chdir(run)
    assert find_run("latest")[0].path.resolve() == run


def test_a_path_that_is_not_a_run_is_refused_as_what_it_is(
    finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(finished.path, tmp_path / "net" / "run")
    monkeypatch.chdir(tmp_path)
    for name, rule, remedy in (
        ("net/rum", "does not exist", "Did you mean run?"),
        ("net/run/best.ckpt", "is a file", "Pass its folder: net/run"),
        ("net", "is not a run folder", "or net/latest for the last one"),
        ("~nobody/run", "does not exist", ""),
    ):
        with pytest.raises(UserError) as error:
            find_run(name)
        (problem,) = error.value.problems
        assert rule in problem.rule
        assert remedy in problem.remedy
