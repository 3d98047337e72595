"""Classification of image files by an exported ONNX file, without torch."""

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from viewfinder.data.ahead import map_ahead
from viewfinder.data.files import escape_path, open_stable
from viewfinder.data.image_file import catch_problem, load_image, silence_warnings
from viewfinder.data.resources import count_cores
from viewfinder.errors import Problem
from viewfinder.evaluation.classified import Classified
from viewfinder.models.onnx_model import OnnxModel

BATCH_SIZE = 64


def classify_exported(model: OnnxModel, files: Sequence[Path]) -> Iterator[Classified]:
    """Classify image files, decoded and resized as in training; yield a result for every BATCH_SIZE files."""

    def load(path: Path) -> np.ndarray:
        with open_stable(path) as file:
            levels = np.array(load_image(file, path, model.channels, model.resize))
        return levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)

    with silence_warnings():
        decoded = map_ahead(lambda path: catch_problem(load, path), files, count_cores(), 4 * BATCH_SIZE)
        for start in range(0, len(files), BATCH_SIZE):
            batch = files[start : start + BATCH_SIZE]
            results = list(itertools.islice(decoded, len(batch)))
            images = {path: image for path, image in zip(batch, results, strict=True) if not isinstance(image, Problem)}
            problems = [image for image in results if isinstance(image, Problem)]
            rows = np.empty((0, len(model.class_names)))
            if images:
                rows = model.predict(np.stack([*images.values()]))[1].astype(np.float64)
            raised = np.exp(rows - rows.max(1, keepdims=True))
            probabilities = raised / raised.sum(1, keepdims=True)
            names = [escape_path(path) for path in images]
            yield Classified(names, probabilities, rows.argmax(1), model.class_names, problems)
