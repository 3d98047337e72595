"""Construction of augmentations, and a trial on images before anything is created on disk."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from viewfinder.config.augmentations import list_augmentations, make_key
from viewfinder.config.instantiate import STAGE, instantiate
from viewfinder.data.augmentations.pipeline import Pipeline
from viewfinder.data.augmentations.resize import ProgressiveResizing
from viewfinder.data.batches import Batch
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.errors import Problem, UserError, format_exception
from viewfinder.training.features.cache import feature_cache_blocker

TRIED = 2
"""Images that are augmented to try an augmentation."""


def build_augmentations(augment: Mapping[str, Any] | None, seed: int) -> Pipeline | None:
    """Construct the augmentations of a configuration; None if it has none.

    Args:
        augment: the group `augment`, which is valid.
        seed: base seed of the random numbers.

    Raises:
        UserError: if a constructor rejects its arguments.
    """
    nodes = list_augmentations(augment)
    if not nodes:
        return None
    return Pipeline({name: instantiate(node, make_key(name)) for name, node in nodes.items()}, seed)


def prepare_augmentations(data: ImageData, network: nn.Module, max_epochs: int) -> None:
    """Give augmentations the network's preprocessing, and try them and every size of images that they will produce.

    Args:
        data: the loaded data, on the CPU.
        network: the network, on the CPU.
        max_epochs: epochs of the training.

    Raises:
        UserError: if an augmentation fails, or the network does not take a size.
    """
    if (pipeline := data.augment) is None:
        return
    preprocess = pipeline.preprocess = get_preprocess(network)
    positions = torch.arange(min(TRIED, len(data.images["train"])))
    batch = Batch(*data.images["train"].gather(positions), positions, 0)
    for name, augmentation in pipeline.augmentations.items():
        key, received, size = make_key(name), type(augmentation).__name__, "x".join(map(str, batch.pixels.shape[-2:]))
        try:
            with torch.random.fork_rng(devices=[]):
                single = Pipeline({name: augmentation}, pipeline.seed, preprocess)
                result = single.at(0, max_epochs)(batch)
        except ValueError as error:
            raise UserError(STAGE, [Problem(key, f"cannot change images of {size}: {error}", received)]) from error
        except Exception as error:
            rule = f"fails on images of {size}: {format_exception(error)}"
            raise UserError(STAGE, [Problem(key, rule, received, "Fix that line.")]) from error
        pixels = result.pixels
        if pixels.dtype != torch.uint8 or pixels.ndim != 4 or pixels.shape[:2] != batch.pixels.shape[:2]:
            rule = f"must return uint8 images (N, C, H, W), not {pixels.dtype} of {tuple(pixels.shape)}"
            raise UserError(STAGE, [Problem(key, rule, received)])
        batch = result
        if isinstance(augmentation, ProgressiveResizing):
            sizes = {augmentation.size_at(epoch, max_epochs, preprocess.image_size) for epoch in range(max_epochs)}
            _try_sizes(network, data.in_channels, sorted(sizes), key)


def _try_sizes(network: nn.Module, channels: int, sizes: Iterable[int], key: str) -> None:
    training = network.training
    for size in sizes:
        try:
            with torch.no_grad():
                network.eval()(torch.zeros(1, channels, size, size))
        except Exception as error:
            cause = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
            class_name = type(network).__name__
            rule = f"needs a network that takes several sizes; {class_name} fails at {size}x{size}: {cause}"
            remedy = f"Remove it with ~{key}, or choose a network that pools over the whole image before its head."
            raise UserError(STAGE, [Problem(key, rule, remedy=remedy)]) from error
        finally:
            network.train(training)


def find_cache_blocker(settings: Mapping[str, Any]) -> str:
    """Return why cached features would be useless under these settings, or ''."""
    targets = [node["_target_"] for node in list_augmentations(settings.get("augment")).values()]
    return feature_cache_blocker(targets, settings["trainer"].get("limit_batches"))
