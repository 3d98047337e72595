"""An exported file answers as its run, says what it needs, and is kept only if it does."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from conftest import CLASSES, Type, noise, on_one_line, raises_user_error
from PIL import Image
from torch import Tensor, nn

from viewfinder.data.preprocess import Preprocess
from viewfinder.data.resize import Resize
from viewfinder.experiment.export import run as export_module
from viewfinder.experiment.export.check import BATCH_SIZES
from viewfinder.experiment.export.run import Export, check_installation, export_run
from viewfinder.experiment.load import OpenedRun, open_run
from viewfinder.runs.folder import RunFolder

Predict = Callable[[np.ndarray], np.ndarray]


class Own(nn.Module):
    """A network with a bicubic resize, a crop, a normalisation and attention."""

    def __init__(self) -> None:
        super().__init__()
        self.preprocess = Preprocess(12, (0.5, 0.4, 0.3), (0.2, 0.3, 0.25), resize_size=14, interpolation="bicubic")
        self.stem, self.attention = nn.Conv2d(3, 8, 3), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, len(CLASSES))

    def forward(self, images: Tensor) -> Tensor:
        tokens = self.stem(images).flatten(2).transpose(1, 2)
        return self.head((tokens + self.attention(tokens, tokens, tokens)[0]).mean(1)) * 20


class Branching(Own):
    """A network that treats dark batches differently."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images if images.mean() > 0 else -images)


class Drawing(Own):
    """A network that draws random numbers even in eval mode."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + torch.rand_like(images))


def read_onnx(path: Path) -> Predict:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["probabilities"], {"images": images})[0]


def read_torch(path: Path) -> Predict:
    network = torch.export.load(path).module()
    return lambda images: network(torch.from_numpy(images))[0].detach().numpy()


FORMATS: list[Any] = [("onnx", "model.onnx", read_onnx), ("torch", "model.pt2", read_torch)]


@pytest.fixture
def opened(finished: RunFolder) -> OpenedRun:
    """A run, opened."""
    torch.manual_seed(0)
    return open_run(finished.path, [], "best", accelerator="cpu")


@pytest.fixture(scope="module")
def exported(finished: RunFolder, onnx_export: Export, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Export]:
    """The run's network in both formats."""
    run, path = open_run(finished.path, [], "best", accelerator="cpu"), tmp_path_factory.mktemp("exported")
    return {"onnx": onnx_export, "torch": export_run(run, path / "model.pt2", "torch", "best")}


def use_network(opened: OpenedRun, network: nn.Module) -> None:
    """Replace the network of an opened run, whose images have many sizes."""
    opened.classifier.network, opened.classifier.preprocess = network.eval(), network.preprocess  # type: ignore[assignment]
    opened.picture_shape = (3, network.preprocess.fit_to_files(None))  # type: ignore[operator]
    opened.file_preprocess = network.preprocess  # type: ignore[assignment]


@pytest.mark.parametrize(("file_format", "file", "read"), FORMATS)
@pytest.mark.parametrize("network", ["shipped", "own"])
def test_an_exported_file_gives_the_runs_probabilities_for_any_number_and_size_of_images(
    opened: OpenedRun, exported: dict[str, Export], network: str, file_format: Any, file: str, read: Any, tmp_path: Path
) -> None:
    result, resize = exported[file_format], Resize(8, 8)
    if network == "own":
        use_network(opened, Own())
        result, resize = export_run(opened, tmp_path / file, file_format, "best"), Own().preprocess.resize
    assert result.comparison.images == "the test split"
    assert (result.comparison.image_count, result.comparison.resized_count) == (15, 15)
    assert result.comparison.largest_difference <= 1e-6
    assert result.comparison.changed_predictions == 0
    predict = read(result.path)
    for count, height, width in ((1, 8, 8), (7, 20, 33), (64, 41, 9)):
        images = noise(count, height, width, 3)
        fitted = np.stack([np.asarray(resize.resize_image(Image.fromarray(image))) for image in images])
        expected = opened.logits(torch.from_numpy(fitted.transpose(0, 3, 1, 2))).softmax(1)
        assert count == 1 or expected.std(0).max() > 1e-3
        np.testing.assert_allclose(predict(np.ascontiguousarray(images.transpose(0, 3, 1, 2))), expected, atol=1e-6)


def test_another_program_finds_classes_run_and_input_in_the_file(
    finished: RunFolder, exported: dict[str, Export]
) -> None:
    path, description, _ = exported["onnx"]
    model = onnx.load(path)
    facts = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    beside = json.loads(description.read_text())
    assert {key: beside[key] for key in facts} == facts
    assert facts["class_names"] == list(CLASSES)
    run = json.loads(finished.run.read_text())
    scores = json.loads(finished.scores.read_text())
    assert facts["run"]["versions"] == run["versions"]
    assert facts["run"]["git"] == run["git"]
    assert facts["run"]["epoch"] == scores["best"]["epoch"]
    assert facts["input"] == {
        "name": "images", "dtype": "uint8", "shape": ["N", 3, "H", "W"], "layout": "NCHW", "colour": "RGB"
    }  # fmt: skip
    assert facts["preprocessing"]["first_resize"]["height"] == facts["preprocessing"]["image_size"] == 8
    (shape,) = [value.type.tensor_type for value in model.graph.input]
    assert [size.dim_param or size.dim_value for size in shape.shape.dim] == ["N", 3, "H", "W"]
    assert shape.elem_type == onnx.TensorProto.UINT8
    assert [value.name for value in model.graph.output] == ["probabilities", "logits"]
    onnx.checker.check_model(model)


def test_a_torch_file_contains_the_same_facts(exported: dict[str, Export]) -> None:
    path, description, _ = exported["torch"]
    extra = {"viewfinder.json": ""}
    torch.export.load(path, extra_files=extra)
    facts, beside = json.loads(extra["viewfinder.json"]), json.loads(description.read_text())
    assert facts["class_names"] == list(CLASSES)
    assert {key: beside[key] for key in facts} == facts


def test_a_network_with_a_branch_is_refused_by_name_and_nothing_is_written(opened: OpenedRun, tmp_path: Path) -> None:
    use_network(opened, Branching())
    with raises_user_error(r"(?s)Branching.*cannot be exported") as caught:
        export_run(opened, tmp_path / "model.onnx", "onnx", "best")
    assert len(str(caught.value).splitlines()) < 15
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_differently_is_refused_and_the_earlier_file_stays(
    opened: OpenedRun, tmp_path: Path
) -> None:
    use_network(opened, Drawing())
    (tmp_path / "model.pt2").write_text("earlier")
    with raises_user_error("differently"):
        export_run(opened, tmp_path / "model.pt2", "torch", "best")
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt2"]
    assert (tmp_path / "model.pt2").read_text() == "earlier"


def test_without_its_data_a_run_is_compared_on_given_images_or_on_noise(
    run_copy: RunFolder, viewfinder: Type, tmp_path: Path
) -> None:
    Image.fromarray(noise(30, 20, 3)).save(tmp_path / "photo.png")
    missing = f"data.root={tmp_path / 'gone'}"
    answer = viewfinder("export", run_copy.path, missing, "--images", tmp_path / "photo.png")
    assert (answer.code, answer.err) == (0, "")
    assert "on 1 image (the given images), 1 of them in a second size, too:" in answer.out
    assert run_copy.onnx_model.is_file()
    answer = viewfinder("export", run_copy.path, missing, "--format", "torch")
    assert answer.code == 0
    assert f"on {sum(BATCH_SIZES)} images (noise, because the run's images are missing (data.root" in answer.out
    assert "), 16 of them in a second size, too:" in answer.out
    assert run_copy.torch_model.is_file()


def test_where_no_test_image_can_be_read_the_file_is_compared_on_noise(
    finished: RunFolder, pictures: Path, viewfinder: Type, tmp_path: Path
) -> None:
    copy = shutil.copytree(pictures, tmp_path / "copy")
    for path in copy.rglob("*.*"):
        path.write_bytes(path.read_bytes()[:40])
    output = tmp_path / "model.pt2"
    answer = viewfinder("export", finished.path, f"data.root={copy}", "--format", "torch", "--output", output)
    assert (answer.code, answer.err) == (0, "")
    assert f"on {sum(BATCH_SIZES)} images (noise, because none of the run's test images can be read)" in answer.out


def test_an_unwritable_place_is_one_error(finished: RunFolder, viewfinder: Type, tmp_path: Path) -> None:
    answer = viewfinder("export", finished.path, "--output", tmp_path / "missing" / "model.onnx")
    assert answer.code == 2
    assert "Create it, or choose another folder." in on_one_line(answer.err)
    answer = viewfinder("export", finished.path, "--output", "/proc/model.onnx")
    assert answer.code == 2
    assert "cannot be written" in on_one_line(answer.err)
    answer = viewfinder("export", finished.path, "--output", tmp_path)
    assert answer.code == 2
    assert "is a folder" in on_one_line(answer.err)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export_module, "find_spec", lambda name: None if name == "onnxscript" else object())
    with raises_user_error(r"(?s)needs onnxscript.*pip install \"viewfinder\[export\]\""):
        check_installation("onnx")
    check_installation("torch")
