"""Training of a head on features that a frozen backbone makes of the pictures: computed once, and found again.

They are kept in the cache folder, which may be removed, under a key of all that they depend on.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any, TypeGuard

import torch
from omegaconf import DictConfig
from torch import Tensor, nn
from tqdm import tqdm

from viewfinder.data.batches import Features
from viewfinder.data.memory import GPU_SHARE, format_size, free_gpu_memory
from viewfinder.data.module import ImageData
from viewfinder.errors import join_names
from viewfinder.models.transfer import Transferable
from viewfinder.runs.cache_dir import cache_folder
from viewfinder.runs.logging import is_helper, log_wrapped
from viewfinder.training.features.extract import Backbone
from viewfinder.training.features.kept import KeptFeatures, NoRoomError, remove_oldest
from viewfinder.training.features.key import facts_of_network, facts_of_pictures, key_of


def has_frozen_backbone(network: nn.Module) -> TypeGuard[Transferable]:
    """Whether a network's backbone is frozen, and its features may be kept."""
    return isinstance(network, Transferable) and network.cache_features and network.is_backbone_frozen


def why_not(cfg: DictConfig) -> str:
    """What in a configuration changes features from epoch to epoch, or needs few of them; '' for nothing."""
    if cfg.augment:
        return f"augment ({str(cfg.augment._target_).rpartition('.')[2]}) changes the pictures"
    if cfg.trainer.get("limit_batches") is not None:
        return "trainer.limit_batches leaves out most pictures"
    return ""


def use_features(
    cfg: DictConfig,
    data: ImageData,
    network: nn.Module,
    device: torch.device,
    fingerprints: Mapping[str, str],
) -> dict[str, Any] | None:
    """Have batches hold features in place of pictures, if the network's backbone is frozen; what is done is said.

    Args:
        data: loaded; `data.features` is filled.
        network: with the weights that it is to be used with.
        fingerprints: of the splits that are wanted, as in data.json.

    Returns:
        For run.json: how many were computed, how many found, in how many seconds, and where they are kept. None if
        pictures go through the whole network, as ever.
    """
    if not has_frozen_backbone(network):
        return None
    if reason := why_not(cfg):
        return _decline(reason)
    one = (1, *data.image_shape)
    probe = torch.randint(0, 256, one, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    try:
        backbone = Backbone(network, probe, device)
    except ValueError as error:
        return _decline(f"{type(network).__name__} cannot be taken apart: {error}")
    folder = cache_folder() / "features"
    facts = facts_of_network(network, probe, backbone.features, device, backbone.batch)
    kept = {}
    for split, fingerprint in fingerprints.items():
        known = facts | facts_of_pictures(data, split, fingerprint)
        shape = (len(data.images[split]), backbone.width)
        kept[split] = KeptFeatures(folder, key_of(known), shape, backbone.batch, known)
    show = cfg.trainer.get("progress_bar", True) and not is_helper()
    features, computed, seconds = {}, 0, 0.0
    try:
        for split, each in kept.items():
            features[split], count, took = _complete(each, backbone, data, split, show)
            computed, seconds = computed + count, seconds + took
    except NoRoomError as error:
        return _decline(f"there is no room for them: {error}")
    freed = remove_oldest(folder, {each.path.stem for each in kept.values()}) if computed else 0
    if freed:
        log_wrapped(f"features {format_size(freed)} that were used longest ago are removed from {folder}")
    unwritable = next((each.unwritable for each in kept.values() if each.in_memory), None)
    _hand_over(data, features, device)
    return _say({
        "width": backbone.width,
        "computed": computed,
        "found": sum(each.shape[0] for each in kept.values()) - computed,
        "seconds": round(seconds, 3),
        "pictures_per_second": round(computed / seconds, 2) if computed else None,
        "where": str(folder) if unwritable is None else f"in memory for this run alone: {folder}: {unwritable}",
    })  # fmt: skip


def _complete(
    kept: KeptFeatures, backbone: Backbone, data: ImageData, split: str, show: bool
) -> tuple[Tensor, int, float]:
    """All features of a split, (N, D) float32; how many of them had to be computed, and the seconds which that took."""
    with kept.taken():
        there, count = kept.read(), kept.shape[0]
        if kept.damage:
            log_wrapped(f"features of the {split} split are computed again: what was kept is {kept.damage}")
        started = time.perf_counter()
        if there < count:
            kept.begin(there)
            blocks = backbone.blocks(data, split, there // backbone.batch)
            _compute(kept, blocks, f"features of {split} pictures", there, show)
        return kept.all(), count - there, time.perf_counter() - started if there < count else 0.0


def _compute(kept: KeptFeatures, blocks: Iterable[Tensor], doing: str, there: int, show: bool) -> None:
    off = None if show else True
    with tqdm(
        desc=doing, total=kept.shape[0], initial=there, leave=False, disable=off, unit=" pictures", delay=1
    ) as bar:
        done = there
        try:
            for rows in blocks:
                kept.append(rows)
                done += len(rows)
                bar.update(len(rows))
        except BaseException:
            if kept.files:
                log_wrapped(f"{doing}: {done:,} of {kept.shape[0]:,} are kept, and the next start goes on from there")
            raise


def _decline(reason: str) -> None:
    log_wrapped(f"features are computed every epoch, since {reason}")


def _say(facts: dict[str, Any]) -> dict[str, Any]:
    computed, found = facts["computed"], facts["found"]
    done = [f"{found:,} found"] * (found > 0)
    if computed:
        done.append(f"{computed:,} computed in {facts['seconds']:.1f} s, {facts['pictures_per_second']:.1f} pictures/s")
    where = f"{facts['where']}; used while the head alone is trained"
    log_wrapped(f"features {facts['width']:,} a picture: {join_names(done)}; {where}")
    return facts


def _hand_over(data: ImageData, found: Mapping[str, Tensor], device: torch.device) -> None:
    """Have batches taken from features, on the GPU if they leave most of it to the network."""
    size = sum(each.nbytes for each in found.values())
    is_near = device.type != "cpu" and size <= GPU_SHARE * free_gpu_memory(device)
    for split, features in found.items():
        near = features.to(device) if is_near else features
        data.features[split] = Features(near, data.images[split].labels.to(near.device))
