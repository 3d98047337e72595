"""Fixtures of the end-to-end tests: small images, finished runs and the `viewfinder` command."""

import contextlib
import gc
import logging
import os
import random
import re
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: pytest's workers share the cores

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from PIL import Image
from shortcuts import (  # noqa: F401
    compose_each_choice_once,
    draw_charts_once,
    draw_new_charts,
    find_entry_points_once,
    leave_files_in_memory,
)
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

from viewfinder.cli.main import app
from viewfinder.config.overrides import compose_config
from viewfinder.errors import UserError
from viewfinder.evaluation.metrics import Predictions
from viewfinder.experiment.export.run import Export, export_run
from viewfinder.experiment.load import open_run
from viewfinder.experiment.run import run_experiment
from viewfinder.runs.folder import RunFolder

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for commands in the background
ROOT = Path(__file__).resolve().parents[1]
CLASSES = ("<b>&x", "grün, blau", "owl")
SIZES = {"train": 10, "val": 2, "test": 5}
"""Images of each class."""

SAMPLE = 25
"""Wrong command lines of each test that run without --all."""

Train = Callable[..., RunFolder]


IMAGE_URLS = ("data:image/png;base64,", "data:image/svg+xml;base64,")
"""Beginnings of the addresses of images inside a page."""


class Answer(NamedTuple):
    code: int
    out: str
    err: str


Type = Callable[..., Answer]


def pytest_addoption(parser: pytest.Parser) -> None:
    help_text = f"also run the slow tests, and all wrong command lines, not {SAMPLE} drawn for each test"
    parser.addoption("--all", action="store_true", help=help_text)


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "command_lines: one of many command lines, of which a sample runs by default")
    config.addinivalue_line("markers", "slow: takes over eight seconds, most of them in new processes; runs with --all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the slow tests and draw the command lines of each test that run, always the same."""
    if config.getoption("--all"):
        return
    tests: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("command_lines"):
            tests.setdefault(item.nodeid.partition("[")[0], []).append(item)
    dropped = {item for item in items if item.get_closest_marker("slow")}
    for name, cases in tests.items():
        dropped.update(random.Random(name).sample(cases, max(len(cases) - SAMPLE, 0)))
    config.hook.pytest_deselected(items=[item for item in items if item in dropped])
    items[:] = [item for item in items if item not in dropped]


def pytest_collection_finish() -> None:
    """Keep the half million objects of imports and tests from each later garbage collection, which take 0.25 s."""
    gc.freeze()


def on_one_line(message: object) -> str:
    """Join the lines of a message, which is wrapped elsewhere if a path in it is longer."""
    return " ".join(str(message).split())


@contextlib.contextmanager
def raises_user_error(pattern: str) -> Iterator[pytest.ExceptionInfo[UserError]]:
    """Expect a UserError whose message on one line matches a pattern."""
    with pytest.raises(UserError) as caught:
        yield caught
    assert re.search(pattern, on_one_line(caught.value))


class Page(HTMLParser):
    """The text of an HTML page, its tags, and the addresses that a browser would fetch."""

    def __init__(self, html: str):
        super().__init__()
        self.fetched: list[str] = []
        self.text: list[str] = []
        self.tags: set[str] = set()
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        wanted = ("src", "href", "srcset", "data", "action", "poster", "background")
        self.fetched += [value or "" for name, value in attrs if name in wanted]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def paint(root: Path, seed: int, sizes: dict[str, int] = SIZES) -> Path:
    """Write noisy images of mixed sizes and modes to <root>/<split>/<class>/, each class with its own brightness."""
    rng = np.random.default_rng(seed)
    modes = ("RGB", "L", "P", "RGBA", "CMYK")
    for split, count in sizes.items():
        for label, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                height, width = rng.integers(8, 15, 2)
                levels = 60 + 65 * label + rng.normal(0, 70) + rng.normal(0, 40, (height, width, 3))
                mode = modes[index % len(modes)]
                picture = Image.fromarray(levels.clip(0, 255).astype(np.uint8)).convert(mode)
                picture.save(folder / f"{index:02}.{'jpg' if mode == 'CMYK' else 'png'}")
    return root


def write_images(root: Path, *classes: str, count: int = 6) -> Path:
    """Write RGB images of 8 x 8 to <root>/<class>/."""
    rng = np.random.default_rng(0)
    for name in classes:
        (root / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(root / name / f"{index}.png")
    return root


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)


def some_predictions(count: int, classes: int, seed: int = 0, never: tuple[int, ...] = ()) -> Predictions:
    """Draw logits and labels; the classes in `never` are neither true nor predicted."""
    rng = np.random.default_rng(seed)
    logits, labels = rng.normal(size=(count, classes)), rng.integers(0, classes, count)
    logits[:, list(never)] = -50
    labels[np.isin(labels, never)] = next(k for k in range(classes) if k not in never)
    return Predictions(torch.from_numpy(logits), torch.from_numpy(labels))


def softmax(logits: np.ndarray) -> np.ndarray:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's cache and the record of their code out of the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a folder for each split, in three classes with awkward names."""
    return paint(tmp_path_factory.mktemp("pictures"), seed=1)


@pytest.fixture(scope="session")
def manifest(pictures: Path) -> Path:
    """A manifest of these images, beside their folder; read only."""
    rows = [path.relative_to(pictures).parts for path in sorted(pictures.rglob("*.*"), reverse=True)]
    images = ["/".join((pictures.name, *row)) for row in rows]
    table = pd.DataFrame({"image": images, "label": [row[1] for row in rows], "split": [row[0] for row in rows]})
    table.to_csv(path := pictures.with_name(f"{pictures.name}.csv"), index=False)
    return path


@pytest.fixture(scope="session")
def cats_and_dogs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images of two classes."""
    return write_images(tmp_path_factory.mktemp("cats_and_dogs"), "cat", "dog")


@pytest.fixture
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder, from which modules are imported."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.fixture(scope="session")
def tiny(pictures: Path) -> list[str]:
    """Overrides for a training on these images that takes a second."""
    return ["model.image_size=8", "data=image_folder", f"data.root={pictures}", "data.batch_size=8", *QUICK]


QUICK = [
    "trainer=cpu", "trainer.threads=1", "trainer.precision=32-true", "trainer.max_epochs=2",
    "trainer.progress_bar=false",
]  # fmt: skip


THREE_EPOCHS = ["data.batch_size=4", "augment=basic", "augment.padding=1", "trainer.max_epochs=3"]
"""Three epochs of eight steps."""


def train_into(folder: Path, *words: str) -> RunFolder:
    """Train with overrides and return the run, at `folder`."""
    overrides = [*words, f"run_dir={folder}"]
    run_experiment(compose_config(overrides), overrides=overrides)
    return RunFolder.open(folder)


@pytest.fixture
def train(tiny: list[str]) -> Train:
    """Function that trains for a second: train(folder, "key=value", ...)."""
    return lambda folder, *words: train_into(folder, *tiny, *words)


@pytest.fixture(scope="session")
def finished(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A finished run of simple_cnn; read only."""
    with draw_new_charts():
        return train_into(tmp_path_factory.mktemp("finished") / "run", *tiny, "augment=basic", "trainer.max_epochs=3")


@pytest.fixture(scope="session")
def onnx_export(finished: RunFolder, tmp_path_factory: pytest.TempPathFactory) -> Export:
    """The finished run as model.onnx, in a folder of its own; read only."""
    run = open_run(finished.path, [], "best", accelerator="cpu")
    return export_run(run, tmp_path_factory.mktemp("exported") / "model.onnx", "onnx", "best")


@pytest.fixture
def run_copy(finished: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunFolder:
    """A copy of the finished run's folder; it is the working folder."""
    shutil.copytree(finished.path, tmp_path / "run")
    monkeypatch.chdir(tmp_path / "run")
    return RunFolder(tmp_path / "run")


@pytest.fixture
def canary(tmp_path: Path) -> Path:
    """A file that only executed code creates."""
    return tmp_path / "canary"


@pytest.fixture
def small(tiny: list[str], tmp_path: Path) -> Callable[..., list[str]]:
    """Return the overrides of a run of three epochs in a folder."""
    return lambda folder, *more: [*tiny, *THREE_EPOCHS, *more, f"run_dir={folder}"]


@pytest.fixture(scope="session")
def left_alone(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run of three epochs without interruption; read-only."""
    return train_into(tmp_path_factory.mktemp("left_alone") / "whole", *tiny, *THREE_EPOCHS)


@pytest.fixture
def whole(left_alone: RunFolder, tmp_path: Path) -> RunFolder:
    """Copy of the run without interruption."""
    return RunFolder.open(shutil.copytree(left_alone.path, tmp_path / "whole"))


@pytest.fixture
def at_step() -> Iterator[Callable[[int, Callable[[], Any]], None]]:
    """Call an action after an optimizer step, counted from 1."""
    handles = []

    def do(step: int, action: Callable[[], Any]) -> None:
        seen = 0

        def count(*_: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == step:
                action()

        handles.append(register_optimizer_step_post_hook(count))

    yield do
    for handle in handles:
        handle.remove()


def assert_same_run(ours: RunFolder, theirs: RunFolder) -> None:
    """Compare two runs bit for bit, apart from times and the entries of a resumption."""
    tables = ("metrics.csv", "predictions.csv", "scores.json", "data.json")
    for name in (*tables, *(path.name for path in theirs.path.glob("projector*"))):
        assert (ours.path / name).read_bytes() == (theirs.path / name).read_bytes(), name
    for name in ("best.ckpt", "last.ckpt"):
        one, two = (torch.load(run.path / name, weights_only=True)["state_dict"] for run in (ours, theirs))
        assert [key for key in two if not torch.equal(one[key], two[key])] == []
    assert read_curves(ours.path) == read_curves(theirs.path)
    assert {path.name for path in ours.path.iterdir() if "tfevents" not in path.name} == {
        path.name for path in theirs.path.iterdir() if "tfevents" not in path.name
    }


def read_curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Read the curves of a run as TensorBoard does."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture(scope="session")
def seeds(tiny: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of two learning rates, three seeds each; read only."""
    folder = tmp_path_factory.mktemp("seeds")
    for rate in ("0.01", "0.0001"):
        for seed in ("0", "1", "2"):
            settings = [f"optimizer.lr={rate}", f"seed={seed}", "trainer.max_epochs=2"]
            train_into(folder / f"{rate}_{seed}", *tiny, "model=mlp", "model.widths=[8]", *settings)
    return folder


@pytest.fixture(scope="session")
def resnet_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file like torchvision's resnet50-11ad3fa6.pth, with random weights."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "resnet50.pth"
    torch.save(torchvision.models.resnet50().state_dict(), path)
    return path


@pytest.fixture(scope="module")
def quick_random_weights() -> Iterator[None]:
    """Draw initial weights fast, and give alexnet and vgg layers of 64 units in place of 4,096.

    A file of their weights would take half a gigabyte.
    """
    begin, units = nn.Linear.__init__, {4096: 64}

    def narrower(layer: nn.Linear, in_features: int, out_features: int, *args: Any, **options: Any) -> None:
        begin(layer, units.get(in_features, in_features), units.get(out_features, out_features), *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.init, "trunc_normal_", lambda tensor, *_, **__: nn.init.normal_(tensor, std=0.02))
        patch.setattr(nn.Linear, "__init__", narrower)
        yield


@pytest.fixture
def viewfinder(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Type:
    """The `viewfinder` command in this process: viewfinder("evaluate", run)."""

    def run_command(*words: str | Path) -> Answer:
        interrupt_handler = signal.getsignal(signal.SIGINT)
        monkeypatch.setattr(sys, "argv", ["viewfinder", *map(str, words)])
        monkeypatch.setattr(sys, "path", list(sys.path))
        capsys.readouterr()
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        code: object = 0
        try:
            app()
        except SystemExit as end:
            code = end.code
        finally:  # some options let Hydra send log lines to the output of this test
            root.handlers[:] = handlers
            root.setLevel(level)
            signal.signal(signal.SIGINT, interrupt_handler)
        out, err = capsys.readouterr()
        assert isinstance(code, int | None)
        return Answer(code or 0, out, err)

    return run_command
