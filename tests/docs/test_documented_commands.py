"""Every command of README.md and docs/ is run, by CI or here, on a few images."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from conftest import ROOT, Type
from new_process import run_scripts
from omegaconf import DictConfig, OmegaConf
from pages import PAGES, Command, list_commands, own_words, read_blocks
from PIL import Image
from typer.main import get_command
from typer.testing import CliRunner

from viewfinder.cli.main import cli
from viewfinder.config.overrides import compose_config, parse_overrides
from viewfinder.config.record import read_record
from viewfinder.experiment.check import check_config
from viewfinder.experiment.run import run_experiment
from viewfinder.experiment.verify import plan_runs
from viewfinder.runs.folder import RunFolder
from viewfinder.sweeps.folder import SweepFolder
from viewfinder.sweeps.plan import plan_jobs
from viewfinder.sweeps.search.space import parse_search_spec

SMALL = ["trainer.max_epochs=1", "trainer.limit_batches=2", "trainer.accelerator=cpu", "trainer.threads=1"]
TRAIN = ("python train.py", "viewfinder train")
SCRIPTS = ("python bench/", "python tests/")


def paint_classes(root: Path, count: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def words_of(command: Command) -> list[str]:
    """Return what is typed after `python train.py`, `viewfinder train` or a verb of `viewfinder`."""
    return shlex.split(command.line)[2:]


def is_shown_whole(command: Command) -> bool:
    """Return whether a training command needs nothing but conf/."""
    return not own_words(command.page).intersection(words_of(command))


MISSING = [name for name in ("mlflow", "wandb") if find_spec(name) is None]
"""Trackers that are not installed."""
TRAININGS = [
    command for command in list_commands(*TRAIN)
    if is_shown_whole(command) and not {"-m", "--help", "--cfg", "trainer=ddp"}.intersection(words_of(command))
    and not any(name in command.line for name in MISSING)
]  # fmt: skip
SWEEPS = list_commands("python train.py -m")
SEARCHES = list_commands("viewfinder search")
VERIFICATIONS = list_commands("viewfinder verify")


def test_every_command_is_of_a_kind_that_is_run() -> None:
    kinds = ("pip install", "ruff", "viewfinder", "tensorboard --logdir outputs", "sphinx-build", *TRAIN, *SCRIPTS)
    kinds += ("torchrun", "srun")  # test_documented_devices.py
    assert [command for command in list_commands("") if not command.line.startswith(kinds)] == []


def test_what_the_readme_installs_and_checks_is_what_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    commands = [command for command in list_commands("pip install", "ruff") if not command.page.startswith("docs/")]
    assert len(commands) >= 3
    for command in commands:
        for part in command.line.split(" && "):
            assert part in script


def test_every_extra_that_is_installed_exists() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for command in list_commands("pip install"):
        for part in command.line.split(" && "):
            if part.startswith("pip install"):
                words = [word for word in shlex.split(part)[2:] if word != "-e"]
                named = re.fullmatch(r"(?:\.|viewfinder)(?:\[(\w+)\])?", words[0])
                assert named, part
                assert named[1] in (None, *extras)


@pytest.mark.parametrize("command", TRAININGS, ids=lambda command: command.line)
def test_each_training_command_composes_to_a_valid_configuration(command: Command) -> None:
    cfg = compose_config([word for word in words_of(command) if word != "trainer=gpu"])
    check_config(cfg)


@pytest.mark.parametrize("command", SWEEPS, ids=lambda command: command.line)
def test_each_sweep_is_a_plan_of_valid_jobs(command: Command) -> None:
    jobs = plan_jobs(parse_overrides([word for word in words_of(command) if word != "-m"])).jobs
    assert len(jobs) > 1
    for job in jobs:
        check_config(DictConfig(job.config))


@pytest.mark.parametrize("command", TRAININGS, ids=lambda command: command.line)
def test_each_training_command_trains(command: Command, tmp_path: Path) -> None:
    own = ("data.root=", "data.name=", "data.arguments=", "data.path=", "data.image_column=", "data.label_column=")
    replaced = ("data=", *own, "data.group_column=", "data.split_column=", "trainer=gpu", "run_dir=")
    typed = [word for word in words_of(command) if not word.startswith(replaced)]
    small = [*SMALL, "data=image_folder", f"data.root={paint_classes(tmp_path / 'in')}", f"run_dir={tmp_path / 'run'}"]
    typed = [*small[-3:-1], *typed]  # data first, whose keys some of the commands set
    if any(word.startswith("logger=") for word in typed):
        small.append(f"output_dir={tmp_path}")
    if (model := compose_config(typed).model).get("variant"):
        network = torchvision.models.get_model(model.variant, weights=None)
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        small += [f"model.weights={tmp_path / 'weights.pth'}", "data.batch_size=2", "model.image_size=64"]
        small += ["trainer.precision=32-true"]  # untried: bfloat16 is no promise of theirs
    elif model.get("name"):
        small += ["model.weights=null", "model.image_size=32"]
    if compose_config(typed).phases:
        small += ["phases.head.epochs=1", "trainer.max_epochs=2"]
    if model.get("weights") == "RUN":
        first = small if model.get("variant") else [*small, "model.weights=null"]
        run_experiment(compose_config([*typed, *first, f"run_dir={tmp_path / 'RUN'}"]))
        small.append(f"model.weights={tmp_path / 'RUN'}")
    cfg = compose_config([*typed, *small])
    run_experiment(cfg)
    assert (tmp_path / "run" / "report.html").is_file()
    assert OmegaConf.load(tmp_path / "run" / "config.yaml") == cfg


def test_each_command_that_only_prints_does_and_a_mistake_is_answered_as_shown() -> None:
    lines = [
        shlex.split(command.line)[1:]
        for option in ("--help", "--cfg")
        for command in list_commands("python train.py")
        if option in words_of(command)
    ]
    *printed, refused = run_scripts([*lines, ["train.py", "optimizer.lrr=0.1"]], ROOT)
    assert [(answer.code, answer.err, "custom_cnn" in answer.out) for answer in printed] == [(0, "", True)] * 2
    (shown,) = [block for page in PAGES for block in read_blocks(page, "") if "optimizer.lrr" in block]
    assert (refused.code, refused.err) == (2, shown)


@pytest.mark.slow
def test_the_sweep_runs_each_combination(tmp_path: Path, viewfinder: Type) -> None:
    sweep, dry_run = [command for command in SWEEPS if "sweep.name=lr" in command.line]
    for command, said in ((sweep, "8 jobs\n"), (dry_run, "8 jobs: 8 finished\n")):
        answer = viewfinder("train", *words_of(command), *SMALL, f"output_dir={tmp_path}")
        assert answer.code == 0, answer.err
        assert said in answer.out
        assert sum(" finished " in line for line in answer.out.splitlines()) == 8
    runs = [OmegaConf.load(path) for path in sorted(tmp_path.glob("lr/*/config.yaml"))]
    assert {(run.optimizer.lr, run.seed) for run in runs} == {
        (lr, s) for lr in (1e-4, 3e-4, 1e-3, 3e-3) for s in (1, 2)
    }


@pytest.mark.parametrize("command", SEARCHES, ids=lambda command: command.line)
def test_each_search_is_a_space_of_valid_trials(command: Command) -> None:
    words = words_of(command)
    options = [word for word in words if word.startswith("--")]
    first = words.index(options[0])
    typed = parse_search_spec(words[:first])
    assert typed.space
    check_config(typed.example)
    known = {option for parameter in get_command(cli).commands["search"].params for option in parameter.opts}
    assert {*options} <= known


@pytest.mark.parametrize("command", VERIFICATIONS, ids=lambda command: command.line)
def test_each_verification_is_a_plan_of_valid_runs(command: Command) -> None:
    experiment, *words = words_of(command)
    typed = [word.replace("PICTURES", "images") for word in words if "=" in word]
    known = {option for parameter in get_command(cli).commands["verify"].params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known
    record, epochs = read_record(experiment), 1 if "--epochs" in words else None
    assert not record.find_gap(epochs)
    assert plan_runs(record, typed, None, epochs)


@pytest.mark.slow
def test_the_search_ends_with_the_command_of_its_best_trial(tmp_path: Path, viewfinder: Type) -> None:
    command = SEARCHES[0]
    answer = viewfinder(*shlex.split(command.line)[1:], *SMALL, f"output_dir={tmp_path}", "--trials", "2")
    assert answer.code == 0, answer.out + answer.err
    (repeat,) = [line.split(maxsplit=1)[1] for line in answer.out.splitlines() if line.startswith("repeat ")]
    found = compose_config([*shlex.split(repeat)[2:], f"output_dir={tmp_path}"])
    assert found in [OmegaConf.load(path) for path in tmp_path.glob("first/*/config.yaml")]


@pytest.mark.slow
def test_each_later_command_does_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paint_classes(tmp_path / "holiday", 1)
    (tmp_path / "holiday" / "cat" / "0.png").rename(tmp_path / "photo.jpg")
    (tmp_path / "tiny.py").touch()
    data = ["data=image_folder", f"data.root={paint_classes(tmp_path / 'in')}"]
    for fold in range(2):
        folds = ["data.folds=2", f"data.fold={fold}", f"run_dir=outputs/folds/{fold}"]
        run_experiment(compose_config([*SMALL, *data, *folds]))
    run_experiment(compose_config([*SMALL, *data, "run_dir=outputs/quickstart/one"]))
    Path("outputs/later").mkdir()
    SweepFolder(Path("outputs/later"), "later").write()
    for command in list_commands("viewfinder"):
        if command.line.startswith(("viewfinder search", "viewfinder train", "viewfinder verify")):
            continue
        if any(name in command.line for name in MISSING):
            continue
        words = shlex.split(
            command.line.replace("RUN", "outputs/quickstart/one")
            .replace("outputs/lr", "outputs")
            .replace("outputs/mlp_against_cnn", "outputs")
            .replace("outputs/ablation_pooling", "outputs")
            .replace("/other/place", str(tmp_path / "in"))
        )
        if command.line.startswith("viewfinder resume") and "=" not in command.line:
            RunFolder.open(tmp_path / "outputs/quickstart/one").update_run(status="running")  # as if it had been killed
        result = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert result.output.strip()
    assert len(pd.read_csv("outputs/quickstart/one/metrics.csv")) == 20
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("command", list_commands(*SCRIPTS), ids=lambda command: command.line)
def test_each_script_exists_and_takes_the_options_that_are_shown(command: Command) -> None:
    _, script, *words = shlex.split(command.line)
    calls = [node for node in ast.walk(ast.parse((ROOT / script).read_text())) if isinstance(node, ast.Call)]
    added = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == "add_argument"]
    options = {ast.literal_eval(call.args[0]) for call in added}
    assert {word for word in words if word.startswith("--")} <= options
    assert any(not option.startswith("-") for option in options) or words[0].startswith("--")


def test_tensorboard_reads_the_folder_of_runs(finished: RunFolder, tmp_path: Path) -> None:
    (command,) = list_commands("tensorboard")
    shutil.copytree(finished.path, tmp_path / "outputs" / "run")
    words = [sys.executable, "-m", "tensorboard.main", *shlex.split(command.line)[1:], "--inspect"]
    ended = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "val/accuracy" in ended.stdout
