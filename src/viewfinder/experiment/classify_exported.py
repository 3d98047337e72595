"""Classification of image files by an exported ONNX file, without torch."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from viewfinder.data.files import escape_path, open_stable
from viewfinder.data.image_file import catch_problem, load_image, silence_warnings
from viewfinder.errors import Problem
from viewfinder.evaluation.classified import Classified
from viewfinder.models.onnx_model import OnnxModel

BATCH_SIZE = 64


def classify_exported(model: OnnxModel, files: Sequence[Path]) -> Classified:
    """Classify image files, decoded and resized as in training."""

    def load(path: Path) -> np.ndarray:
        with open_stable(path) as file:
            levels = np.array(load_image(file, path, model.channels, model.resize))
        return levels[None] if levels.ndim == 2 else levels.transpose(2, 0, 1)

    names: list[str] = []
    problems: list[Problem] = []
    logits = [np.empty((0, len(model.class_names)), np.float32)]
    with silence_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(files), BATCH_SIZE):
            batch = files[start : start + BATCH_SIZE]
            decoded = dict(zip(batch, pool.map(lambda path: catch_problem(load, path), batch), strict=True))
            problems += [image for image in decoded.values() if isinstance(image, Problem)]
            images = {path: image for path, image in decoded.items() if not isinstance(image, Problem)}
            if images:
                names += [escape_path(path) for path in images]
                logits.append(model.predict(np.stack([*images.values()]))[1])
    rows = np.concatenate(logits).astype(np.float64)
    raised = np.exp(rows - rows.max(1, keepdims=True))
    return Classified(names, raised / raised.sum(1, keepdims=True), rows.argmax(1), model.class_names, problems)
