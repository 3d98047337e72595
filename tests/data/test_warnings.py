"""Warnings about the data stand on the terminal, in the log, in the report and in data.json."""

import shutil
from pathlib import Path

import pytest
from conftest import QUICK, Page, Type, train_into
from image_files import noise, save_image

OPTIONS = ["data=image_folder", "model=mlp", "model.widths=[8]", "model.image_size=8", *QUICK, "trainer.max_epochs=1"]


def write_splits(root: Path) -> Path:
    """Write different images of two classes in three splits."""
    places = [f"{split}/{label}/{n}.png" for split in ("train", "val", "test") for label in "ab" for n in range(4)]
    for number, place in enumerate(places):
        save_image(root, place, noise(6, 8, 3, seed=number))
    return root


def test_warnings_are_shown_wherever_a_run_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], viewfinder: Type
) -> None:
    root = write_splits(tmp_path / "in")
    shutil.rmtree(root / "val" / "b")
    shutil.copy(root / "train" / "a" / "0.png", root / "test" / "a" / "x.png")
    (root / "train" / "b" / "notes.txt").write_text("no image")
    save_image(root / "extra", "0.png", noise(6, 8, 3, seed=99))
    run = train_into(tmp_path / "run", *OPTIONS, f"data.root={root}")
    facts = run.read_data()
    assert facts["absent_classes"] == {"val": ["b"]}
    assert facts["warnings"] == [
        "1 image of extra beside the split folders is not used; move a class into train/, "
        "and rename a split to val/ or test/",
        "left out 1 file (hidden, or not an image; 1 .txt): train/b/notes.txt",
        "1 image of test is also in train, as the same file: test/a/x.png = train/a/0.png",
        "no image of b in val",
    ]
    terminal = " ".join(capsys.readouterr().out.split())
    log = " ".join(line.partition("  ")[2].strip() for line in run.log.read_text(encoding="utf-8").splitlines())
    page = " ".join(" ".join(Page(run.report.read_text(encoding="utf-8")).text).split())
    for warning in facts["warnings"]:
        assert f"warning {warning}" in terminal
        assert warning in " ".join(log.split())
        assert warning in page
    answer = viewfinder("evaluate", run.path)
    assert "warning  left out 1 file (hidden, or not an image; 1 .txt)" in answer.out


def test_a_run_on_a_well_formed_folder_has_no_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = train_into(tmp_path / "run", *OPTIONS, f"data.root={write_splits(tmp_path / 'in')}")
    assert "warning  " not in capsys.readouterr().out
    assert "<dt>warning" not in run.report.read_text(encoding="utf-8")
    assert {"absent_classes", "warnings"}.isdisjoint(run.read_data())


def test_a_run_beside_the_outputs_of_earlier_runs_equals_them(working_folder: Path) -> None:
    write_splits(working_folder / "in")
    for name in ("a", "b"):
        shutil.move(working_folder / "in" / "train" / name, working_folder / name)
    shutil.rmtree(working_folder / "in")
    first, second = (train_into(Path("outputs") / "mlp" / name, *OPTIONS, "data.root=.") for name in ("one", "two"))
    assert second.read_data()["class_names"] == ["a", "b"]
    for file in ("metrics", "predictions"):
        assert getattr(first, file).read_bytes() == getattr(second, file).read_bytes()
