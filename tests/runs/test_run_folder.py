"""Files of a run folder, their numbers, and equal folders from equal commands."""

import json
import os
import platform
import shlex
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import sklearn.metrics
import torch
from conftest import CLASSES, QUICK, ROOT, SIZES, Train, raises_user_error, train_into
from new_process import run_forked
from omegaconf import OmegaConf
from PIL import Image

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.run import run_experiment
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.runs.create import create_run
from viewfinder.runs.folder import RunFolder

FILES = {
    "config.yaml", "run.json", "data.json", "metrics.csv", "train.log", "best.ckpt", "last.ckpt", "scores.json",
    "predictions.csv", "curves.png", "confusion.png", "report.html", ".lock", "projector_config.pbtxt",
    "projector_tensors.tsv", "projector_metadata.tsv", "projector_sprite.png",
}  # fmt: skip


def list_files(run: RunFolder) -> set[str]:
    """List the names in a run folder except that of the events file, which has the time and machine in it."""
    names = [path.name for path in run.path.iterdir()]
    assert sum(name.startswith("events.out.tfevents.") for name in names) == 1
    return {name for name in names if not name.startswith("events.out.tfevents.")}


def read_predictions(path: Path) -> pd.DataFrame:
    """Read predictions.csv with pandas, class names as text."""
    text = dict.fromkeys(("picture", "true", "predicted"), str)
    return pd.read_csv(path, dtype=text, keep_default_na=False)  # type: ignore[arg-type]


def assert_scores(scores: dict[str, Any], truth: np.ndarray, probabilities: np.ndarray) -> None:
    """Compare the scores of a split with scikit-learn's, from labels (N,) and probabilities (N, K)."""
    predicted, labels = probabilities.argmax(1), list(range(probabilities.shape[1]))
    metrics = sklearn.metrics
    macro = {"average": "macro", "zero_division": 0}
    expected = {
        "accuracy": metrics.accuracy_score(truth, predicted),
        "f1": metrics.f1_score(truth, predicted, **macro),
        "precision": metrics.precision_score(truth, predicted, **macro),
        "recall": metrics.recall_score(truth, predicted, **macro),
        "loss": metrics.log_loss(truth, probabilities, labels=labels),
    }
    assert {name: scores[name] for name in expected} == pytest.approx(expected, abs=1e-6)
    assert scores["pictures"] == len(truth)
    assert scores["confusion"] == metrics.confusion_matrix(truth, predicted, labels=labels).tolist()
    precision, recall, f1, pictures = metrics.precision_recall_fscore_support(
        truth, predicted, labels=labels, zero_division=0
    )
    assert list(scores["per_class"]) == list(CLASSES[: len(labels)])
    for index, values in enumerate(scores["per_class"].values()):
        assert values == pytest.approx(
            {"f1": f1[index], "precision": precision[index], "recall": recall[index], "pictures": pictures[index]},
            abs=1e-6,
        )


def decode_image(path: Path) -> np.ndarray:
    """Decode an image as the network should see it, (3, 8, 8) in 0..1: on white, in colour, resized by Pillow."""
    with Image.open(path) as opened:
        picture = opened.convert("RGB")
        if opened.mode == "RGBA":
            picture = Image.new("RGBA", opened.size, "white")
            picture.alpha_composite(opened)
            picture = picture.convert("RGB")
        return np.asarray(picture.resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255


def predict_by_hand(checkpoint: Path, root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Compute labels and probabilities of a split from simple_cnn's checkpoint, without Viewfinder's data code."""
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    network = SimpleCNN(3, len(CLASSES), image_size=8)
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    paths = [path for name in CLASSES for path in sorted((root / split / name).iterdir())]
    with torch.no_grad():
        logits = network.eval()(torch.from_numpy(np.stack([decode_image(path) for path in paths])).float())
    return np.array([CLASSES.index(path.parent.name) for path in paths]), logits.double().softmax(1).numpy()


# The files


def test_a_run_folder_holds_exactly_the_files_that_are_promised(finished: RunFolder) -> None:
    predictions = read_predictions(finished.predictions)
    assert list(predictions["true"]) != list(predictions["predicted"])
    assert list_files(finished) == FILES | {"mistakes.png"}
    for name in ("curves.png", "confusion.png", "mistakes.png"):
        with Image.open(finished.path / name) as picture:
            picture.load()
            assert picture.format == "PNG"
    assert all((finished.path / name).stat().st_size for name in FILES - {".lock"})


def test_a_run_without_a_mistake_has_no_picture_of_mistakes(tmp_path: Path) -> None:
    for name, level in (("black", 0), ("white", 255)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (8, 8), level).save(tmp_path / "in" / name / f"{index}.png")
    data = ["data=image_folder", f"data.root={tmp_path / 'in'}", "model=mlp", "model.image_size=8", "optimizer.lr=0.01"]
    run = train_into(tmp_path / "run", *data, *QUICK, "trainer.max_epochs=5")
    assert run.read_scores()["best"]["test"]["accuracy"] == 1
    assert list_files(run) == FILES
    assert "No test image is misclassified" in run.report.read_text(encoding="utf-8")


def test_run_json_says_what_ran_where_and_when(finished: RunFolder) -> None:
    facts = finished.read_run()
    assert (facts["status"], facts["seed"]) == ("finished", 42)
    assert facts["machine"]["host"] == platform.node()
    assert facts["machine"]["cores"] == os.cpu_count()
    assert facts["versions"].pop("python") == platform.python_version()
    assert facts["versions"] == {name: version(name) for name in facts["versions"]}
    assert {"viewfinder", "torch", "torchvision", "pytorch-lightning", "numpy"} <= set(facts["versions"])
    started, ended = (datetime.fromisoformat(facts[name]) for name in ("started", "ended"))
    assert started.tzinfo is not None
    assert started <= ended
    assert len(facts["epoch_seconds"]) == 3
    assert facts["network"]["parameters"] == (27 * 10 + 10) + (90 * 10 + 10) + (160 * 3 + 3)


def test_run_json_names_the_commit_and_whether_files_differ_from_it(finished: RunFolder) -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("this is no git checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True)
    facts = finished.read_run()["git"]
    assert facts["commit"] == head.stdout.strip()
    status = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert facts["dirty"] == bool(status.stdout)


def test_data_json_says_what_the_pictures_are(finished: RunFolder) -> None:
    facts = json.loads(finished.data.read_text(encoding="utf-8"))
    assert facts["class_names"] == list(CLASSES)
    assert (facts["channels"], facts["picture_size"]) == (3, [8, 8])
    assert facts["split_sizes"] == {split: count * len(CLASSES) for split, count in SIZES.items()}
    assert facts["class_counts"] == [SIZES["train"]] * len(CLASSES)


@pytest.mark.parametrize("name", ["best.ckpt", "last.ckpt"])
def test_a_checkpoint_holds_plain_tensors_and_plain_python(finished: RunFolder, name: str) -> None:
    def leaves(value: Any) -> Iterator[Any]:
        if type(value) in (dict, OrderedDict):
            for key, inner in value.items():
                assert type(key) in (str, int)
                yield from leaves(inner)
        elif type(value) in (list, tuple):
            for inner in value:
                yield from leaves(inner)
        else:
            yield value

    values = list(leaves(torch.load(finished.path / name, weights_only=True)))
    assert {type(value) for value in values} <= {torch.Tensor, str, int, float, bool, type(None)}
    assert sum(isinstance(value, torch.Tensor) for value in values) >= 6


# The numbers


def test_predictions_csv_has_each_test_picture_once_with_its_class(finished: RunFolder, pictures: Path) -> None:
    predictions = read_predictions(finished.predictions)
    expected = {path.relative_to(pictures).as_posix(): path.parent.name for path in pictures.glob("test/*/*")}
    assert dict(zip(predictions["picture"], predictions["true"], strict=True)) == expected
    assert len(predictions) == len(expected)
    assert list(predictions.columns) == ["picture", "true", "predicted", *(f"p_{name}" for name in CLASSES)]


def test_test_scores_of_the_best_weights_are_scikit_learns_of_predictions_csv(finished: RunFolder) -> None:
    predictions = read_predictions(finished.predictions)
    truth = np.array([CLASSES.index(name) for name in predictions["true"]])
    probabilities = predictions[[f"p_{name}" for name in CLASSES]].to_numpy()
    assert [CLASSES[index] for index in probabilities.argmax(1)] == list(predictions["predicted"])
    assert_scores(finished.read_scores()["best"]["test"], truth, probabilities)


@pytest.mark.parametrize("which", ["best", "last"])
@pytest.mark.parametrize("split", ["val", "test"])
def test_scores_are_those_of_a_forward_pass_by_hand(
    finished: RunFolder, pictures: Path, which: str, split: str
) -> None:
    truth, probabilities = predict_by_hand(finished.path / f"{which}.ckpt", pictures, split)
    assert_scores(finished.read_scores()[which][split], truth, probabilities)


def test_predictions_csv_is_a_forward_pass_by_hand(finished: RunFolder, pictures: Path) -> None:
    _, probabilities = predict_by_hand(finished.best, pictures, "test")
    predictions = read_predictions(finished.predictions)[[f"p_{name}" for name in CLASSES]].to_numpy()
    np.testing.assert_allclose(predictions, probabilities, atol=1e-6, rtol=0)


@pytest.mark.parametrize("which", ["best", "last"])
def test_scores_json_agrees_with_the_epochs_row_of_metrics_csv(finished: RunFolder, which: str) -> None:
    scores, rows = finished.read_scores()[which], pd.read_csv(finished.metrics).set_index("epoch")
    for name in ("loss", "accuracy", "f1", "precision", "recall"):
        assert rows.loc[scores["epoch"], f"val/{name}"] == pytest.approx(scores["val"][name], rel=1e-6)


def test_metrics_csv_has_a_row_an_epoch_and_no_times(finished: RunFolder) -> None:
    rows = pd.read_csv(finished.metrics)
    assert rows["epoch"].tolist() == [1, 2, 3]
    splits = {f"{split}/{name}" for split in ("train", "val") for name in ("loss", "accuracy")}
    assert set(rows.columns) == {"epoch", "lr", "val/f1", "val/precision", "val/recall"} | splits
    assert np.isfinite(rows.to_numpy()).all()


CHANGING = """
import torch
from torch import nn
from viewfinder.data.preprocess import Preprocess


class MyNet(nn.Module):
    '''Knows a picture's class by its brightness, and says another one, by a plan, after each training epoch.'''

    def __init__(self, channels, classes, plan):
        super().__init__()
        self.preprocess, self.plan, self.classes = Preprocess(1), plan, classes
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer('epochs', torch.zeros((), dtype=torch.int64))

    def forward(self, pictures):
        if self.training:
            self.epochs += 1
        known = (pictures.mean((1, 2, 3)) * self.classes).long().clamp(max=self.classes - 1)
        right = self.plan[int(self.epochs) - 1]
        said = torch.where(torch.arange(len(known)) < right, known, (known + 1) % self.classes)
        return nn.functional.one_hot(said, self.classes) * 4 * self.scale
"""


@pytest.mark.parametrize(("plan", "best"), [([1, 5, 3], 2), ([2, 4, 4, 1], 2), ([3, 3, 3], 1), ([1, 2, 3], 3)])
def test_the_best_epoch_has_the_highest_validation_accuracy_and_is_the_earlier_on_a_tie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plan: list[int], best: int
) -> None:
    (tmp_path / "my_changing.py").write_text(CHANGING)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name, level in (("black", 0), ("white", 255)):
        for split, count in (("train", 4), ("val", 4), ("test", 6)):
            (tmp_path / "in" / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("L", (4, 4), level).save(tmp_path / "in" / split / name / f"{index}.png")
    cfg = compose_config([
        "data=image_folder", f"data.root={tmp_path / 'in'}", *QUICK, f"trainer.max_epochs={len(plan)}",
        f"run_dir={tmp_path / 'run'}",
    ])  # fmt: skip
    cfg.model = {"_target_": "my_changing.MyNet", "plan": plan}
    run_experiment(cfg)
    run = RunFolder.open(tmp_path / "run")
    scores, accuracies = run.read_scores(), pd.read_csv(run.metrics)["val/accuracy"].tolist()
    assert accuracies == [pytest.approx(right / 8) for right in plan]
    assert (scores["best"]["epoch"], scores["last"]["epoch"]) == (best, len(plan))
    for which, epoch, file in (("best", best, run.best), ("last", len(plan), run.last)):
        assert scores[which]["val"]["accuracy"] == pytest.approx(plan[epoch - 1] / 8)
        assert scores[which]["test"]["accuracy"] == pytest.approx(plan[epoch - 1] / 12)
        assert torch.load(file, weights_only=True)["state_dict"]["network.epochs"] == epoch
    predictions = read_predictions(run.predictions)
    assert np.count_nonzero(predictions["true"] == predictions["predicted"]) == plan[best - 1]


# The same again


@pytest.mark.slow
def test_the_same_command_twice_gives_bit_identical_tables(tiny: list[str], tmp_path: Path) -> None:
    settings = ["model=custom_cnn", "model.image_size=16", "model.widths=[4,8]", "model.hidden=[16]", "augment=basic"]
    typed = ["train.py", *tiny, *settings, "trainer.max_epochs=2", f"output_dir={tmp_path}"]
    completed = subprocess.run([sys.executable, *typed], cwd=ROOT, capture_output=True, text=True, check=False)
    for process in (completed, run_forked(typed, ROOT)):  # their hashes of text differ
        assert (process.returncode, process.stderr) == (0, "")
    first, second = (RunFolder.open(path.parent) for path in tmp_path.glob("custom_cnn/*/run.json"))
    assert first.metrics.read_bytes() == second.metrics.read_bytes()
    assert first.predictions.read_bytes() == second.predictions.read_bytes()
    assert first.scores.read_bytes() == second.scores.read_bytes()
    states = [torch.load(run.last, weights_only=True)["state_dict"] for run in (first, second)]
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    for run in (first, second):
        assert shlex.split(run.read_run()["command"]) == ["python", *typed]
        assert run.read_run()["overrides"] == typed[1:]


def test_another_seed_gives_other_tables_on_the_same_split(finished: RunFolder, train: Train, tmp_path: Path) -> None:
    other = train(tmp_path / "run", "augment=basic", "trainer.max_epochs=3", "seed=43")
    assert other.metrics.read_bytes() != finished.metrics.read_bytes()
    assert other.predictions.read_bytes() != finished.predictions.read_bytes()
    ours, theirs = (json.loads(run.data.read_text(encoding="utf-8")) for run in (other, finished))
    assert ours == theirs


def test_config_yaml_alone_makes_the_same_run_again(finished: RunFolder, tmp_path: Path) -> None:
    run_experiment(OmegaConf.create(finished.read_settings()), tmp_path / "again")
    again = RunFolder.open(tmp_path / "again")
    assert again.config.read_bytes() == finished.config.read_bytes()
    assert again.metrics.read_bytes() == finished.metrics.read_bytes()
    assert again.predictions.read_bytes() == finished.predictions.read_bytes()


def test_config_yaml_is_what_the_overrides_in_run_json_compose(finished: RunFolder) -> None:
    typed = finished.read_run()["overrides"]
    assert OmegaConf.to_container(compose_config(typed)) == finished.read_settings()


def test_runs_of_one_second_get_folders_of_their_own(tmp_path: Path) -> None:
    settings: Any = OmegaConf.to_container(compose_config([f"output_dir={tmp_path}"]))
    start = threading.Barrier(8)

    def create(_: int) -> Path:
        start.wait()
        return create_run(settings).path

    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(create, range(8)))
    assert len(set(made)) == 8
    assert {path.parent for path in made} == {tmp_path / "simple_cnn"}


def test_a_run_folder_is_never_overwritten(finished: RunFolder, train: Train) -> None:
    before = {path.name: path.read_bytes() for path in finished.path.iterdir()}
    with raises_user_error("already exists"):
        train(finished.path)
    assert {path.name: path.read_bytes() for path in finished.path.iterdir()} == before
