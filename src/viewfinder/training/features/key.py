"""All that a picture's features depend on: of any other, others are computed."""

import hashlib
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.stream import StreamedImages
from viewfinder.models.transfer import Transferable
from viewfinder.runs.provenance import hash_code, read_versions

PACKAGE = Path(__file__).parents[2]
CODE = (
    "models", "data/preprocess.py", "data/resize.py", "training/features", "data/batches.py", "data/order.py",
    "data/stream.py",
)  # fmt: skip
"""Where this package makes features of pictures, which are known by what they hold."""
DECODING = ("data/decode.py", "data/jpeg.py", "data/resize.py")
"""And where it makes the pictures: of those that are streamed, the files are known."""


def key_of(facts: dict[str, Any]) -> str:
    return _hash([repr(sorted(facts.items())).encode()])


def facts_of_network(
    network: Transferable, probe: Tensor, features: Tensor, device: torch.device, batch: int
) -> dict[str, Any]:
    """What features depend on but for the pictures.

    Args:
        network: whose head does not count.
        probe: (N, C, H, W) uint8, of the pictures' shape: what is made of it tells one preprocessing from another.
        features: (N, D) float32, of the probe: they tell networks apart that differ in neither modules nor weights.
        device: of the pass.
        batch: pictures of it at once, which can change the last bits as threads can.
    """
    preprocess = get_preprocess(network)
    with network.without_head():
        structure, weights = repr(network), network.state_dict()
    made = preprocess(probe)
    chip = f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    if device.type == "cuda":
        chip = torch.cuda.get_device_name(device)
    return {
        "structure": _hash([structure.encode()]),
        "weights": _hash(_bytes(weights)),
        "function": _hash(_bytes({"": features})),
        "preprocessing": _hash([repr((type(preprocess), made.shape, made.dtype)).encode(), *_bytes({"": made})]),
        "code": _code([preprocess, *network.modules()]),
        "device": f"{device.type}, {chip}, {torch.get_num_threads()} threads",
        "pass": ("float32", batch, torch.backends.cudnn.deterministic),
        "versions": tuple(read_versions()[name] for name in ("torch", "torchvision")),
    }


def facts_of_pictures(data: ImageData, split: str, fingerprint: str) -> dict[str, Any]:
    """What features depend on of a split's pictures; `fingerprint` is that of data.json."""
    pictures = data.images[split]
    facts = {"pictures": fingerprint, "picture_shape": tuple(pictures.shape)}
    if isinstance(pictures, StreamedImages):  # whose fingerprint knows the files by their sizes
        facts["files"] = _hash(path.read_bytes() for path in pictures.paths)
        facts["decoding"] = (
            _hash(_sources(DECODING)),
            read_versions().get("pillow"),
            read_versions().get("torchcodec"),
        )
    return facts


def _bytes(tensors: dict[str, Tensor]) -> Iterable[Any]:
    for name, tensor in tensors.items():
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _code(parts: Iterable[object]) -> tuple[str, list[Any]]:
    """Of this package's code that makes features, and of the packages that other parts of a network are from."""
    others = hash_code(type(part).__module__ for part in parts)
    return _hash(_sources(CODE)), sorted(item for item in others.items() if item[0] != PACKAGE.name)


def _sources(names: Iterable[str]) -> Iterable[bytes]:
    for name in names:
        path = PACKAGE / name
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            yield f"{file.name}\0".encode() + file.read_bytes()


def _hash(parts: Iterable[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(len(part).to_bytes(8, "little"))
        digest.update(part)
    return digest.hexdigest()
