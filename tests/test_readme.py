"""Every command that the README shows is run, by CI or here, on a few pictures."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from PIL import Image
from typer.testing import CliRunner

from viewfinder.cli.main import cli
from viewfinder.config.overrides import compose_config
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The text of the fenced blocks of a language; of those without one for ''."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```$", README, flags=re.S | re.M)
    return [text for named, text in fenced if named == language]


COMMANDS = [line.split("  #")[0].strip() for block in blocks("bash") for line in block.splitlines()]
SMALL = ["trainer.max_epochs=1", "trainer.limit_batches=2", "trainer.accelerator=cpu", "trainer.threads=1"]


def pictures(root: Path, count: int = 12) -> Path:
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def starting(words: str) -> list[str]:
    found = [command for command in COMMANDS if command.startswith(words)]
    assert found
    return found


def test_every_command_is_of_a_kind_that_is_run() -> None:
    kinds = ("pip install", "ruff", "python train.py", "viewfinder", "tensorboard --logdir outputs")
    assert [command for command in COMMANDS if not command.startswith(kinds)] == []


def test_what_the_readme_installs_and_checks_is_what_ci_runs() -> None:
    script = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    for command in starting("pip install") + starting("ruff"):
        for part in command.split(" && "):
            assert part in script


@pytest.mark.parametrize("command", [c for c in starting("python train.py") if " -m " not in c and "tiny" not in c])
def test_each_training_command_trains(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = [word for word in shlex.split(command)[2:] if not word.startswith(("data=", "data.root=", "trainer=gpu"))]
    small = [*SMALL, "data=image_folder", f"data.root={pictures(tmp_path / 'in')}", f"run_dir={tmp_path / 'run'}"]
    if (model := compose_config(typed).model).get("variant"):
        network = torchvision.models.get_model(model.variant, weights=None)
        torch.save(network.state_dict(), tmp_path / "weights.pth")
        small += [f"model.weights={tmp_path / 'weights.pth'}", "data.batch_size=2", "model.image_size=64"]
        small += ["trainer.precision=32-true"]  # untried: bfloat16 is no promise of theirs
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


def test_the_sweep_runs_each_combination(tmp_path: Path) -> None:
    sweep, dry_run = starting("python train.py -m")
    for command, said in ((sweep, "8 jobs\n"), (dry_run, "8 jobs: 8 finished\n")):
        typed = [*shlex.split(command)[1:], *SMALL, f"output_dir={tmp_path}"]
        done = subprocess.run([sys.executable, *typed], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
        assert sum(" finished " in line for line in done.stdout.splitlines()) == 8
    runs = [OmegaConf.load(path) for path in sorted(tmp_path.glob("lr/*/config.yaml"))]
    assert {(run.optimizer.lr, run.seed) for run in runs} == {
        (lr, s) for lr in (1e-4, 3e-4, 1e-3, 3e-3) for s in (1, 2)
    }


def test_the_search_ends_with_the_command_of_its_best_trial(tmp_path: Path) -> None:
    (command,) = starting("viewfinder search")
    script = Path(sys.executable).with_name("viewfinder")
    typed = [*shlex.split(command)[1:], *SMALL, f"output_dir={tmp_path}", "--trials", "2"]
    done = subprocess.run([script, *typed], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (repeat,) = [line.split(maxsplit=1)[1] for line in done.stdout.splitlines() if line.startswith("repeat ")]
    found = compose_config([*shlex.split(repeat)[2:], f"output_dir={tmp_path}"])
    assert found in [OmegaConf.load(path) for path in tmp_path.glob("first/*/config.yaml")]


def test_each_later_command_does_its_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "holiday", 1)
    (tmp_path / "holiday" / "cat" / "0.png").rename(tmp_path / "photo.jpg")
    data = ["data=image_folder", f"data.root={pictures(tmp_path / 'in')}"]
    run_experiment(compose_config([*SMALL, *data, "run_dir=outputs/quickstart/one"]))
    for command in (each for each in starting("viewfinder") if not each.startswith("viewfinder search")):
        words = shlex.split(
            command.replace("RUN", "outputs/quickstart/one")
            .replace("outputs/lr", "outputs")
            .replace("/other/place", str(tmp_path / "in"))
        )
        if command.startswith("viewfinder resume") and "=" not in command:
            RunFolder.open(tmp_path / "outputs/quickstart/one").update_run(status="running")  # as if it had been killed
        result = CliRunner().invoke(cli, words[1:], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        assert result.output.strip()
    assert len(pd.read_csv("outputs/quickstart/one/metrics.csv")) == 20
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 3


def test_a_network_of_ones_own_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "conf" / "model").mkdir(parents=True)
    (tmp_path / "tiny.py").write_text(blocks("python")[0])
    (tmp_path / "conf" / "model" / "tiny.yaml").write_text(blocks("yaml")[0])
    (command,) = [c for c in COMMANDS if "tiny" in c]
    typed = [*shlex.split(command)[2:], *SMALL, "data=digits", "run_dir=run"]
    script = [sys.executable, str(ROOT / "train.py"), *typed]
    done = subprocess.run(script, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").model == {"_target_": "tiny.Tiny", "width": 32}


def test_a_mistake_is_answered_as_shown() -> None:
    (shown,) = [block for block in blocks("") if "optimizer.lrr" in block]
    script = [sys.executable, "train.py", "optimizer.lrr=0.1"]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, shown)
