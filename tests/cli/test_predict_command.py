"""`viewfinder predict` classifies image files with the weights of a run."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import CLASSES, Type
from PIL import Image

from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.runs.folder import RunFolder

COLUMNS = [f"p_{name}" for name in CLASSES]


def album(folder: Path) -> dict[str, np.ndarray]:
    """Write images of many modes and sizes, and map their names to the visible pixels, (H, W, 3) uint8."""
    folder.mkdir()
    rng = np.random.default_rng(3)
    grey, colour = rng.integers(0, 256, (11, 9), dtype=np.uint8), rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)
    alpha = rng.integers(0, 256, (20, 30, 1), dtype=np.uint8)
    Image.fromarray(grey).save(folder / "grey.png")
    Image.fromarray(colour).save(folder / "colour.png")
    Image.fromarray(np.concatenate([colour, alpha], axis=2)).save(folder / "clear.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(folder / "sixteen.png")
    palette = Image.fromarray(colour).quantize(16)
    palette.save(folder / "palette.png")
    Image.fromarray(colour).convert("CMYK").save(folder / "ink.jpg")
    with Image.open(folder / "ink.jpg") as ink:
        inked = np.asarray(ink.convert("RGB"))
    over_white = np.round((colour * (alpha / 255)) + 255 * (1 - alpha / 255)).astype(np.uint8)
    threefold = np.repeat(grey[:, :, None], 3, axis=2)
    return {
        "clear.png": over_white, "colour.png": colour, "grey.png": threefold, "ink.jpg": inked,
        "palette.png": np.asarray(palette.convert("RGB")), "sixteen.png": threefold,
    }  # fmt: skip


def forward(run: RunFolder, seen: np.ndarray) -> np.ndarray:
    """Compute the probabilities (K,) of one image (H, W, 3) with the best weights in a new network."""
    state = torch.load(run.best, weights_only=True)["state_dict"]
    network = SimpleCNN(3, len(CLASSES), image_size=8)
    network.load_state_dict({name.removeprefix("network."): value for name, value in state.items()})
    small = np.asarray(Image.fromarray(seen).resize((8, 8), Image.Resampling.BILINEAR)).transpose(2, 0, 1) / 255
    with torch.no_grad():
        return network.eval()(torch.from_numpy(small[None]).float()).double().softmax(1)[0].numpy()


def test_predict_writes_the_probabilities_of_a_forward_pass_for_each_image(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    seen = album(tmp_path / "album")
    answer = viewfinder("predict", finished.path, tmp_path / "album", "--csv", tmp_path / "predictions.csv")
    assert (answer.code, answer.err) == (0, "")
    rows = pd.read_csv(tmp_path / "predictions.csv")
    assert list(rows.columns) == ["picture", "predicted", *COLUMNS]
    assert [Path(name).name for name in rows["picture"]] == list(seen)
    for row in rows.to_dict("records"):
        name = Path(row["picture"]).name
        expected = forward(finished, seen[name])
        # Pillow and NumPy may round a half-transparent pixel differently.
        within = 2e-3 if name == "clear.png" else 1e-6
        np.testing.assert_allclose([row[column] for column in COLUMNS], expected, atol=within, rtol=0)
        assert row["predicted"] == CLASSES[int(np.argmax([row[column] for column in COLUMNS]))]


@pytest.mark.parametrize("top", [1, 2, 3])
def test_predict_names_the_likeliest_classes_in_order(
    finished: RunFolder, viewfinder: Type, tmp_path: Path, top: int
) -> None:
    seen = album(tmp_path / "album")
    paths = [tmp_path / "album" / name for name in ("grey.png", "colour.png")]
    answer = viewfinder("predict", finished.path, *paths, "--top", str(top))
    _, *lines = [line for line in answer.out.splitlines() if line.strip()]
    assert len(lines) == 2
    for line, path in zip(lines, paths, strict=True):
        chances = forward(finished, seen[path.name])
        likeliest = np.argsort(-chances)[:top]
        expected = [str(path), *(f"{CLASSES[index]} {chances[index]:.1%}" for index in likeliest)]
        assert [cell.strip() for cell in line.split("  ") if cell.strip()] == expected


def test_predict_accepts_files_and_folders_together_and_reads_each_image_once(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    album(tmp_path / "album")
    words = [tmp_path / "album" / "ink.jpg", tmp_path / "album"]
    viewfinder("predict", finished.path, *words, "--csv", tmp_path / "predictions.csv")
    names = [Path(name).name for name in pd.read_csv(tmp_path / "predictions.csv")["picture"]]
    assert names == ["ink.jpg", "clear.png", "colour.png", "grey.png", "palette.png", "sixteen.png"]


def test_predict_names_unreadable_images_and_classifies_the_others(
    finished: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    seen = album(tmp_path / "album")
    (tmp_path / "album" / "broken.png").write_bytes((tmp_path / "album" / "colour.png").read_bytes()[:60])
    (tmp_path / "album" / "letter.jpg").write_text("Dear John")
    answer = viewfinder("predict", finished.path, tmp_path / "album", "--csv", tmp_path / "predictions.csv")
    assert answer.code == 2
    assert "broken.png" in answer.err
    assert "letter.jpg" in answer.err
    assert "Traceback" not in answer.err
    assert len(pd.read_csv(tmp_path / "predictions.csv")) == len(seen)
    assert "grey.png" in answer.out
