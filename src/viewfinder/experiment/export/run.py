"""Export of a run's network to a file that other programs run, compared with the run before it is kept."""

from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple

import PIL

from viewfinder.data.resize import Resize
from viewfinder.errors import Problem, UserError
from viewfinder.experiment.export.check import MAX_DIFFERENCE, Comparison, compare, select_samples
from viewfinder.experiment.export.files import INPUT, OUTPUTS, load_onnx, load_torch, trace, write_onnx, write_torch
from viewfinder.experiment.load import OpenedRun
from viewfinder.models.inference import InferenceNetwork
from viewfinder.models.summary import get_architecture
from viewfinder.models.tta import describe_views
from viewfinder.runs.atomic import make_write_error, replace_file, write_json

Format = Literal["onnx", "torch"]
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


class Export(NamedTuple):
    """Exported file, the JSON file beside it, and the comparison with the run."""

    path: Path
    description: Path
    comparison: Comparison


def check_installation(file_format: Format) -> None:
    """Raise UserError if a package is missing that this format needs."""
    missing = [name for name in ONNX_PACKAGES if file_format == "onnx" and find_spec(name) is None]
    if missing:
        rule = f"needs {', '.join(missing)}, not installed here"
        raise UserError(
            "the installation",
            [Problem("--format onnx", rule, remedy='pip install "viewfinder[export]", or use --format torch.')],
        )


def export_run(
    opened: OpenedRun,
    path: Path,
    file_format: Format,
    weights: str,
    files: Sequence[Path] = (),
    max_difference: float = MAX_DIFFERENCE,
) -> Export:
    """Write a run's network, with its preprocessing, to a file, and a description to <path>.json.

    Args:
        opened: the run.
        path: file to write.
        weights: "best" or "last", as they were loaded.
        files: images to compare on; without any, images of the run's test split.
        max_difference: largest accepted difference of a probability.

    Raises:
        UserError: if the network cannot be exported, the file answers differently from the run, or cannot be written.
    """
    description = path.with_name(f"{path.name}.json")
    if not path.parent.is_dir():
        rule = f"cannot be written: the folder {path.parent} does not exist"
        raise UserError("the export", [Problem("--output", rule, str(path), "Create it, or choose another folder.")])
    for target in (path, description):
        if target.is_dir():
            raise UserError("the export", [Problem(str(target), "is a folder; a file of this name is to be written")])
    samples = select_samples(opened, files)
    channels, size = opened.picture_shape
    network, name = opened.classifier.network, get_architecture(opened.classifier.network)
    facts = _describe(opened, weights)
    try:
        with replace_file(path) as temporary:
            temporary.touch()  # an unwritable folder is reported before the long part
            program = trace(InferenceNetwork(network, size, opened.temperature), channels, name)
            if file_format == "onnx":
                write_onnx(program, facts, temporary, name)
            else:
                write_torch(program, facts, temporary)
            predict = (load_onnx if file_format == "onnx" else load_torch)(temporary)
            comparison = compare(opened, predict, samples, max_difference)
        checked = {**comparison._asdict(), "accepted_difference": max_difference}
        write_json(description, {"format": file_format, **facts, "compared_with_run": checked})
    except OSError as error:
        raise make_write_error(path, error, "run the same command again, or choose another --output.") from error
    return Export(path, description, comparison)


def _describe(opened: OpenedRun, weights: str) -> dict[str, Any]:
    """Return all that a program needs to use the file, and the identity of its run."""
    folder, run = opened.folder, opened.folder.read_run()
    channels, size = opened.picture_shape
    preprocess, resize = opened.classifier.preprocess, Resize.from_size(size)
    count = len(opened.class_names)
    added: dict[str, Any] = {}
    if opened.temperature is not None:
        added["calibration"] = {"temperature": opened.temperature}
    if views := describe_views(opened.classifier.network):
        added["test_time_augmentation"] = views
    return {
        "class_names": opened.class_names,
        "run": {
            "name": str(opened.settings.get("name", "")),
            "folder": folder.path.resolve().name,
            "weights": weights,
            "epoch": folder.read_scores()[weights]["epoch"] if folder.scores.is_file() else None,
            "started": run.get("started"),
            "git": run.get("git"),
            "versions": run.get("versions"),
        },
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "shape": ["N", channels, "H", "W"],
            "layout": "NCHW",
            "colour": "grey" if channels == 1 else "RGB",
        },
        "outputs": {name: {"dtype": "float32", "shape": ["N", count]} for name in OUTPUTS},
        "preprocessing": {
            "in_graph": True,
            "first_resize": {**resize._asdict(), "as": f"Pillow {PIL.__version__}"},
            "image_size": preprocess.image_size,
            "resize_size": preprocess.resize.cover and preprocess.resize.cover[0],
            "interpolation": preprocess.resize.interpolation,
            "mean": preprocess.mean,
            "std": preprocess.std,
        },
        **added,
        "viewfinder": version("viewfinder"),
    }
