"""Exported network in an ONNX file, run by ONNX Runtime without torch."""

import json
from pathlib import Path
from typing import Any

import numpy as np


class OnnxModel:
    """A file that `viewfinder export` wrote.

    Args:
        path: the file.

    Attributes:
        facts: class names, run, input and preprocessing, as in the JSON file beside it.
    """

    def __init__(self, path: Path):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors
        self.session = onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
        metadata = self.session.get_modelmeta().custom_metadata_map
        self.facts: dict[str, Any] = {key: json.loads(value) for key, value in metadata.items()}

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map uint8 images (N, C, H, W) to probabilities and logits, each (N, K) float32."""
        probabilities, logits = self.session.run(None, {self.session.get_inputs()[0].name: images})
        return np.asarray(probabilities), np.asarray(logits)
