"""`viewfinder inspect` shows a network with or without a run."""

from pathlib import Path

import pandas as pd
import pytest
from conftest import CLASSES, Page, Type, on_one_line
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from viewfinder.experiment import inspect_images
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.runs.folder import RunFolder


def list_files(run: Path) -> dict[str, int]:
    """Map the files of a run folder itself to the times of their last change."""
    return {path.name: path.stat().st_mtime_ns for path in run.iterdir() if path.is_file()}


def test_a_network_is_inspected_without_a_run_or_data(tmp_path: Path, viewfinder: Type) -> None:
    folder = tmp_path / "result"
    answer = viewfinder("inspect", "model=custom_cnn", "data.channels=1", f"run_dir={folder}", "--classes", "7")
    assert (answer.code, answer.err) == (0, "")
    lines = [line.split() for line in answer.out.splitlines()]
    assert ["features.0.0", "Conv2d", "32x32x32", "320", "294,912", "3"] in lines
    assert ["head.3", "Linear", "7", "7,175", "7,168", "all"] in lines
    assert "(32 - 3 + 2*1)/1 + 1 = 32" in answer.out
    assert sorted(path.name for path in folder.iterdir()) == ["inspect.html", "layers.csv"]
    table = pd.read_csv(folder / "layers.csv", keep_default_na=False)
    assert table["parameters"].sum() == sum(parameter.numel() for parameter in CustomCNN(1, 7).parameters())
    assert f"{table['multiply_adds'].sum():,} multiply-adds for an image of 1 x 32 x 32" in on_one_line(answer.out)
    page = Page((folder / "inspect.html").read_text(encoding="utf-8"))
    assert page.fetched == []
    assert "(32 - 2 + 2*0)/2 + 1 = 16" in "".join(page.text)


@pytest.mark.parametrize(
    ("words", "texts"),
    [
        (["modle=mlp"], ["Did you mean model?"]),
        (["model=mlp", "model.widths=[0]"], ["model.widths", "greater than or equal to 1"]),
        (["model=custom_cnn", "model.image_size=8"], ["model.image_size = 8", "must be at least 16"]),
        (["model=mlp,simple_cnn"], ["an inspection takes one value"]),
        (["model=mlp", "--image", "cat.png"], ["needs a run"]),
        (["model=mlp", "--mistakes", "2", "--max-images", "0"], ["--mistakes = 2", "--max-images = 0", "needs a run"]),
        (["no_such_run"], ["no_such_run", "does not exist"]),
    ],
)
def test_a_mistake_is_answered_as_by_train_and_leaves_no_file(
    words: list[str], texts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, viewfinder: Type
) -> None:
    monkeypatch.chdir(tmp_path)
    answer = viewfinder("inspect", *words)
    assert (answer.code, answer.out) == (2, "")
    assert [text for text in texts if text not in on_one_line(answer.err)] == []
    assert list(tmp_path.iterdir()) == []


def test_the_channels_and_classes_are_those_of_data_that_are_there(
    pictures: Path, tmp_path: Path, viewfinder: Type
) -> None:
    words = ["model=simple_cnn", "data=image_folder", f"data.root={pictures}", "data.channels=1"]
    answer = viewfinder("inspect", *words, f"run_dir={tmp_path / 'result'}")
    assert answer.code == 0, answer.err
    rows = pd.read_csv(tmp_path / "result" / "layers.csv")
    assert (rows["input"].iloc[0], rows["output"].iloc[-1]) == ("1 x 32 x 32", str(len(CLASSES)))


def test_the_network_of_a_run_is_shown_with_kernels_maps_mistakes_and_silent_units(
    run_copy: RunFolder, viewfinder: Type
) -> None:
    Image.effect_noise((20, 14), 60).save(run_copy.path / "photo.png")
    before = list_files(run_copy.path)
    table = pd.read_csv(run_copy.predictions, na_filter=False)
    wrong = table[table["true"] != table["predicted"]]
    assert len(wrong)  # a network that is trained for a second makes mistakes
    probabilities = [row[f"p_{row['true']}"] for _, row in wrong.iterrows()]
    worst = [name for _, name in sorted(zip(probabilities, wrong["picture"], strict=True))][:2]
    answer = viewfinder("inspect", run_copy.path, "--image", "photo.png", "--mistakes", "2")
    assert (answer.code, answer.err) == (0, "")
    assert [line for line in answer.out.splitlines() if len(line) > 80 and str(run_copy.path) not in line] == []
    assert "units of ReLU layers never fire" in on_one_line(answer.out)
    assert "on 15 test images" in on_one_line(answer.out)
    assert "left out" not in answer.out
    folder = run_copy.path / "inspect"
    names = {path.name for path in folder.iterdir() if "tfevents" not in path.name}
    shown = {f"{kind}_{number}" for kind in ("occlusion", "grad_cam") for number in (1, 2, 3)}
    assert names >= {
        "inspect.html",
        "layers.csv",
        "kernels.png",
        "maps_1_01.png",
        "occlusion_3.png",
        "grad_cam_3_2.png",
    }
    assert all(any(name.startswith(each) for name in names) for each in shown)
    page = Page((folder / "inspect.html").read_text(encoding="utf-8"))
    assert [address[:22] for address in page.fetched] == ["data:image/png;base64,"] * len(page.fetched)
    text = "".join(page.text)
    assert [name for name in ("photo.png", *worst) if name not in text] == []
    assert "x" not in page.tags  # <b>&x is the name of a class
    events = EventAccumulator(str(folder))
    events.Reload()
    assert {f"inspect/{Path(name).stem}" for name in names if name.endswith(".png")} == set(events.Tags()["images"])
    assert list_files(run_copy.path) == before

    again = viewfinder("inspect", run_copy.path, "--mistakes", "0", "--max-images", "0")
    assert again.code == 0
    assert {path.name for path in folder.iterdir() if "tfevents" not in path.name} == {
        "inspect.html", "layers.csv", "kernels.png"
    }  # fmt: skip
    assert len([path for path in folder.iterdir() if "tfevents" in path.name]) == 1


def test_a_run_without_its_images_its_predictions_or_captum_is_still_inspected(
    run_copy: RunFolder, viewfinder: Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_copy.predictions.write_text("picture,true\na,b\n")
    Image.effect_noise((9, 9), 60).save(run_copy.path / "photo.png")
    monkeypatch.setattr(inspect_images, "find_spec", lambda name: None)
    answer = viewfinder("inspect", run_copy.path, "--image", "photo.png")
    assert answer.code == 0
    assert "worst mistakes" in answer.out
    assert "captum is not installed" in answer.out
    answer = viewfinder("inspect", run_copy.path, "data.root=/no/such/place")
    assert answer.code == 0
    assert "left out test images: data.root = /no/such/place" in on_one_line(answer.out)
    assert (run_copy.path / "inspect" / "kernels.png").is_file()
