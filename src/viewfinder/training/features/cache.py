"""Training of a head on cached features of a frozen backbone.

Features are computed once and stored in the user's cache folder, which may be deleted. Their key covers everything that
they depend on.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn
from tqdm import tqdm

from viewfinder.data.batches import Features
from viewfinder.data.memory import GPU_SHARE, format_size, free_gpu_memory
from viewfinder.data.module import ImageData
from viewfinder.errors import join_names
from viewfinder.models.transfer import Transferable
from viewfinder.runs.cache_dir import cache_folder
from viewfinder.runs.launcher import is_helper
from viewfinder.runs.logging import log_wrapped
from viewfinder.training.features.extract import FeatureExtractor
from viewfinder.training.features.key import collect_image_facts, collect_network_facts, hash_facts
from viewfinder.training.features.store import FeatureStore, NoRoomError, evict


def has_frozen_backbone(network: nn.Module) -> TypeGuard[Transferable]:
    """Return whether a network's backbone is frozen and its features may be cached."""
    return isinstance(network, Transferable) and network.cache_features and network.is_backbone_frozen


def feature_cache_blocker(augmentations: Sequence[str], limit_batches: int | None) -> str:
    """Return why cached features would be useless under these settings, or ''.

    Args:
        augmentations: `_target_` of each augmentation.
        limit_batches: `trainer.limit_batches`.
    """
    if augmentations:
        names = join_names(target.rpartition(".")[2] for target in augmentations)
        return f"augment ({names}) changes the images every epoch"
    if limit_batches is not None:
        return "trainer.limit_batches leaves out most images"
    return ""


def use_features(
    data: ImageData,
    network: nn.Module,
    device: torch.device,
    fingerprints: Mapping[str, str],
    blocker: str = "",
    show_progress: bool = True,
) -> dict[str, Any] | None:
    """Replace images by features in the data's batches if the network's backbone is frozen, and log it.

    Args:
        data: the loaded data; this function fills `data.features`.
        network: the network, with its final weights.
        fingerprints: split -> fingerprint in data.json, for each split to replace.
        blocker: reason not to replace them, from `feature_cache_blocker`; '' for none.
        show_progress: draw a progress bar, if the output is a terminal.

    Returns:
        The entry `features` of run.json: numbers of computed and of cached features, seconds, and location. None if
        images pass through the whole network.
    """
    if not has_frozen_backbone(network):
        return None
    if blocker:
        return _log_no_cache(blocker)
    probe_shape = (1, *data.image_shape)
    probe = torch.randint(0, 256, probe_shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    try:
        extractor = FeatureExtractor(network, probe, device)
    except ValueError as error:
        return _log_no_cache(f"{type(network).__name__} cannot be split into backbone and head: {error}")
    folder = cache_folder() / "features"
    network_facts = collect_network_facts(network, probe, extractor.features, device, extractor.batch)
    stores = {}
    for split, fingerprint in fingerprints.items():
        facts = network_facts | collect_image_facts(data, split, fingerprint)
        shape = (len(data.images[split]), extractor.width)
        stores[split] = FeatureStore(folder, hash_facts(facts), shape, extractor.batch, facts)
    is_bar_shown = show_progress and not is_helper()
    features, computed, seconds = {}, 0, 0.0
    try:
        for split, store in stores.items():
            features[split], count, elapsed = _complete(store, extractor, data, split, is_bar_shown)
            computed, seconds = computed + count, seconds + elapsed
    except NoRoomError as error:
        return _log_no_cache(f"neither disk nor memory has room for them: {error}")
    freed = evict(folder, {store.path.stem for store in stores.values()}) if computed else 0
    if freed:
        log_wrapped(f"features removed {format_size(freed)} from the full cache {folder}, least recently used first")
    unwritable = next((store.unwritable for store in stores.values() if store.in_memory), None)
    _attach(data, features, device)
    return _log_features({
        "width": extractor.width,
        "computed": computed,
        "found": sum(store.shape[0] for store in stores.values()) - computed,
        "seconds": round(seconds, 3),
        "pictures_per_second": round(computed / seconds, 2) if computed else None,
        "where": str(folder) if unwritable is None else f"in memory, for this run only: {folder}: {unwritable}",
    })  # fmt: skip


def _complete(
    store: FeatureStore, extractor: FeatureExtractor, data: ImageData, split: str, show_progress: bool
) -> tuple[Tensor, int, float]:
    """Return a split's features, (N, D) float32, the number that had to be computed, and the seconds it took."""
    with store.locked():
        available, total = store.count_valid_rows(), store.shape[0]
        if store.damage:
            log_wrapped(f"features of the {split} split are computed again: the cached file is {store.damage}")
        started = time.perf_counter()
        if available < total:
            store.open_for_append(available)
            blocks = extractor.extract(data, split, available // extractor.batch)
            _append_blocks(store, blocks, f"features of {split} images", available, show_progress)
        return store.load(), total - available, time.perf_counter() - started if available < total else 0.0


def _append_blocks(
    store: FeatureStore, blocks: Iterable[Tensor], title: str, available: int, show_progress: bool
) -> None:
    is_off = None if show_progress else True
    with tqdm(
        desc=title, total=store.shape[0], initial=available, leave=False, disable=is_off, unit=" images", delay=1
    ) as bar:
        count = available
        try:
            for rows in blocks:
                store.append(rows)
                count += len(rows)
                bar.update(len(rows))
        except BaseException:
            if store.files:
                log_wrapped(f"{title}: {count:,} of {store.shape[0]:,} are saved; the next start continues from there")
            raise


def _log_no_cache(reason: str) -> None:
    log_wrapped(f"features are not cached: {reason}")


def _log_features(facts: dict[str, Any]) -> dict[str, Any]:
    computed, cached = facts["computed"], facts["found"]
    counts = [f"{cached:,} images cached"] * (cached > 0)
    if computed:
        counts.append(f"{computed:,} computed in {facts['seconds']:.1f} s, {facts['pictures_per_second']:.1f} images/s")
    place = f"{'' if facts['where'].startswith('in memory') else 'in '}{facts['where']}"
    summary = f"{facts['width']:,} per image: {join_names(counts)}; {place}"
    log_wrapped(f"features {summary}; used while only the head trains")
    return facts


def _attach(data: ImageData, features: Mapping[str, Tensor], device: torch.device) -> None:
    """Let batches hold features, on the GPU if that leaves most of its memory to the network."""
    size = sum(rows.nbytes for rows in features.values())
    is_on_device = device.type != "cpu" and size <= GPU_SHARE * free_gpu_memory(device)
    for split, rows in features.items():
        placed = rows.to(device) if is_on_device else rows
        data.features[split] = Features(placed, data.images[split].labels.to(placed.device))
