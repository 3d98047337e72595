"""`viewfinder predict` classifies image files with an exported ONNX file as with its run, without torch."""

import subprocess
import sys
from pathlib import Path

import onnx
import pandas as pd
import pytest
from conftest import Type, noise
from PIL import Image

from viewfinder.experiment.export.run import Export
from viewfinder.runs.folder import RunFolder


@pytest.fixture
def model(onnx_export: Export) -> Path:
    """The finished run as an ONNX file."""
    return onnx_export.path


@pytest.fixture
def album(tmp_path: Path) -> Path:
    """Images of many modes and sizes, and a file that is not one."""
    folder = tmp_path / "album"
    folder.mkdir()
    colour, grey = Image.fromarray(noise(20, 31, 3)), Image.fromarray(noise(9, 14))
    colour.save(folder / "colour.png")
    grey.save(folder / "grey.png")
    colour.convert("CMYK").save(folder / "ink.jpg")
    grey.save(folder / "small.jpg", exif=Image.Exif())
    (folder / "letter.jpg").write_text("Dear John")
    return folder


def test_an_exported_file_gives_the_table_and_the_rows_of_its_run(
    finished: RunFolder, model: Path, album: Path, viewfinder: Type, tmp_path: Path
) -> None:
    answers = [
        viewfinder("predict", source, album, "--csv", tmp_path / f"{name}.csv", "--top", "2")
        for name, source in (("run", finished.path), ("file", model))
    ]
    assert answers[0] == answers[1]
    assert answers[0].code == 2
    assert "letter.jpg" in answers[0].err
    ours, theirs = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("file", "run"))
    assert len(ours) == 4
    pd.testing.assert_frame_equal(ours, theirs, atol=1e-6, rtol=0)


def test_an_exported_file_is_used_without_importing_torch(model: Path, album: Path) -> None:
    script = Path(sys.executable).with_name("viewfinder")
    command = [sys.executable, "-X", "importtime", str(script), "predict", str(model), str(album / "grey.png")]
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    assert process.returncode == 0, process.stderr
    assert "grey.png" in process.stdout
    imported = {line.rpartition("|")[2].strip() for line in process.stderr.splitlines()}
    assert "onnxruntime" in imported
    assert {"torch", "pytorch_lightning", "torchvision"}.isdisjoint(imported)


def test_a_file_that_is_not_an_exported_network_is_one_error(
    model: Path, album: Path, viewfinder: Type, tmp_path: Path
) -> None:
    half, foreign, text = (tmp_path / f"{name}.onnx" for name in ("half", "foreign", "text"))
    half.write_bytes(model.read_bytes()[: model.stat().st_size // 2])
    text.write_text("Dear John")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["x"], ["y"])], "g", [value], [
        onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    ])  # fmt: skip
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), foreign)
    told = {half: "damaged", text: "damaged", foreign: "not written by", tmp_path / "missing.onnx": "No such file"}
    for path, message in told.items():
        answer = viewfinder("predict", path, album, "--csv", tmp_path / "rows.csv")
        assert answer.code == 2
        assert answer.err.startswith("One problem with the model:")
        assert message in " ".join(answer.err.split())
        assert answer.out == ""
    assert not (tmp_path / "rows.csv").exists()


def test_metadata_that_were_changed_are_one_error(model: Path, album: Path, viewfinder: Type, tmp_path: Path) -> None:
    changed = onnx.load(model)
    for entry in changed.metadata_props:
        if entry.key == "class_names":
            entry.value = entry.value[:-1]
    onnx.save(changed, tmp_path / "changed.onnx")
    answer = viewfinder("predict", tmp_path / "changed.onnx", album)
    assert answer.code == 2
    assert "class_names" in answer.err
    assert answer.out == ""
