"""`viewfinder robustness` measures runs on their corrupted test images, and writes a table, a chart and a page."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Page, Type
from PIL import Image

from viewfinder.data.corruptions import CORRUPTIONS, Place
from viewfinder.experiment.load import open_run
from viewfinder.runs.folder import RunFolder

FILES = ["robustness.csv", "robustness.html", "robustness.png"]


def test_seeds_of_a_setting_share_a_line_and_the_table_has_a_row_for_each_run_and_strength(
    seeds: Path, tmp_path: Path, viewfinder: Type
) -> None:
    answer = viewfinder("robustness", seeds, "--output", tmp_path)
    assert (answer.code, answer.err) == (0, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == FILES
    table = pd.read_csv(tmp_path / "robustness.csv")
    levels = 1 + sum(len(corruption.strengths) for corruption in CORRUPTIONS.values())
    assert len(table) == 6 * levels
    assert table.groupby("setting")["seed"].nunique().tolist() == [3, 3]
    originals = table[table["corruption"] == "original"].set_index("run")["accuracy"]
    for run, accuracy in originals.items():
        stored = RunFolder(Path(str(run))).read_scores()["best"]["test"]
        assert accuracy == pytest.approx(stored["accuracy"], abs=1e-6)
    # The number as the page of documentation defines it, by another way.
    corrupted = table[table["corruption"] != "original"]
    relative = corrupted["accuracy"] / corrupted["run"].map(originals)
    per_run = relative.groupby([corrupted["setting"], corrupted["run"], corrupted["corruption"]]).mean()
    means = 100 * per_run.groupby(["setting", "run"]).mean()
    for setting, values in means.groupby("setting"):
        (line,) = [line for line in answer.out.splitlines() if line.startswith(f"{setting} ")]
        assert f"{values.mean():.2f} ±{values.std():.2f}" in line
    page = Page((tmp_path / "robustness.html").read_text(encoding="utf-8"))
    shown = [address.partition(";")[0] for address in page.fetched if address]
    assert shown[:2] == ["data:image/svg+xml"] * 2  # for a phone, and for a wider screen
    assert shown[2:] == ["data:image/png"] * sum(len(corruption.levels) for corruption in CORRUPTIONS.values())
    text = " ".join(" ".join(page.text).split())
    for corruption in CORRUPTIONS.values():
        assert corruption.title in text
    with Image.open(tmp_path / "robustness.png") as chart:
        assert chart.width > 1000


def test_the_accuracy_on_corrupted_images_is_that_of_the_network_on_them(run_copy: RunFolder, viewfinder: Type) -> None:
    answer = viewfinder("robustness", ".", "--only", "rotation", "--only", "noise", "--seed", "3")
    assert (answer.code, answer.err) == (0, "")
    assert "shear" not in answer.out
    table = pd.read_csv("robustness.csv")
    run = open_run(run_copy.path, [], "best")
    data = run.list_data("test")
    data.load(run.classifier.preprocess, ("test",))
    pixels, labels = data.images["test"].gather(torch.arange(15))
    for name in ("rotation", "noise"):
        for strength in CORRUPTIONS[name].strengths:
            images = CORRUPTIONS[name].apply(pixels, strength, Place(0, 3, 0))
            expected = (run.logits(images).argmax(1) == labels).double().mean().item()
            (found,) = table.query("corruption == @name and strength == @strength")["accuracy"]
            assert found == pytest.approx(expected)


def test_unfinished_runs_are_named_and_left_out(seeds: Path, tmp_path: Path, viewfinder: Type) -> None:
    for name in ("0.01_0", "0.0001_0"):
        shutil.copytree(seeds / name, tmp_path / "runs" / name)
    RunFolder(tmp_path / "runs" / "0.01_0").update_run(status="interrupted", error="stopped by SIGTERM")
    answer = viewfinder("robustness", tmp_path / "runs", "--only", "contrast")
    assert answer.code == 0
    assert "0.01_0: stopped by SIGTERM" in answer.out
    assert sorted(path.name for path in (tmp_path / "runs").glob("rob*")) == FILES
    assert pd.read_csv(tmp_path / "runs" / "robustness.csv")["run"].nunique() == 1


def test_other_images_are_measured_and_said_to_differ(run_copy: RunFolder, tmp_path: Path, viewfinder: Type) -> None:
    rng = np.random.default_rng(0)
    for name in run_copy.read_data()["class_names"]:
        (tmp_path / "other" / "test" / name).mkdir(parents=True)
        for number in range(4):
            image = Image.fromarray(rng.integers(0, 256, (9, 9, 3), dtype=np.uint8))
            image.save(tmp_path / "other" / "test" / name / f"{number}.png")
    answer = viewfinder("robustness", run_copy.path, f"data.root={tmp_path / 'other'}", "--only", "blur")
    assert answer.code == 0, answer.err
    assert "These are 12 images; the scores of the runs are of 15." in answer.out
    assert pd.read_csv(run_copy.path / "robustness.csv")["images"].unique().tolist() == [12]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "blurr"], "Did you mean blur?"),
        (["--output", "missing"], "does not exist"),
        (["data.rot=x"], "Did you mean data.root?"),
        (["nowhere"], "does not exist"),
    ],
)
def test_a_mistake_is_reported_before_any_image_is_read(
    words: list[str], message: str, run_copy: RunFolder, viewfinder: Type
) -> None:
    answer = viewfinder("robustness", run_copy.path, *words)
    assert answer.code == 2
    assert message in " ".join(answer.err.split())
    assert not (run_copy.path / "robustness.csv").exists()


def test_only_overrides_are_refused(viewfinder: Type) -> None:
    answer = viewfinder("robustness", "data.root=x")
    assert answer.code == 2
    assert "RUN-OR-SWEEP" in answer.err
