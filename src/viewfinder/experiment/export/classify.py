"""Classification of image files by an exported ONNX file, without torch."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from viewfinder.data.ahead import load_batches
from viewfinder.data.files import open_stable
from viewfinder.data.image_file import catch_problem, load_image
from viewfinder.evaluation.classified import Classified
from viewfinder.experiment.export.onnx_model import OnnxModel

BATCH_SIZE = 64


def classify_exported(model: OnnxModel, files: Sequence[str]) -> Iterator[Classified]:
    """Classify image files, decoded and resized as in training; yield a result for every BATCH_SIZE files."""

    def load(path: Path) -> np.ndarray:
        with open_stable(path) as file:
            levels = np.array(load_image(file, path, model.channels, model.resize))
        return levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)

    batches = load_batches(lambda part: [catch_problem(load, path) for path in part], files, BATCH_SIZE)
    for names, images, problems in batches:
        rows = np.empty((0, len(model.class_names)))
        if images:
            rows = model.predict(np.stack(images))[1].astype(np.float64)
        raised = np.exp(rows - rows.max(1, keepdims=True))
        probabilities = raised / raised.sum(1, keepdims=True)
        yield Classified(names, probabilities, rows.argmax(1), model.class_names, problems)
