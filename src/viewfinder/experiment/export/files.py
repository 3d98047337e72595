"""Files of exported networks, ONNX and torch.export: written from a network and read back."""

import contextlib
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

from viewfinder.errors import Problem, UserError
from viewfinder.experiment.export.onnx_model import OnnxModel

INPUT = "images"
OUTPUTS = ("probabilities", "logits")
FACTS_FILE = "viewfinder.json"
"""Name under which a .pt2 file contains its facts."""
MAX_ONNX_BYTES = 2**31 - 2**20
"""Largest size of a file in protobuf."""
Predict = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Function of uint8 images (N, C, H, W) that returns probabilities and logits."""


def trace(network: nn.Module, channels: int, name: str) -> ExportedProgram:
    """Trace a network of uint8 images for any number of images of any size.

    Args:
        network: maps (N, channels, H, W) uint8 to probabilities and logits.
        name: name of the architecture for the error.

    Raises:
        UserError: if torch.export cannot trace the network, for example because it branches on values.
    """
    example = torch.zeros(2, channels, 37, 41, dtype=torch.uint8)
    sizes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC, 3: Dim.DYNAMIC},)
    try:
        with _silence():
            return torch.export.export(network.eval(), (example,), dynamic_shapes=sizes, strict=False)
    except Exception as error:  # torch.export raises many kinds
        remedy = "Its forward must run the same operations for every batch, without branches on values or sizes."
        raise _export_error(name, "torch.export", error, remedy) from error


def write_torch(program: ExportedProgram, facts: Mapping[str, Any], path: Path) -> None:
    """Write a program as a .pt2 file, with the facts as the extra file viewfinder.json."""
    buffer = io.BytesIO()  # torch.export does not write to paths without the suffix .pt2
    with _silence():
        torch.export.save(program, buffer, extra_files={FACTS_FILE: _to_json(facts)})
    path.write_bytes(buffer.getvalue())


def load_torch(path: Path) -> Predict:
    """Load a .pt2 file."""
    with _silence():
        return torch.export.load(io.BytesIO(path.read_bytes())).module()


def write_onnx(program: ExportedProgram, facts: Mapping[str, Any], path: Path, name: str) -> None:
    """Write a program as an ONNX file, with each fact as JSON under its key in the metadata.

    Raises:
        UserError: if an operation has no counterpart in ONNX, or the weights are too large for the format.
    """
    size = sum(tensor.nbytes for tensor in program.state_dict.values())
    if size > MAX_ONNX_BYTES:
        rule = f"has {size / 2**30:.1f} GiB of weights; an ONNX file holds at most 2 GiB"
        raise UserError("the export", [Problem(name, rule, remedy="Use --format torch.")])
    try:
        with _silence():
            options = {"input_names": [INPUT], "output_names": list(OUTPUTS), "verbose": False}
            converted = torch.onnx.export(program, (), dynamo=True, **options)
            assert converted is not None
            model = converted.model_proto
    except Exception as error:  # the converter raises many kinds
        raise _export_error(name, "torch.onnx", error, "Use --format torch, or replace that operation.") from error
    _name_sizes(model.graph)
    for key, value in facts.items():
        model.metadata_props.add(key=key, value=_to_json(value))
    path.write_bytes(model.SerializeToString())


def load_onnx(path: Path) -> Predict:
    """Load an ONNX file into ONNX Runtime, on the CPU."""
    model = OnnxModel(path)

    def predict(images: Tensor) -> tuple[Tensor, Tensor]:
        probabilities, logits = model.predict(images.numpy())
        return torch.from_numpy(probabilities), torch.from_numpy(logits)

    return predict


def _name_sizes(graph: Any) -> None:
    """Call the sizes of the input N, H and W, which torch numbers."""
    sizes = graph.input[0].type.tensor_type.shape.dim
    names = {sizes[index].dim_param: name for index, name in ((0, "N"), (2, "H"), (3, "W"))}
    for value in (*graph.input, *graph.output, *graph.value_info):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_param in names:
                size.dim_param = names[size.dim_param]


def _to_json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _export_error(name: str, tool: str, error: BaseException, remedy: str) -> UserError:
    while error.__cause__ is not None:  # the exporters wrap the cause in advice about themselves
        error = error.__cause__
    message = " ".join(str(error).partition("\n\n")[0].split())
    rule = f"cannot be exported, because {tool} fails: {type(error).__name__}: {message[:300]}"
    return UserError("the export", [Problem(name, rule, remedy=remedy)])


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Silence the warnings and log lines of torch's exporters, which are about their own code."""
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
