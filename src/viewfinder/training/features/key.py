"""Cache key of extracted features; a change of any component recomputes them."""

import hashlib
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from viewfinder.data.decoder import describe_decoder
from viewfinder.data.fingerprint import hash_files
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.data.stream import StreamedImages
from viewfinder.models.transfer import Transferable
from viewfinder.runs.provenance import hash_code, read_versions

PACKAGE = Path(__file__).parents[2]
FEATURE_CODE = (
    "models", "data/preprocess.py", "data/resize.py", "training/features", "data/batches.py", "data/order.py",
    "data/stream.py",
)  # fmt: skip
"""Files of this package that turn images into features."""


def hash_facts(facts: dict[str, Any]) -> str:
    """Return the cache key of a set of facts."""
    return _hash([repr(sorted(facts.items())).encode()])


def collect_network_facts(
    network: Transferable, probe: Tensor, features: Tensor, device: torch.device, batch: int
) -> dict[str, Any]:
    """Return the components of the key that do not depend on the images.

    Args:
        network: the network; its head is ignored.
        probe: images (N, C, H, W) uint8 of the data's shape; preprocessing is identified by its result on them.
        features: features of the probe, (N, D) float32; they identify differences that modules and weights do not show.
        device: device of the extraction.
        batch: images per batch, which can change the last bits, as can the number of threads.
    """
    preprocess = get_preprocess(network)
    with network.without_head():
        structure, weights = repr(network), network.state_dict()
    preprocessed = preprocess(probe)
    result = repr((type(preprocess), preprocessed.shape, preprocessed.dtype))
    chip = f"{platform.processor() or platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    if device.type == "cuda":
        chip = torch.cuda.get_device_name(device)
    packages = ["torch", "torchvision", *(["timm"] if _uses(network, "timm") else [])]
    return {
        "structure": _hash([structure.encode()]),
        "weights": _hash(_iter_bytes(weights)),
        "function": _hash(_iter_bytes({"": features})),
        "preprocessing": _hash([result.encode(), *_iter_bytes({"": preprocessed})]),
        "code": _hash_code([preprocess, *network.modules()]),
        "device": f"{device.type}, {chip}, {torch.get_num_threads()} threads",
        "pass": ("float32", batch, torch.backends.cudnn.deterministic),
        "versions": tuple(read_versions().get(name) for name in packages),
    }


def collect_image_facts(data: ImageData, split: str, fingerprint: str) -> dict[str, Any]:
    """Return the components of the key that identify a split's images; `fingerprint` is from data.json."""
    images = data.images[split]
    facts = {"pictures": fingerprint, "picture_shape": tuple(images.shape)}
    if isinstance(images, StreamedImages):  # its fingerprint covers only the sizes of the files
        digests = hash_files(images.paths, f"identifying {split} images")
        facts["files"], facts["decoding"] = _hash(digest.encode() for digest in digests), describe_decoder()
    return facts


def _uses(network: nn.Module, package: str) -> bool:
    """Return whether a network has a module of a package."""
    return any(type(module).__module__.partition(".")[0] == package for module in network.modules())


def _iter_bytes(tensors: dict[str, Tensor]) -> Iterable[Any]:
    for name, tensor in tensors.items():
        yield f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode()
        yield tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data


def _hash_code(parts: Iterable[object]) -> tuple[str, list[Any]]:
    """Hash this package's code for features, and the packages that a network's other parts come from."""
    others = hash_code(type(part).__module__ for part in parts)
    return _hash(_read_sources(FEATURE_CODE)), sorted(item for item in others.items() if item[0] != PACKAGE.name)


def _read_sources(names: Iterable[str]) -> Iterable[bytes]:
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
