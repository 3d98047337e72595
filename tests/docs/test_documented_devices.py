"""Commands of docs/devices.md, with a few images, on processes of a CPU."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT
from new_process import run_forked
from pages import Command, list_commands
from ranks import run_ranks

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.check import check_config
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

SMALL = [
    "data=digits", "model=mlp", "model.widths=[4]", "trainer.max_epochs=1", "trainer.accelerator=cpu",
    "trainer.threads=1",
]  # fmt: skip
COMMANDS = [
    command for command in list_commands("python train.py", "torchrun", "srun")
    if command.page == "docs/devices.md" and "train.py" in command.line
]  # fmt: skip


def split_words(command: Command) -> tuple[list[str], list[str]]:
    """Return the words of a command up to train.py, and those after it."""
    words = shlex.split(command.line)
    end = words.index("train.py") + 1
    return words[:end], words[end:]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.line)
def test_each_command_is_valid_where_there_are_enough_cores(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viewfinder.training.hardware.count_cores", lambda: 4)
    start, words = split_words(command)
    counts = dict(word.removeprefix("--").partition("=")[::2] for word in start if "=" in word)
    cfg = compose_config([*words, "data=digits"])
    check_config(cfg)
    processes = int(counts.get("nproc-per-node", counts.get("ntasks-per-node", cfg.trainer.devices)))
    assert cfg.trainer.devices == processes == int(counts.get("gpus-per-node", processes))
    assert cfg.trainer.num_nodes == int(counts.get("nnodes", counts.get("nodes", 1)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "words", [words for command in COMMANDS if "torchrun" not in command.line
              for _, words in [split_words(command)] if "trainer.num_nodes=2" not in words],
    ids=" ".join,
)  # fmt: skip
def test_each_command_for_one_machine_trains(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("viewfinder.training.hardware.count_cores", lambda: 4)
    cfg = compose_config([*words, *SMALL, f"run_dir={tmp_path / 'run'}"])
    for rank in run_ranks(lambda rank: run_experiment(cfg).status, tmp_path, cfg.trainer.devices):
        assert (rank.code, rank.result) == (0, "finished"), rank.output


@pytest.mark.slow
def test_the_commands_of_two_nodes_make_one_run(tmp_path: Path) -> None:
    commands = [command for command in COMMANDS if "--node-rank" in command.line]
    assert len(commands) == 2
    processes = []
    for command in commands:
        start, words = split_words(command)
        script = [
            str(Path(sys.executable).with_name(start[0])),
            *start[1:],
            *words,
            *SMALL,
            f"run_dir={tmp_path / 'run'}",
        ]
        processes.append(subprocess.Popen(script, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
    for process in processes:
        _, errors = process.communicate(timeout=600)
        assert process.returncode == 0, errors
    assert RunFolder.open(tmp_path / "run").status == "finished"


@pytest.mark.slow
def test_torchrun_trains_and_resumes(tmp_path: Path) -> None:
    train, resume = list_commands("torchrun --standalone")
    _, words = split_words(train)
    lines = [
        [*split_words(train)[0], *words, *SMALL, f"run_dir={tmp_path / 'run'}"],
        [*shlex.split(resume.line.replace("RUN", str(tmp_path / "run"))), "trainer.max_epochs=2"],
    ]
    scripts = Path(sys.executable).parent
    variables = {"PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    for torchrun, *words in lines:
        completed = run_forked([scripts / torchrun, *words], ROOT, variables)
        assert completed.returncode == 0, completed.stderr
    run = RunFolder.open(tmp_path / "run")
    assert (run.status, len(run.read_metrics())) == ("finished", 2)
