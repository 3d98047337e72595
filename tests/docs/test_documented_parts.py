"""Files and Python code that README.md and docs/ show work as they stand."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import Type, noise, raises_user_error, write_images
from omegaconf import OmegaConf
from pages import FILE, PAGES, Command, list_commands, own_words, read_blocks, write_files
from PIL import Image
from typer.main import get_command

import viewfinder
from viewfinder.cli.main import cli
from viewfinder.config.overrides import compose_config, find_conf
from viewfinder.experiment.export.run import Export
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

SMALL = ["trainer.max_epochs=1", "trainer.limit_batches=2", "trainer.accelerator=cpu", "trainer.threads=1"]
PARTS = [
    command for command in list_commands("python train.py", "viewfinder train")
    if own_words(command.page).intersection(shlex.split(command.line))
]  # fmt: skip


def test_a_network_of_ones_own_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type) -> None:
    (command,) = [command for command in PARTS if command.page == "README.md"]
    write_files("README.md", tmp_path)
    monkeypatch.chdir(tmp_path)
    answer = viewfinder("train", *shlex.split(command.line)[2:], *SMALL, "data=digits", "run_dir=run")
    del sys.modules["tiny"]
    assert answer.code == 0, answer.err
    assert OmegaConf.load(tmp_path / "run" / "config.yaml").model == {"_target_": "tiny.Tiny", "width": 32}


def test_both_pages_show_the_same_network() -> None:
    shown = {page: [block for block in read_blocks(page, "python") if "tiny.py" in block] for page in PAGES}
    assert shown["README.md"] == shown["docs/own-parts.md"] != []


@pytest.mark.parametrize("command", [c for c in PARTS if c.page != "README.md"], ids=lambda command: command.line)
def test_each_part_of_ones_own_trains(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_files(command.page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for path in tmp_path.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)
    typed = shlex.split(command.line)[2:]
    data = [] if any(word.startswith("data=") for word in typed) else ["data=digits"]
    epochs = ["trainer.max_epochs=2"] if "phases=mine" in typed else []
    scores = run_experiment(compose_config([*data, *typed, *SMALL, *epochs, "run_dir=run"])).read_scores()
    assert 0 <= scores["best"]["test"]["accuracy"] <= 1
    for path in tmp_path.glob("*.py"):
        monkeypatch.delitem(sys.modules, path.stem, raising=False)


def test_the_python_code_that_is_shown_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path, "holiday")
    digits = find_conf() / "data" / "digits.yaml"
    (tmp_path / "conf" / "data").mkdir(parents=True)
    (tmp_path / "conf" / "data" / "digits.yaml").write_text(digits.read_text().replace("limit: null", "limit: 64"))
    for block in read_blocks("docs/python.md", "python"):
        assert not FILE.match(block)
        capsys.readouterr()
        exec(compile(block, "docs/python.md", "exec"), {})
        assert capsys.readouterr().out.strip()


def test_the_code_that_is_shown_for_an_exported_file_names_its_class(
    finished: RunFolder, onnx_export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    shutil.copytree(onnx_export.path.parent, tmp_path / "RUN")
    Image.fromarray(noise(30, 20, 3)).save(tmp_path / "photo.jpg")
    (block,) = read_blocks("docs/export.md", "python")
    exec(compile(block, "docs/export.md", "exec"), {})
    get_command(cli)(["predict", str(finished.path), "photo.jpg", "--csv", "predictions.csv"], standalone_mode=False)
    assert capsys.readouterr().out.startswith(pd.read_csv("predictions.csv")["predicted"][0] + "\n")


def test_a_run_is_trained_and_loaded_from_python_as_by_the_commands(tmp_path: Path) -> None:
    trained = viewfinder.train("model=mlp", "data=digits", *SMALL, f"run_dir={tmp_path / 'run'}")
    assert json.loads((tmp_path / "run" / "scores.json").read_text()) == trained.scores
    run = viewfinder.load_run(tmp_path / "run", weights="last", overrides=["data.split_seed=42"])
    pixels, _ = next(iter(run.dataloader("test", batch_size=3)))
    table = pd.read_csv(tmp_path / "run" / "predictions.csv")
    probabilities = run.model(pixels).softmax(1)
    np.testing.assert_allclose(probabilities, table.filter(like="p_").head(3), atol=1e-5)
    with raises_user_error(r"optimizer\.lrr"):
        viewfinder.train("optimizer.lrr=1")


def test_importing_viewfinder_imports_neither_torch_nor_hydra() -> None:
    code = "import sys, viewfinder; assert not {'torch', 'hydra', 'omegaconf'} & set(sys.modules); viewfinder.train"
    subprocess.run([sys.executable, "-c", code], check=True)
