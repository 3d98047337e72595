"""`viewfinder evaluate` scores images in other folders by the names of their classes."""

import json
import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pytest
from conftest import CLASSES, SIZES, Answer, Train, Type, on_one_line, paint

import viewfinder as package
from viewfinder.runs.folder import RunFolder


class Scored(NamedTuple):
    answer: Answer
    rows: pd.DataFrame
    scores: dict[str, Any]


@pytest.fixture
def score(viewfinder: Type, tmp_path: Path) -> Any:
    """Function that evaluates a run with overrides."""

    def evaluate(run: RunFolder, *words: str) -> Scored:
        files = tmp_path / "scores.json", tmp_path / "rows.csv"
        answer = viewfinder("evaluate", run.path, *words, "--json", files[0], "--csv", files[1])
        assert (answer.code, answer.err) == (0, ""), answer.err
        return Scored(answer, pd.read_csv(files[1]), json.loads(files[0].read_text(encoding="utf-8")))

    return evaluate


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder with other images of the same classes and splits."""
    return paint(tmp_path / "elsewhere", seed=9)


@pytest.fixture(scope="module")
def flat(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders without split folders."""
    return shutil.copytree(pictures / "train", tmp_path_factory.mktemp("flat") / "images")


@pytest.fixture(scope="module")
def cut(tiny: list[str], flat: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run whose splits were drawn from class folders; read only."""
    from conftest import train_into

    return train_into(tmp_path_factory.mktemp("cut") / "run", *tiny, f"data.root={flat}", "trainer.max_epochs=1")


def classes_of(rows: pd.DataFrame) -> list[str]:
    return [Path(name).parent.name for name in rows["picture"]]


def test_a_folder_with_test_images_alone_is_scored(finished: RunFolder, elsewhere: Path, score: Any) -> None:
    whole = score(finished, f"data.root={elsewhere}")
    for split in ("train", "val"):
        shutil.rmtree(elsewhere / split)
    alone = score(finished, f"data.root={elsewhere}")
    assert len(alone.rows) == SIZES["test"] * len(CLASSES)
    assert alone.scores == whole.scores
    pd.testing.assert_frame_equal(alone.rows, whole.rows)
    assert "warning" not in alone.answer.out
    assert "These are not the images of the run" in alone.answer.out


def test_classes_without_images_are_named_and_the_others_keep_their_labels(
    finished: RunFolder, elsewhere: Path, score: Any
) -> None:
    whole = score(finished, f"data.root={elsewhere}")
    shutil.rmtree(elsewhere / "test" / CLASSES[0])
    fewer = score(finished, f"data.root={elsewhere}")
    expected = whole.rows[whole.rows["true"] != CLASSES[0]].reset_index(drop=True)
    pd.testing.assert_frame_equal(fewer.rows, expected)
    assert list(fewer.rows["true"]) == classes_of(fewer.rows)
    assert fewer.scores["accuracy"] == pytest.approx((expected["true"] == expected["predicted"]).mean())
    assert [values["pictures"] for values in fewer.scores["per_class"].values()] == [0, 5, 5]
    assert f"warning  no image of {CLASSES[0]} in test" in fewer.answer.out


def test_class_folders_elsewhere_are_all_scored(finished: RunFolder, elsewhere: Path, score: Any) -> None:
    expected = score(finished, f"data.root={elsewhere}", "--split", "train").rows
    flat = score(finished, f"data.root={elsewhere / 'train'}")
    assert len(flat.rows) == SIZES["train"] * len(CLASSES)
    np.testing.assert_array_equal(flat.rows.iloc[:, 1:].to_numpy(), expected.iloc[:, 1:].to_numpy())
    assert "no folders of splits, so all its images are scored: 30" in flat.answer.out


def test_one_class_can_be_scored(finished: RunFolder, elsewhere: Path, score: Any) -> None:
    (elsewhere / "one").mkdir()
    (elsewhere / "train" / "owl").rename(elsewhere / "one" / "owl")
    one = score(finished, f"data.root={elsewhere / 'one'}")
    assert set(one.rows["true"]) == {"owl"}
    assert len(one.rows) == SIZES["train"]
    assert one.scores["accuracy"] == pytest.approx((one.rows["predicted"] == "owl").mean())


def test_a_runs_class_folders_are_split_as_in_the_run_wherever_they_are(
    cut: RunFolder, flat: Path, tmp_path: Path, score: Any
) -> None:
    moved = shutil.copytree(flat, tmp_path / "moved")
    here, there = score(cut), score(cut, f"data.root={moved}")
    assert here.scores == there.scores == cut.read_scores()["best"]["test"]
    assert "Equal to scores.json." in there.answer.out
    others = score(cut, f"data.root={paint(tmp_path / 'others', seed=9, sizes={'train': 4}) / 'train'}")
    assert len(others.rows) == 4 * len(CLASSES)


def test_training_images_are_not_scored_as_test_images_where_a_class_was_removed(
    tiny: list[str], flat: Path, tmp_path: Path, train: Train, viewfinder: Type
) -> None:
    own = shutil.copytree(flat, tmp_path / "own")
    run = train(tmp_path / "run", f"data.root={own}", "trainer.max_epochs=1")
    shutil.rmtree(own / "owl")
    answer = viewfinder("evaluate", run.path)
    assert (answer.code, answer.out) == (2, "")
    assert "lacks classes of the run: owl" in on_one_line(answer.err)


def test_classes_that_the_run_does_not_know_are_named_and_can_be_left_out(
    finished: RunFolder, elsewhere: Path, viewfinder: Type, score: Any
) -> None:
    shutil.copytree(elsewhere / "test" / "owl", elsewhere / "test" / "owls")
    shutil.copytree(elsewhere / "test" / "owl", elsewhere / "test" / "eagle")
    (elsewhere / "test" / "notes").mkdir()
    answer = viewfinder("evaluate", finished.path, f"data.root={elsewhere}")
    said = " ".join(answer.err.split())
    assert answer.code == 2
    assert "/test/eagle is a class that the run does not know; it has 5 images" in said
    assert "/test/owls is a class that the run does not know; it has 5 images Did you mean owl?" in said
    assert "notes" not in said
    (override,) = shlex.split(said.partition("To score the other classes alone: ")[2])
    known = score(finished, f"data.root={elsewhere}", override)
    assert set(known.rows["true"]) == set(CLASSES)


def test_training_folders_elsewhere_are_drawn_from_and_that_is_said(
    finished: RunFolder, elsewhere: Path, score: Any
) -> None:
    for split in ("val", "test"):
        shutil.rmtree(elsewhere / split)
    drawn = score(finished, f"data.root={elsewhere}")
    assert len(drawn.rows) == round(0.2 * SIZES["train"] * len(CLASSES))
    assert "data.root has no test/; the test images are drawn from train/" in drawn.answer.out


def test_a_folder_with_another_split_alone_is_refused(finished: RunFolder, elsewhere: Path, viewfinder: Type) -> None:
    for split in ("train", "test"):
        shutil.rmtree(elsewhere / split)
    answer = viewfinder("evaluate", finished.path, f"data.root={elsewhere}")
    assert answer.code == 2
    assert "contains val/ but no test/" in on_one_line(answer.err)


def test_an_unreadable_image_beside_no_training_images_is_skipped(
    finished: RunFolder, elsewhere: Path, score: Any
) -> None:
    for split in ("train", "val"):
        shutil.rmtree(elsewhere / split)
    (elsewhere / "test" / "owl" / "00.png").write_bytes(b"no image")
    skipped = score(finished, f"data.root={elsewhere}", "data.on_error=skip", "data.limit=9")
    assert len(skipped.rows) in (8, 9)
    assert "data.limit=9 keeps 9 of 15 images" in skipped.answer.out


def test_other_images_are_opened_from_python_too(finished: RunFolder, elsewhere: Path) -> None:
    shutil.rmtree(elsewhere / "train")
    shutil.rmtree(elsewhere / "val" / CLASSES[1])
    batches = package.load_run(finished.path, overrides=[f"data.root={elsewhere}"]).dataloader("val")
    assert [label for _, labels in batches for label in labels.tolist()] == [0, 0, 2, 2]
