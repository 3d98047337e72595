"""Projector tab of TensorBoard: features, classes and thumbnails of test images."""

import errno
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
import torch
import torchvision
from conftest import CLASSES, QUICK, Train, Type, raises_user_error, train_into
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
from torch import Tensor, nn
from werkzeug.test import Client

from viewfinder.config.overrides import compose_config
from viewfinder.data.preprocess import Preprocess
from viewfinder.evaluation.metrics import Predictions
from viewfinder.experiment.resume import resume_experiment
from viewfinder.experiment.run import run_experiment
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.reporting.charts.thumbnails import MAX_SHEET_SIDE, compute_side, draw_sheet, draw_thumbnail
from viewfinder.reporting.tensorboard.projector import (
    MAX_FEATURES,
    compute_principal_components,
    format_metadata,
    write_projector,
)
from viewfinder.runs.folder import RunFolder

MLP = ["model=mlp", "model.widths=[8]"]


class Shown(NamedTuple):
    """The projector's files read back: features (n, D), a dictionary a picture, thumbnails (n, side, side, 3)."""

    name: str
    features: np.ndarray
    rows: list[dict[str, str]]
    thumbnails: np.ndarray


def serve(folder: Path) -> Callable[..., Any]:
    """TensorBoard's own plugin over a folder of runs: ask("info", run="one")."""
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(folder))
    pages = ProjectorPlugin(TBContext(logdir=str(folder), data_provider=provider)).get_plugin_apps()

    def ask(page: str, **query: str) -> Any:
        answer = Client(pages[f"/{page}"]).get("/", query_string=query)
        assert answer.status_code == 200, answer.text
        return json.loads(answer.data) if answer.mimetype == "application/json" else answer.data

    return ask


def shown(run: RunFolder, ask: Callable[..., Any] | None = None) -> Shown:
    """Read what TensorBoard serves for a run, from the folder above it unless `ask` is given."""
    ask, name = ask or serve(run.path.parent), run.path.name
    (info,) = ask("info", run=name)["embeddings"]
    query = {"run": name, "name": info["tensorName"]}
    features = np.frombuffer(ask("tensor", **query), np.float32).reshape(info["tensorShape"])
    header, *lines = [line.split("\t") for line in ask("metadata", **query).decode().removesuffix("\n").split("\n")]
    sheet = np.asarray(Image.open(io.BytesIO(ask("sprite_image", **query))))
    across, down = info["sprite"]["singleImageDim"]
    rows, columns = sheet.shape[0] // down, sheet.shape[1] // across
    assert rows == columns
    cells = sheet.reshape(rows, down, columns, across, 3).swapaxes(1, 2).reshape(-1, down, across, 3)
    assert len(features) == len(lines) <= len(cells)
    return Shown(
        info["tensorName"], features, [dict(zip(header, line, strict=True)) for line in lines], cells[: len(lines)]
    )


def files_of(run: RunFolder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.path.glob("projector*")}


def predicted(run: RunFolder) -> list[list[str]]:
    """Picture, true and predicted class, from predictions.csv, whose class names hold commas."""
    table = pd.read_csv(run.predictions, dtype=str, keep_default_na=False)
    return table[["picture", "true", "predicted"]].to_numpy().tolist()


def levels(root: Path, names: list[str]) -> np.ndarray:
    """Pictures as the network should see them, (n, 8, 8, 3) uint8: over white, in colour, resized by Pillow."""
    found = []
    for name in names:
        with Image.open(root / name) as opened:
            picture = Image.new("RGBA", opened.size, "white")
            picture.alpha_composite(opened.convert("RGBA"))
            found.append(np.asarray(picture.convert("RGB").resize((8, 8), Image.Resampling.BILINEAR)))
    return np.stack(found)


def weights(run: RunFolder) -> dict[str, Tensor]:
    state = torch.load(run.best, weights_only=True)["state_dict"]
    return {name.removeprefix("network."): value for name, value in state.items()}


# What is shown


def test_features_are_what_the_best_weights_make_of_each_test_picture_before_the_last_layer(
    train: Train, pictures: Path, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", *MLP, "optimizer.lr=0.05")
    assert run.read_scores()["best"]["epoch"] == 1  # of 2
    found, state = shown(run), weights(run)
    seen = levels(pictures, [row["picture"] for row in found.rows])
    flat = seen.transpose(0, 3, 1, 2).reshape(len(seen), -1) / 255
    hidden = np.maximum(flat @ state["layers.1.weight"].numpy().T + state["layers.1.bias"].numpy(), 0)
    np.testing.assert_allclose(found.features, hidden, atol=1e-5)
    assert found.name == "input of layers.3"
    # And the last layer makes of them what predictions.csv says.
    logits = found.features @ state["layers.3.weight"].numpy().T + state["layers.3.bias"].numpy()
    assert [CLASSES[at] for at in logits.argmax(1)] == [guess for _, _, guess in predicted(run)]


def test_many_features_are_shown_as_their_principal_components(finished: RunFolder, pictures: Path) -> None:
    found = shown(finished)
    network = SimpleCNN(3, len(CLASSES), image_size=8)
    network.load_state_dict(weights(finished))
    seen = levels(pictures, [row["picture"] for row in found.rows])
    with torch.no_grad():
        features = network.features(torch.from_numpy(seen / 255).float().permute(0, 3, 1, 2)).flatten(1).numpy()
    assert found.name == "input of head.1, PCA of 160"
    assert found.features.shape == (15, 15)
    assert_principal(found.features, features)


def test_principal_components_are_numpys() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(3, np.linspace(2, 0.1, 300), (200, 300)).astype(np.float32)
    ours = compute_principal_components(torch.from_numpy(features), MAX_FEATURES)
    assert ours.shape == (200, MAX_FEATURES)
    assert torch.equal(ours, compute_principal_components(torch.from_numpy(features), MAX_FEATURES))
    assert_principal(ours.numpy(), features)


def assert_principal(ours: np.ndarray, features: np.ndarray) -> None:
    """Up to the sign of each component."""
    left, values, _ = np.linalg.svd(features.astype(np.float64) - features.mean(0, dtype=np.float64))
    theirs = (left[:, : len(values)] * values)[:, : ours.shape[1]]
    signs = np.sign((ours * theirs).sum(0))
    np.testing.assert_allclose(ours * signs, theirs, atol=2e-4 * values[0])


def test_each_picture_has_its_classes_and_its_thumbnail(finished: RunFolder, pictures: Path) -> None:
    found = shown(finished)
    assert [[row[name] for name in ("picture", "true", "predicted")] for row in found.rows] == predicted(finished)
    assert {row["true"] for row in found.rows} == set(CLASSES)
    for row in found.rows:
        assert row["right or wrong"] == ("right" if row["true"] == row["predicted"] else "wrong")
    seen = levels(pictures, [row["picture"] for row in found.rows])
    np.testing.assert_array_equal(found.thumbnails, seen.repeat(4, 1).repeat(4, 2))  # a pixel is a square of 4


def test_grey_pictures_have_grey_thumbnails(tmp_path: Path) -> None:
    run = train_into(tmp_path / "run", "data=digits", "data.limit=40", *MLP, "model.image_size=8", *QUICK)
    found = shown(run)
    assert len(found.rows) == 40
    assert found.thumbnails.shape == (40, 32, 32, 3)
    assert (found.thumbnails == found.thumbnails[..., :1]).all()
    assert found.thumbnails.std((1, 2, 3)).min() > 10


def test_large_and_oblong_pictures_fit_into_their_thumbnails() -> None:
    side = compute_side((3, 300, 200), 1000)
    square = draw_thumbnail(torch.zeros(3, 300, 200, dtype=torch.uint8), side)
    assert square.size == (64, 64)
    assert square.getbbox() == (0, 0, 64, 64)  # white beside the picture, which is black
    assert Image.eval(square, lambda level: 255 - level).getbbox() == (10, 0, 53, 64)
    for count in (1, 2, 5, 1000, 100_000):
        side = compute_side((3, 224, 224), count)
        columns = next(n for n in range(1, count + 1) if n * n >= count)
        assert 16 <= side <= 64
        assert columns * side <= MAX_SHEET_SIDE
    assert draw_sheet([square] * 5).size == (3 * 64, 3 * 64)


def test_names_that_would_break_the_table_are_spelt_out() -> None:
    classes = ["tab\there", "line\r\nhere\u2028", "\udcff", '"grün", <b>&x']
    predictions = Predictions(torch.eye(4).flip(0), torch.arange(4))
    text = format_metadata(["a\tb", "c\nd", "\udcfe", "ü"], predictions, classes)
    assert text.encode().decode().split("\n") == [
        "true\tpredicted\tright or wrong\tpicture",
        'tab\\there\t"grün", <b>&x\twrong\ta\\tb',
        "line\\r\\nhere\\u2028\t\\udcff\twrong\tc\\nd",
        "\\udcff\tline\\r\\nhere\\u2028\twrong\t\\udcfe",
        '"grün", <b>&x\ttab\\there\twrong\tü',
        "",
    ]


def test_classes_with_a_tab_or_a_line_break_in_their_names_are_shown(tmp_path: Path) -> None:
    for name, level in (("a\tb", 0), ("c\nd", 255)):
        (tmp_path / "in" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("L", (8, 8), level).save(tmp_path / "in" / name / f"{index}.png")
    data = ["data=image_folder", f"data.root={tmp_path / 'in'}", "model.image_size=8"]
    rows = shown(train_into(tmp_path / "run", *data, *MLP, *QUICK)).rows
    assert {row["true"] for row in rows} == {"a\\tb", "c\\nd"}
    assert all(row["picture"].startswith(row["true"] + "/") for row in rows)


# How many


def test_fewer_pictures_are_evenly_spaced_and_change_no_score(train: Train, tmp_path: Path) -> None:
    one, other = train(tmp_path / "one", *MLP), train(tmp_path / "other", *MLP, "trainer.embeddings=6")
    ask = serve(tmp_path)
    assert set(ask("runs")) == {"one", "other"}
    whole, part = shown(one, ask), shown(other, ask)
    places = [0, 2, 5, 7, 10, 12]  # of 15: two of each class
    assert part.rows == [whole.rows[place] for place in places]
    np.testing.assert_allclose(part.features, whole.features[places], rtol=1e-5)
    np.testing.assert_array_equal(part.thumbnails, whole.thumbnails[places])
    for name in ("metrics.csv", "predictions.csv", "scores.json"):
        assert (one.path / name).read_bytes() == (other.path / name).read_bytes()


def test_only_pictures_with_predictions_are_shown(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", *MLP, "trainer.limit_batches=1", "data.batch_size=2")
    assert [row["picture"] for row in shown(run).rows] == [name for name, *_ in predicted(run)]
    assert len(predicted(run)) == 8


def test_streamed_pictures_are_shown_alike(train: Train, tmp_path: Path) -> None:
    run, streamed = (
        train(tmp_path / storage, *MLP, f"data.storage={storage}", "trainer.max_epochs=1")
        for storage in ("memory", "stream")
    )
    assert files_of(run) == files_of(streamed)


def test_none_are_shown_where_none_are_wanted(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", *MLP, "trainer.embeddings=0")
    assert files_of(run) == {}
    assert "projector" not in run.log.read_text(encoding="utf-8")


# Runs that go on


def test_a_run_that_goes_on_shows_its_new_features(train: Train, tmp_path: Path, viewfinder: Type) -> None:
    run, longer = train(tmp_path / "run", *MLP), train(tmp_path / "longer", *MLP, "trainer.max_epochs=4")
    for path in run.path.glob("projector*"):
        path.write_text("old")
    assert viewfinder("resume", run.path, "trainer.max_epochs=4").code == 0
    assert files_of(run) == files_of(longer)
    assert viewfinder("resume", run.path, "trainer.max_epochs=5", "trainer.embeddings=0").code == 0
    assert files_of(run) == {}


def test_a_run_of_a_time_without_the_key_shows_its_features(train: Train, tmp_path: Path) -> None:
    run = train(tmp_path / "run", *MLP)
    before = files_of(run)
    cfg = OmegaConf.load(run.config)
    del cfg.trainer["embeddings"]
    OmegaConf.save(cfg, run.config)
    run.update_run(status="running")  # as if it had been killed
    for path in run.path.glob("projector*"):
        path.unlink()
    resume_experiment(run)
    assert files_of(run) == before


def test_a_full_disk_is_reported_and_leaves_nothing_half_shown(
    train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    whole = train(tmp_path / "whole", *MLP)
    with monkeypatch.context() as patch:
        patch.setattr("viewfinder.reporting.tensorboard.projector.save_image", full)
        with raises_user_error("No space left on device"):
            train(tmp_path / "run", *MLP)
    run = RunFolder.open(tmp_path / "run")
    assert run.status == "failed"
    assert serve(tmp_path)("runs") == ["whole"]
    resume_experiment(run)
    assert files_of(run) == files_of(whole)


# Networks


class Kinds(nn.Module):
    """A network with a last linear layer of some kind."""

    def __init__(self, channels: int, classes: int, kind: str):
        super().__init__()
        self.preprocess, self.kind = Preprocess(8), kind
        self.convolution = nn.Conv2d(channels, classes, 8)
        if kind != "none":
            self.last = nn.Linear(8, 8)

    def forward(self, pictures: Tensor) -> Tensor:
        if self.kind == "of rows":
            pictures = self.last(pictures)
        if self.kind == "of what is not finite" and not self.training:
            self.last(pictures.flatten(1)[:, :8] / 0)
        return self.convolution(pictures).flatten(1)


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("none", "Kinds has no linear layer"),
        ("that is unused", "the last linear layer, last, is not used"),
        ("of rows", "the last linear layer, last, receives (15, 3, 8, 8) for 15 images"),
        ("of what is not finite", "the input of the last linear layer, last, is not finite"),
    ],
)
def test_a_network_without_such_features_is_named_and_its_run_finishes(
    tiny: list[str], tmp_path: Path, kind: str, reason: str
) -> None:
    cfg = compose_config([*tiny[1:], f"run_dir={tmp_path / 'run'}"])
    cfg.model = {"_target_": "test_projector.Kinds", "kind": kind}
    run_experiment(cfg)
    run = RunFolder.open(tmp_path / "run")
    assert (run.status, files_of(run)) == ("finished", {})
    lines = run.log.read_text(encoding="utf-8").splitlines()
    assert [line.partition("projector ")[2] for line in lines if "projector" in line] == [f"not written: {reason}"]
    assert lines[-1].endswith(str(run.report))


def test_features_that_are_kept_are_not_computed_again(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tmp_path / "resnet18.pth")
    model = ["model=resnet50", "model.variant=resnet18", f"model.weights={tmp_path / 'resnet18.pth'}"]
    model += ["model.image_size=32", "model.hidden=[12]"]
    whole = train_into(tmp_path / "whole", *tiny[1:], *model, "model.cache_features=false", "trainer.max_epochs=1")
    convolve, sizes = nn.Conv2d.forward, []

    def counted(self: nn.Conv2d, pictures: Tensor) -> Tensor:
        sizes.append(len(pictures))
        return convolve(self, pictures)

    def watched(*args: Any, **kwargs: Any) -> None:
        sizes.clear()
        write_projector(*args, **kwargs)
        assert sizes == []

    monkeypatch.setattr(nn.Conv2d, "forward", counted)
    monkeypatch.setattr("viewfinder.experiment.run.write_projector", watched)
    kept = train_into(tmp_path / "kept", *tiny[1:], *model, "trainer.max_epochs=1")
    assert sizes == []
    assert kept.read_run()["features"]["computed"] == 51
    ask = serve(tmp_path)
    ours, theirs = shown(kept, ask), shown(whole, ask)
    assert ours.name == theirs.name == "input of head.4"
    assert ours.features.shape == (15, 12)
    np.testing.assert_allclose(ours.features, theirs.features, rtol=1e-3, atol=1e-4)
    np.testing.assert_array_equal(ours.thumbnails, theirs.thumbnails)
