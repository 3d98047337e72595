"""`viewfinder audit` finds planted duplicates and label errors, and writes a page and two tables."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from conftest import CLASSES, Page, Type
from PIL import Image
from scenes import CHANGES, draw_scene

from viewfinder.data.sources.manifest import Manifest
from viewfinder.evaluation.label_errors import find_label_errors
from viewfinder.runs.folder import RunFolder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder of 24 scenes in train/ and 6 in test/; a blank image, and one that is cut off."""
    for number in range(30):
        place = f"{'train' if number < 24 else 'test'}/{('cat', 'dog')[number % 2]}"
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        draw_scene(number).save(tmp_path / place / f"{number:02}.png")
    Image.new("RGB", (4, 4), "navy").save(tmp_path / "train" / "cat" / "blank.png")
    whole = (tmp_path / "train" / "dog" / "01.png").read_bytes()
    (tmp_path / "train" / "dog" / "cut.png").write_bytes(whole[:-900])
    return tmp_path


def test_an_audit_of_a_folder_leaves_the_suspects_out_of_its_table(
    root: Path, tmp_path: Path, viewfinder: Type
) -> None:
    for number, change in zip((0, 2, 4, 6, 8), CHANGES.values(), strict=True):
        change(draw_scene(number)).save(root / "test" / "cat" / f"{number:02}.png")
    shutil.copy(root / "train" / "dog" / "03.png", root / "train" / "dog" / "copy.png")
    shutil.copy(root / "train" / "dog" / "05.png", root / "train" / "cat" / "other.png")
    folder = tmp_path / "result"
    answer = viewfinder("audit", "data=image_folder", f"data.root={root}", "data.val_fraction=0.1", f"run_dir={folder}")
    assert (answer.code, answer.err) == (0, "")
    assert "5 of 11 images of test are also in train (45.45%)" in answer.out
    assert [line for line in answer.out.splitlines() if len(line) > 80 and str(folder) not in line] == []
    assert sorted(path.name for path in folder.iterdir()) == ["audit.html", "clean.csv", "suspects.csv"]
    suspects = pd.read_csv(folder / "suspects.csv")
    assert suspects.loc[suspects["image"] == "train/cat/blank.png", "reason"].tolist() == ["blank", "very small"]
    suspects = suspects[suspects["reason"] != "very small"]
    reasons = dict(zip(suspects["image"], suspects["reason"].str.partition(":")[0], strict=True))
    copied = {f"train/cat/{number:02}.png" for number in (0, 2, 4, 6, 8)}
    assert {image for image, reason in reasons.items() if reason in ("near duplicate", "mirrored duplicate")} == copied
    assert {image: reason for image, reason in reasons.items() if image not in copied} == {
        "train/cat/blank.png": "blank",
        "train/dog/cut.png": "unreadable",
        "train/dog/05.png": "two labels",
        "train/cat/other.png": "two labels",
        **{image: reason for image, reason in reasons.items() if reason == "exact duplicate"},
    }
    assert list(reasons.values()).count("exact duplicate") == 1
    clean = pd.read_csv(folder / "clean.csv")
    assert list(clean.columns) == ["image", "label", "split"]
    files = {path.relative_to(root).as_posix() for path in root.glob("t*/*/*.png")}
    assert set(clean["image"]) == files - set(reasons)
    assert all(Path(row.image).parts[1] == row.label for row in clean.itertuples())
    manifest = Manifest(path=str(folder / "clean.csv"), root=str(root))
    manifest.open()
    read = {(name, split) for split, part in manifest.splits.items() for name in part.names}
    assert read == set(zip(clean["image"], clean["split"], strict=True))
    page = Page((folder / "audit.html").read_text())
    assert page.fetched != []
    assert all(address.startswith("data:image/") for address in page.fetched)
    assert "blank, very small" in page.text


@pytest.fixture
def listed(root: Path) -> pd.DataFrame:
    """A manifest of the readable scenes, with a group for each two and three folds; also a file beside it."""
    rows = [path.relative_to(root).as_posix() for path in sorted(root.glob("t*/*/[0-9]*.png"))]
    table = pd.DataFrame({"image": rows, "label": [Path(row).parts[1] for row in rows]})
    table = table.assign(patient=[f"p{n // 2}" for n in range(30)], fold=[f"f{n // 2 % 3}" for n in range(30)])
    table.to_csv(root / "images.csv", index=False)
    return table


def test_the_table_of_an_audited_manifest_keeps_its_groups_and_folds(
    root: Path, listed: pd.DataFrame, viewfinder: Type
) -> None:
    shutil.copy(root / listed["image"][3], root / listed["image"][4])
    typed = ["audit", "data=csv", f"data.path={root / 'images.csv'}", "data.group_column=patient"]
    for fold in ([], ["data.folds=3", "data.fold=1"]):
        answer = viewfinder(*typed, *fold, f"run_dir={root / str(len(fold))}")
        assert (answer.code, answer.err) == (0, "")
        clean = pd.read_csv(root / str(len(fold)) / "clean.csv")
        assert list(clean.columns) == ["image", "label", "group", "fold"]
        suspects = pd.read_csv(root / str(len(fold)) / "suspects.csv")
        assert set(suspects.columns) >= {"image", "label", "split", "group", "fold"}
        expected = listed.rename(columns={"patient": "group"})[~listed["image"].isin(suspects["image"])]
        assert len(expected) < 30
        pd.testing.assert_frame_equal(
            clean.sort_values("image", ignore_index=True), expected.sort_values("image", ignore_index=True)
        )
        path = root / str(len(fold)) / "clean.csv"
        shown = "".join(Page((path.parent / "audit.html").read_text()).text)
        assert f"data=csv data.path={path} data.root={root} data.folds=3" in shown
        manifest = Manifest(path=str(path), root=str(root), folds=3)
        manifest.open()
        assert sum(map(len, manifest.splits.values())) == len(expected)


def test_given_splits_stay_in_the_table_beside_folds(root: Path, listed: pd.DataFrame, viewfinder: Type) -> None:
    splits = [Path(image).parts[0] for image in listed["image"]]
    listed.assign(split=splits).drop(columns="patient").to_csv(root / "images.csv", index=False)
    viewfinder("audit", "data=csv", f"data.path={root / 'images.csv'}", f"run_dir={root / 'result'}")
    clean = pd.read_csv(root / "result" / "clean.csv")
    assert list(clean.columns) == ["image", "label", "split", "fold"]
    assert all(row.split == "test" or not row.image.startswith("test") for row in clean.itertuples())


def test_an_audit_of_a_run_names_the_label_errors_of_its_predictions(run_copy: RunFolder, viewfinder: Type) -> None:
    answer = viewfinder("audit", run_copy.path)
    assert (answer.code, answer.err) == (0, "")
    assert "likely wrong" in answer.out
    table = pd.read_csv(run_copy.predictions)
    labels = table["true"].map(CLASSES.index).to_numpy()
    errors = find_label_errors(table.filter(like="p_").to_numpy(), labels)
    suspects = pd.read_csv(run_copy.path / "suspects.csv")
    found = suspects[(suspects["reason"] == "label error") & (suspects["split"] == "test")]
    assert len(found) > 0
    assert sorted(found["image"]) == sorted(table["picture"].iloc[errors.positions])
    assert not found["left_out"].any()
    shown = "".join(Page((run_copy.path / "audit.html").read_text()).text)
    assert all(name in shown for name in CLASSES)


def test_images_without_files_have_suspects_but_no_table_of_the_others(tmp_path: Path, viewfinder: Type) -> None:
    folder = tmp_path / "digits"
    answer = viewfinder("audit", "data=digits", "data.limit=60", f"run_dir={folder}")
    assert (answer.code, answer.err) == (0, "")
    assert sorted(path.name for path in folder.iterdir()) == ["audit.html", "suspects.csv"]


def test_a_folder_that_is_no_run_is_answered_with_the_way_to_audit_images(root: Path, viewfinder: Type) -> None:
    answer = viewfinder("audit", root)
    assert answer.code == 2
    assert "data=image_folder" in answer.err


def test_nothing_is_left_of_an_audit_of_missing_images(tmp_path: Path, viewfinder: Type) -> None:
    folder = tmp_path / "result"
    answer = viewfinder("audit", "data=image_folder", f"data.root={tmp_path / 'none'}", f"run_dir={folder}")
    assert answer.code == 2
    assert not folder.exists()
