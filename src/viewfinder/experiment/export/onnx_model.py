"""Exported network in an ONNX file, run by ONNX Runtime without torch."""

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from viewfinder.data.resize import Interpolation, Resize
from viewfinder.errors import Problem, UserError, printable

Side = Annotated[int, Field(ge=1, le=2**14)]


class FirstResize(TypedDict):
    """Resize of an image to the size that the network was trained on."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    height: Side
    width: Side
    cover: tuple[Side, Side] | None
    interpolation: Interpolation


class Preprocessing(TypedDict):
    """Preprocessing of images; a reader of files needs its first part."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    first_resize: FirstResize


class Input(TypedDict):
    """Input of the network: uint8 images (N, C, H, W)."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    shape: tuple[str, Annotated[int, Field(ge=1)], str, str]


class Facts(TypedDict):
    """Metadata that `viewfinder export` writes."""

    __pydantic_config__ = ConfigDict(extra="allow")  # type: ignore[misc]
    class_names: Annotated[list[str], Field(min_length=2)]
    input: Input
    preprocessing: Preprocessing


class OnnxModel:
    """A file that `viewfinder export` wrote.

    Attributes:
        class_names: K names.
        channels: 1 for grey images, 3 for RGB.
        resize: resize of image files, which the file itself also does, more slowly.

    Raises:
        UserError: if ONNX Runtime is missing, or the file is damaged or was not written by `viewfinder export`.
    """

    def __init__(self, path: Path):
        if find_spec("onnxruntime") is None:
            rule = "needs ONNX Runtime, which is not installed"
            raise UserError("the installation", [Problem(str(path), rule, remedy='pip install "viewfinder[export]"')])
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # fatal; errors are raised as well
        try:
            content = path.read_bytes()
            self.session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime raises a dozen classes
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).splitlines()[0]
            rule = f"cannot be read as an ONNX file: {printable(reason)[:200]}"
            raise _model_error(path, rule, "It may be damaged; export or copy it again.") from error
        metadata = self.session.get_modelmeta().custom_metadata_map
        try:
            facts = TypeAdapter(Facts).validate_python(
                {key: _parse(metadata.get(key)) for key in Facts.__annotations__}
            )
        except ValidationError as error:
            place = ".".join(map(str, error.errors()[0]["loc"]))
            rule = f"was not written by `viewfinder export`: its metadata has no valid {place}"
            raise _model_error(path, rule, "Pass a file that `viewfinder export` wrote.") from error
        self.class_names, self.channels = facts["class_names"], facts["input"]["shape"][1]
        first = facts["preprocessing"]["first_resize"]
        self.resize = Resize(first["height"], first["width"], first["cover"], first["interpolation"])

    def predict(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Map uint8 images (N, C, H, W) to probabilities and logits, each (N, K) float32."""
        probabilities, logits = self.session.run(None, {self.session.get_inputs()[0].name: images})
        return np.asarray(probabilities), np.asarray(logits)


def _parse(text: str | None) -> Any:
    try:
        return json.loads(text or "null")
    except (ValueError, RecursionError):
        return None


def _model_error(path: Path, rule: str, remedy: str) -> UserError:
    return UserError("the model", [Problem(str(path), rule, remedy=remedy)])
