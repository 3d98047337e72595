"""A manifest gives the images, labels, splits, folds and groups that are in it, whatever the order of its rows."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from image_data import names_by_split, open_data
from image_files import write_folder

from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.data.sources.manifest import Manifest
from viewfinder.errors import UserError

Row = dict[str, str]


def list_rows(root: Path, **columns: str) -> list[Row]:
    """A row for each image below a folder, labelled by its folder."""
    paths = sorted(root.rglob("*.png"))
    return [{"image": path.relative_to(root).as_posix(), "label": path.parent.name, **columns} for path in paths]


def write_manifest(root: Path, rows: list[Row], name: str = "images.csv", **options: Any) -> str:
    path = root / name
    pd.DataFrame(rows).to_csv(path, index=False, **options)
    return str(path)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return write_folder(tmp_path, {"cat": 10, "dog": 20})


def problems_of(path: str, **options: Any) -> dict[str, str]:
    """Return the rule of each problem with a manifest, by its key and first words."""
    with pytest.raises(UserError) as caught:
        Manifest(path=path, **options).open()
    return {f"{Path(problem.key).name}: {problem.rule}": problem.remedy for problem in caught.value.problems}


def test_splits_drawn_from_a_manifest_are_those_of_the_folder(album: Path) -> None:
    rows = list_rows(album)
    expected = open_data(ImageFolder(root=str(album), stratify=True))
    for order in (range(30), np.random.default_rng(0).permutation(30)):
        path = write_manifest(album, [rows[place] for place in order])
        data = open_data(Manifest(path=path, stratify=True))
        assert data.class_names == ["cat", "dog"]
        assert names_by_split(data) == names_by_split(expected)
        for name, split in data.splits.items():
            assert split.labels.tolist() == expected.splits[name].labels.tolist()


def test_paths_are_relative_to_the_manifest_or_to_the_root_and_may_be_absolute(album: Path, tmp_path: Path) -> None:
    rows = list_rows(album)
    expected = names_by_split(open_data(Manifest(path=write_manifest(album, rows))))
    elsewhere = tmp_path / "lists"
    elsewhere.mkdir()
    odd = [row | {"image": f"./cat/../{row['image']}"} for row in rows[:15]]
    odd += [row | {"image": f"{album}/{row['image']}"} for row in rows[15:]]
    assert names_by_split(open_data(Manifest(path=write_manifest(elsewhere, odd), root=str(album)))) == expected


def test_columns_may_have_other_names_and_labels_stay_text(tmp_path: Path) -> None:
    write_folder(tmp_path, {"001": 5, "NA": 5, "1e3": 5})
    rows = [{"file": row["image"], "class": row["label"], "note": "x"} for row in list_rows(tmp_path)]
    path = write_manifest(tmp_path, rows, sep=";", encoding="utf-8-sig")
    data = open_data(Manifest(path=path, image_column="file", label_column="class"))
    assert data.class_names == ["001", "1e3", "NA"]
    assert sum(map(len, data.splits.values())) == 15


def test_parquet_is_read_as_csv(album: Path) -> None:
    rows = list_rows(album)
    table = pd.DataFrame(rows).assign(label=[int(row["label"] == "dog") for row in rows], split="train")
    table.loc[::3, "split"] = "Validation"
    table.to_parquet(album / "images.parquet")
    table.to_csv(album / "images.csv", index=False)
    parquet, csv = (open_data(Manifest(path=str(album / f"images.{suffix}"))) for suffix in ("parquet", "csv"))
    assert parquet.class_names == csv.class_names == ["0", "1"]
    assert names_by_split(parquet) == names_by_split(csv)
    assert len(parquet.splits["val"]) == 10


def test_given_splits_are_taken_and_a_missing_one_is_drawn(album: Path) -> None:
    rows = [row | {"split": "test" if row["image"].endswith("0.png") else "TRAIN"} for row in list_rows(album)]
    data = open_data(Manifest(path=write_manifest(album, rows)))
    assert data.splits["test"].names.tolist() == ["cat/00.png", "dog/00.png", "dog/10.png"]
    assert data.drawn == ["val"]
    ignored = open_data(Manifest(path=write_manifest(album, rows), split_column=None))
    assert ignored.drawn == ["val", "test"]


def test_folds_are_those_of_the_column(album: Path) -> None:
    rows = [row | {"fold": str(1 + number % 3)} for number, row in enumerate(list_rows(album))]
    path = write_manifest(album, rows)
    for fold in range(3):
        data = open_data(Manifest(path=path, folds=3, fold=fold))
        assert data.splits["test"].names.tolist() == [row["image"] for row in rows if row["fold"] == str(1 + fold)]
        assert data.cross_validation["fold_name"] == str(1 + fold)
        assert data.drawn == ["val"]
    assert "the column fold is not used, because data.folds is null" in open_data(Manifest(path=path)).warnings
    drawn = open_data(Manifest(path=path, folds=5, fold_column=None))
    assert (drawn.drawn, len(drawn.splits["test"])) == (["val", "test"], 6)


def test_images_of_a_group_are_in_one_split(album: Path) -> None:
    rows = [row | {"group": f"p{number % 7}"} for number, row in enumerate(list_rows(album))]
    path = write_manifest(album, rows)
    for options in ({}, {"folds": 3, "fold": 1}):
        data = open_data(Manifest(path=path, **options), 8)
        groups = [set(split.groups) for split in data.splits.values()]  # type: ignore[arg-type]
        assert sum(map(len, groups)) == len(set.union(*groups)) == 7
        assert sum(data.summarise()["group_counts"].values()) == 7


def test_all_problems_of_the_rows_are_in_one_error(album: Path) -> None:
    rows = [row | {"split": "train", "group": row["image"]} for row in list_rows(album)]
    rows[1]["image"] = "cat/nowhere.png"
    rows[2]["image"] = "../secret.png"
    rows[3]["label"] = ""
    rows[4]["split"] = "holdout"
    rows[5] |= {"split": "test", "label": "dgo"}
    rows[6] |= {"split": "val", "group": rows[7]["group"]}
    rows[8] = rows[9] | {"label": "dog"}
    rows[10] = rows[11]
    rows[12]["group"] = ""
    found = problems_of(write_manifest(album, rows))
    assert [rule.removeprefix("images.csv: ") for rule in found] == [
        "1 row has an unknown split, 'holdout': row 6",
        "1 row has no label: row 5",
        "1 test row has the label 'dgo', which training lacks: row 7",
        "1 image is outside the folder of images: ../secret.png (row 4)",
        "1 of 30 images does not exist: cat/nowhere.png (row 3)",
        "1 image is listed more than once: dog/01.png (rows 12, 13)",
        "1 image has two labels: cat/09.png: dog (row 10), cat (row 11)",
        "1 row has no group: row 14",
        "1 group is in several splits: cat/07.png in val and train",
    ]
    assert (
        f"Paths are relative to {album}" in found["images.csv: 1 of 30 images does not exist: cat/nowhere.png (row 3)"]
    )


def test_many_rows_with_one_problem_are_counted(album: Path) -> None:
    rows = [row | {"image": row["image"].replace("/", "\\")} for row in list_rows(album)]
    ((rule, remedy),) = problems_of(write_manifest(album, rows)).items()
    assert "30 of 30 images do not exist: cat\\00.png (row 2), cat\\01.png (row 3), cat\\02.png (row 4) and 27" in rule
    assert r"Separate folders by /, not \." in remedy


@pytest.mark.parametrize(
    ("text", "options", "rule"),
    [
        ("", {}, "data.path: is empty"),
        ("image,label\n", {}, "data.path: has no rows"),
        ("image,label\ncat/00.png,cat,dog\n", {}, "data.path: has rows with more values than the header has columns"),
        ("image,label\n" + "cat/00.png,cat\n" + 'a,"', {}, "data.path: cannot be read: "),
        ("PK\3\4", {}, "data.path: is a workbook, not a CSV or Parquet file"),
        ("image,label\ncat/00.png,cat\n", {"root": "nowhere"}, "data.root: is not a folder"),
        ("image,label,fold\na,a,1\nb,b,\n", {"folds": 2}, "images.csv: 1 row has no fold: row 3"),
        (
            "image,label,fold\ncat/00.png,cat,1\ndog/00.png,dog,2\n", {"folds": 3},
            "data.folds: differs from the number of folds in the data, 2: 1, 2",
        ),
        (
            "image,label,fold,group\ncat/00.png,cat,1,a\ndog/00.png,dog,2,a\n", {"folds": 2},
            "images.csv: 1 group is in several folds: a in 1 and 2",
        ),
        ("image,label,split\ncat/00.png,cat,val\n", {}, "images.csv: no row is in train; there are 1 in val"),
    ],
)  # fmt: skip
def test_a_damaged_manifest_is_one_clear_error(text: str, options: dict[str, Any], rule: str, album: Path) -> None:
    (album / "images.csv").write_text(text)
    found = problems_of(str(album / "images.csv"), **options)
    assert any(each.startswith(rule) for each in found), found


def test_missing_columns_are_named_with_those_that_are_there(album: Path) -> None:
    rows = [{"imgae": row["image"], "Label": row["label"], "Split": "train"} for row in list_rows(album)]
    found = problems_of(write_manifest(album, rows), group_column="patient", fold_column=None)
    assert found == {
        "data.image_column: is not a column of the manifest":
            "Did you mean imgae? Set data.image_column=NAME. Columns: 'imgae', 'Label', 'Split'.",
        "data.label_column: is not a column of the manifest":
            "Did you mean 'Label'? Set data.label_column=NAME. Columns: 'imgae', 'Label', 'Split'.",
        "data.split_column: is not a column of the manifest, but 'Split' is":
            "Set data.split_column='Split' to use it, or data.split_column=null not to.",
        "data.group_column: is not a column of the manifest":
            "Set data.group_column=NAME. Columns: 'imgae', 'Label', 'Split'.",
    }  # fmt: skip


def test_a_manifest_without_a_header_and_paths_with_spaces_are_answered_with_what_to_do(album: Path) -> None:
    lines = [f"{row['image']},{row['label']}" for row in list_rows(album)]
    (album / "images.csv").write_text("\n".join(lines))
    found = problems_of(str(album / "images.csv"))
    assert [*found] == [f"data.{role}_column: is not a column of the manifest" for role in ("image", "label")]
    assert all("begin the file with a row such as image,label." in remedy for remedy in found.values())
    (album / "images.csv").write_text("\n".join(["image,label", *(f" {line}" for line in lines)]))
    ((_, remedy),) = problems_of(str(album / "images.csv")).items()
    assert remedy.endswith("Remove the spaces before and after paths.")


def test_labels_that_are_not_utf8_are_escaped_and_said_to_be(album: Path) -> None:
    lines = [
        "image,label",
        *(f"{row['image']},{row['label']}".replace(",cat", ",kätzchen") for row in list_rows(album)),
    ]
    (album / "images.csv").write_text("\n".join(lines), encoding="cp1252")
    data = open_data(Manifest(path=str(album / "images.csv")), 8)
    assert data.class_names == ["dog", r"k\xe4tzchen"]
    assert data.warnings == [r"not all labels are UTF-8, for example k\xe4tzchen; save the manifest as UTF-8"]


def test_a_manifest_that_is_not_there_is_refused(album: Path) -> None:
    write_manifest(album, list_rows(album))
    assert problems_of(str(album / "imges.csv")) == {
        f"data.path: does not exist (looked in {album})": "Did you mean images.csv?"
    }
    assert [*problems_of(str(album))] == ["data.path: is a folder, not a manifest"]


def test_selected_classes_are_all_that_is_checked_and_read(album: Path) -> None:
    rows = [*list_rows(album), {"image": "nowhere.png", "label": "owl"}, {"image": "../x.png", "label": "owl"}]
    path = write_manifest(album, rows)
    assert open_data(Manifest(path=path, classes=["dog", "cat"])).class_names == ["cat", "dog"]
    found = problems_of(path, classes=["cat", "dgo"])
    assert [rule.split(":")[0] for rule in found] == ["data.classes"]


def test_names_that_are_not_utf8_are_read_and_escaped(tmp_path: Path) -> None:
    write_folder(tmp_path, {"a": 3, "b": 3})
    odd = "caf\udce9.png"
    (tmp_path / "a" / "00.png").rename(tmp_path / "a" / odd)
    lines = ["image,label", f"a/{odd},a", "", *(f"{n}/0{k}.png,{n}" for n in "ab" for k in (1, 2)), "", ""]
    (tmp_path / "images.csv").write_text("\n".join(lines), encoding="utf-8", errors="surrogateescape")
    data = open_data(Manifest(path=str(tmp_path / "images.csv"), val_fraction=0.2, test_fraction=0.2), 8)
    assert sorted(name for names in names_by_split(data).values() for name in names)[2] == "a/caf\\xe9.png"
