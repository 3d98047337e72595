"""Runs in Python: their tables, network, data and predictions, and objects in place of YAML."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import QUICK, Type, assert_same_run, on_one_line, raises_user_error
from PIL import Image
from sklearn.metrics import confusion_matrix
from torch import nn

import viewfinder as vf
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.sources.digits import Digits
from viewfinder.errors import Stopped, UserError
from viewfinder.experiment.trained_run import TrainedRun
from viewfinder.runs.folder import RunFolder

SCRIPT = """
import viewfinder

run = viewfinder.load_run("RUN", weights="last")
names: list[str] = run.class_names
logits = run.model.forward(run.model.preprocess.scale)
size: int = logits.shape[0]
for images, labels in run.dataloader("val"):
    count: int = images.shape[0] + labels.shape[0]
trained = viewfinder.train(overrides=["model=mlp"])
wrong: int = trained.class_names
"""


TINY = [*QUICK, "trainer.limit_batches=2", "trainer.checkpoint_every=1"]


@pytest.fixture
def run(finished: RunFolder) -> TrainedRun:
    return vf.load_run(finished.path)


def test_tables_are_those_of_the_run_folder(run: TrainedRun, finished: RunFolder) -> None:
    pd.testing.assert_frame_equal(run.history, pd.read_csv(finished.metrics))
    assert run.scores == finished.read_scores()
    assert run.config == finished.read_settings()
    table = pd.read_csv(finished.predictions)
    names = finished.read_data()["class_names"]
    expected = confusion_matrix(table["true"], table["predicted"], labels=names)
    matrix = run.confusion()
    np.testing.assert_array_equal(matrix, expected)
    assert (list(matrix.index), list(matrix.columns)) == (names, names)
    assert (matrix.index.name, matrix.columns.name) == ("true", "predicted")


def test_predictions_of_files_folders_images_and_tensors_are_those_of_the_run(
    run: TrainedRun, finished: RunFolder, pictures: Path
) -> None:
    table = pd.read_csv(finished.predictions)
    paths = [pictures / name for name in table["picture"]]
    expected = table.filter(like="p_").to_numpy()
    arrays = [np.array(Image.open(path).convert("RGBA")) for path in paths]
    for images in (paths, [str(path) for path in paths], [Image.open(path) for path in paths], arrays):
        found = run.predict(images)
        np.testing.assert_allclose(found.filter(like="p_"), expected, atol=1e-6)
        assert list(found["predicted"]) == list(table["predicted"])
    below = run.predict(pictures / "test").set_index("picture").loc[[str(path) for path in paths]]
    np.testing.assert_allclose(below.filter(like="p_"), expected, atol=1e-6)
    one = run.predict(paths[0])
    np.testing.assert_allclose(one.filter(like="p_"), expected[:1], atol=1e-6)
    batches = [(images, labels) for images, labels in run.dataloader("test", batch_size=4)]
    assert [len(labels) for _, labels in batches] == [4, 4, 4, 3]
    pixels, labels = (torch.cat(column) for column in zip(*batches, strict=True))
    assert (pixels.dtype, tuple(pixels.shape[1:])) == (torch.uint8, run.image_shape)
    assert [run.class_names[label] for label in labels] == list(table["true"])
    levels = pixels.permute(0, 2, 3, 1).numpy()
    for several, first in ((pixels, pixels[0]), (list(pixels), pixels[0]), (levels, levels[0])):
        np.testing.assert_allclose(run.predict(several).filter(like="p_"), expected, atol=1e-6)
        np.testing.assert_allclose(run.predict(first).filter(like="p_"), expected[:1], atol=1e-6)
    np.testing.assert_allclose(run.model(pixels).softmax(1), expected, atol=1e-6)


def test_files_and_splits_are_preprocessed_alike_in_any_order(tmp_path: Path, cats_and_dogs: Path) -> None:
    data = ["data=image_folder", f"data.root={cats_and_dogs}", "data.val_fraction=0.4", "data.test_fraction=0.4"]
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    network.preprocess = Preprocess(8, resize_size=10)  # type: ignore[assignment]
    run = vf.train(*TINY, *data, f"run_dir={tmp_path / 'run'}", model=network)
    table = pd.read_csv(run.path / "predictions.csv")
    paths = [cats_and_dogs / name for name in table["picture"]]
    for _ in range(2):
        np.testing.assert_allclose(run.predict(paths).filter(like="p_"), table.filter(like="p_"), atol=1e-6)
        pixels = torch.cat([images for images, _ in run.dataloader("test")])
        np.testing.assert_allclose(run.model(pixels).softmax(1), table.filter(like="p_"), atol=1e-6)


def test_the_model_is_a_frozen_module_in_evaluation_mode_that_refuses_other_tensors(run: TrainedRun) -> None:
    assert isinstance(run.model, nn.Module)
    assert not run.model.training
    assert not any(parameter.requires_grad for parameter in run.model.parameters())
    for images in (torch.zeros(2, 3, 8, 8), torch.zeros(2, 1, 8, 8, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"must be \(N, 3, H, W\) uint8, not \(2, ., 8, 8\)"):
            run.model(images)


def test_arguments_of_another_kind_are_refused_by_name(run: TrainedRun, finished: RunFolder) -> None:
    anything: Any = run
    for call, error in (
        (lambda: anything.confusion("train"), "split must be one of 'val', 'test', not 'train'"),
        (lambda: anything.dataloader("foo"), "split must be one of 'train', 'val', 'test', not 'foo'"),
        (lambda: vf.load_run(finished.path, "middle"), "weights must be 'best' or 'last', not 'middle'"),  # type: ignore[arg-type]
        (lambda: anything.predict(np.zeros((3, 8, 8), np.uint8)), r"not \(3, 8, 8\) uint8"),
        (lambda: anything.predict(np.zeros((8, 8, 3))), r"not \(8, 8, 3\) float64"),
        (lambda: anything.predict([np.zeros((8, 8), np.uint8), "a.png"]), "all of one kind, not ndarray, str"),
        (lambda: anything.predict([torch.zeros(3, 8, 8), torch.zeros(3, 9, 9)]), r"one shape, not \(3, 8, 8\), \(3, 9"),
        (lambda: anything.predict(3), "must be paths, Pillow images, arrays or tensors, .* not int"),
    ):
        with pytest.raises((TypeError, ValueError), match=error):
            call()


def test_an_unreadable_file_or_an_empty_folder_is_a_user_error(run: TrainedRun, tmp_path: Path) -> None:
    for nothing in (tmp_path, []):
        with pytest.raises(UserError):
            run.predict(nothing)
    (tmp_path / "half.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    with raises_user_error(r"half\.png"):
        run.predict(tmp_path)


class Linear(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 10))
        self.preprocess = Preprocess(8)


@dataclass(kw_only=True, eq=False)
class MyDigits(Digits):
    """Images that Python code constructs."""


def test_a_network_and_data_of_python_train_like_those_of_yaml(tmp_path: Path, viewfinder: Type) -> None:
    torch.manual_seed(0)
    network = Linear()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    data = MyDigits(batch_size=16, stratify=True)
    one = vf.train(*TINY, f"run_dir={tmp_path / 'one'}", model=network, data=data)
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])
    assert not torch.equal(one.model.network[1].weight, before["1.weight"])  # type: ignore[index]
    assert one.config["name"] == "Linear"
    assert (one.config["model"]["object_class"], one.config["data"]["batch_size"]) == ("Linear", 16)
    yaml = vf.train(*TINY, "data=digits", "data.batch_size=16", f"run_dir={tmp_path / 'two'}", model=network)
    assert_same_run(RunFolder(yaml.path), RunFolder(one.path))
    again = vf.load_run(tmp_path / "one", model=Linear(), data=data)
    pixels, _ = next(iter(again.dataloader()))
    assert torch.equal(again.model(pixels), one.model(pixels))
    for command, *more in (("evaluate",), ("resume", "trainer.max_epochs=4")):
        answer = viewfinder(command, tmp_path / "one", *more)
        assert answer.code == 2
        assert "Python object" in on_one_line(answer.err)


def test_a_stopped_run_of_python_objects_resumes_to_the_same_bits(tmp_path: Path, at_step: object) -> None:
    torch.manual_seed(0)
    network = Linear()
    vf.train(*TINY, f"run_dir={tmp_path / 'whole'}", model=network, data=Digits())

    def stop() -> None:
        raise Stopped(15)

    at_step(3, stop)  # type: ignore[operator]
    with pytest.raises(Stopped):
        vf.train(*TINY, f"run_dir={tmp_path / 'run'}", model=network, data=Digits())
    resumed = vf.resume(tmp_path / "run", model=network, data=Digits())
    assert_same_run(RunFolder(resumed.path), RunFolder(tmp_path / "whole"))


def test_objects_and_overrides_that_contradict_are_refused_before_anything_is_created(tmp_path: Path) -> None:
    with pytest.raises(UserError) as error:
        vf.train("model=mlp", "data.batch_size=3", f"run_dir={tmp_path / 'run'}", model=Linear(), data=Digits())
    assert [problem.key for problem in error.value.problems] == ["model=mlp", "data.batch_size=3"]
    with raises_user_error("must be a torch"):
        vf.train(f"run_dir={tmp_path / 'run'}", model="resnet18")  # type: ignore[arg-type]
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("call", [vf.train, partial(vf.load_run, "run"), partial(vf.resume, "run")])
def test_one_string_in_place_of_a_list_of_overrides_is_a_type_error(call: Callable[..., object]) -> None:
    with pytest.raises(TypeError, match=r"overrides=\['model=mlp'\]"):
        call(overrides="model=mlp")
    with pytest.raises(TypeError, match="not of type int"):
        call(overrides=["model=mlp", 3])


def test_a_list_in_place_of_an_override_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"a list is overrides=\[...\]"):
        vf.train(["model=mlp"])  # type: ignore[reportArgumentType]


@pytest.mark.parametrize(("side", "outputs", "remedy"), [(9, 10, "Preprocess(image_size=...)"), (8, 3, "10 outputs")])
def test_an_object_that_does_not_suit_the_data_is_told_what_to_do_in_python(
    tmp_path: Path, side: int, outputs: int, remedy: str
) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(64, outputs))
    network.preprocess = Preprocess(side)  # type: ignore[assignment]
    with pytest.raises(UserError) as error:
        vf.train(*TINY, "data=digits", f"run_dir={tmp_path / 'run'}", model=network)
    (problem,) = error.value.problems
    assert remedy in problem.remedy
    assert "model.image_size" not in problem.remedy
    assert not (tmp_path / "run").exists()


def test_latest_is_the_run_that_was_written_last(finished: RunFolder, left_alone: RunFolder, tmp_path: Path) -> None:
    for name, run in (("b", finished), ("a", left_alone)):
        shutil.copytree(run.path, tmp_path / "outputs" / name)
    for name, time in (("a", 1_000_000_000), ("b", 1_100_000_000)):
        os.utime(tmp_path / "outputs" / name / "run.json", (time, time))
    assert vf.load_run(tmp_path / "outputs" / "latest").path == tmp_path / "outputs" / "b"
    os.utime(tmp_path / "outputs" / "a" / "run.json")
    assert vf.load_run(tmp_path / "outputs" / "latest").path == tmp_path / "outputs" / "a"


def test_a_type_checker_knows_the_types_of_a_users_script(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pyrightconfig.json").write_text('{"typeCheckingMode": "strict", "reportMissingTypeStubs": false}')
    command = [sys.executable, "-m", "pyright", "--pythonpath", sys.executable, "-p", str(tmp_path)]
    checked = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in checked.stdout.splitlines() if " - error: " in line]
    assert len(errors) == 1, checked.stdout
    assert "script.py:11:" in errors[0]
    assert '"list[str]" is not assignable to declared type "int"' in errors[0]
