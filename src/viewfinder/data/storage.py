"""Storage of decoded images: in memory, on the GPU, in a disk cache, or none."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from viewfinder.data.batches import SplitImages
from viewfinder.data.decode_parallel import Unreadable, decode_all
from viewfinder.data.disk_cache import ImageCache
from viewfinder.data.memory import GPU_SHARE, HOST_SHARE, format_size, free_gpu_memory
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.resize import Resize
from viewfinder.data.resources import count_cores, free_memory
from viewfinder.data.split import ImageRows, Split
from viewfinder.data.stream import StreamedImages, check_workers
from viewfinder.runs.cache_dir import cache_folder

Storage = Literal["auto", "memory", "disk", "stream"]


@dataclass
class StoredImages:
    """Images of each split that are ready to be batched.

    Args:
        images: split -> readable images, in memory, in a mapped file or in their files.
        storage: "memory", "disk" or "stream".
        location: description for the log.
        cropped: arguments of Preprocess besides the image size, if decoding cut off a part of the images.
        unreadable: split -> images that are missing from `images`.
    """

    images: dict[str, SplitImages]
    storage: Storage = "memory"
    location: str = "in memory"
    cropped: dict[str, Any] | None = None
    unreadable: dict[str, Unreadable] = field(default_factory=dict)
    active_images: dict[str, SplitImages] = field(init=False)
    """split -> `images` or their copy on the GPU, from which batches are gathered"""

    def __post_init__(self) -> None:
        self.active_images = dict(self.images)

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of every image."""
        return next(iter(self.images.values())).shape

    def move_to_device(self, device: torch.device) -> None:
        """Gather batches from a copy on the GPU, if it leaves most of the GPU's memory to the network."""
        if device.type == "cpu" or self.storage != "memory":
            return
        bases = {id(images.rows.base): images.rows.base for images in self.images.values()}
        size, free = sum(base.nbytes for base in bases.values()), free_gpu_memory(device)
        if size > GPU_SHARE * free:
            self.location += f"; too large for the GPU, which has {format_size(free)} free"
            return
        copies = {key: base.to(device) for key, base in bases.items()}
        self.active_images = {
            name: images.with_base(copies[id(images.rows.base)]) for name, images in self.images.items()
        }
        self.location = f"on the GPU ({format_size(size)}; {format_size(free)} free)"


def store_splits(
    splits: Mapping[str, Split],
    channels: int,
    preprocess: Preprocess,
    shared_size: tuple[int, int] | None,
    storage: Storage = "auto",
    workers: int | None = None,
    skip_unreadable: bool = False,
) -> StoredImages:
    """Store the images of splits; images of a tensor stay in place.

    Args:
        channels: 1 or 3.
        preprocess: the network's preprocessing, fitted to the files.
        shared_size: (height, width) of all files; None if they differ.
        storage, workers, skip_unreadable: as `store_images`.

    Raises:
        UserError: as `store_images`.
    """
    resize = fit_preprocess(splits, preprocess, shared_size)
    in_memory: dict[str, SplitImages] = {}
    files: dict[str, tuple[list[Path], Tensor]] = {}
    for name, split in splits.items():
        labels = torch.from_numpy(split.labels)
        if isinstance(split.content, ImageRows):
            in_memory[name] = SplitImages(split.content, labels, channels)
        else:
            files[name] = list(split.content), labels
    if not files:
        return StoredImages(in_memory)
    stored = store_images(files, channels, resize, storage, workers, skip_unreadable)
    cropped = None
    if preprocess.is_fitted and resize.cover:
        cropped = {"resize_size": resize.cover[0], "interpolation": resize.interpolation}
    return StoredImages(in_memory | stored.images, stored.storage, stored.location, cropped, stored.unreadable)


def fit_preprocess(splits: Mapping[str, Split], preprocess: Preprocess, shared_size: tuple[int, int] | None) -> Resize:
    """Return the resize for decoding the files of splits, and tell the preprocessing whether it is done then.

    Args:
        preprocess: the network's preprocessing.
        shared_size: (height, width) of all files; None if they differ.
    """
    preprocess.is_fitted = False
    if all(isinstance(split.content, ImageRows) for split in splits.values()):
        return preprocess.resize
    return preprocess.fit_to_files(shared_size)


def store_images(
    files: Mapping[str, tuple[list[Path], Tensor]],
    channels: int,
    resize: Resize,
    storage: Storage = "auto",
    workers: int | None = None,
    skip_unreadable: bool = False,
) -> StoredImages:
    """Decode the images of each split into memory or a disk cache, or prepare to stream them.

    Args:
        files: split -> paths and labels (N,).
        channels: 1 or 3.
        resize: resize of decoded images.
        storage: "auto" takes the first of memory, disk and stream with enough room.
        workers: processes that decode streamed images; None for one per core.
        skip_unreadable: whether to go on without unreadable images; then streamed images are all checked beforehand.

    Raises:
        UserError: if the disk cache cannot be written, or no process can decode streamed images.
    """
    shape = (resize.height, resize.width, channels)
    size = sum(len(paths) for paths, _ in files.values()) * math.prod(shape)
    memory, cache = free_memory(), ImageCache(cache_folder() / "pictures")
    disk = shutil.disk_usage(_nearest_existing(cache.folder)).free
    if storage == "auto":
        # Cached images count as free: they are these, or make room for them.
        has_room = size <= HOST_SHARE * (disk + cache.size())
        storage = "memory" if size <= HOST_SHARE * memory else "disk" if has_room else "stream"
    workers = workers or count_cores()
    if storage == "stream":
        check_workers(workers)
    images: dict[str, SplitImages] = {}
    unreadable: dict[str, Unreadable] = {}
    for name, (paths, labels) in files.items():
        description = f"decoding {name} images"
        base = None
        if storage == "disk":
            base, unreadable[name] = cache.load(paths, channels, resize, name, skip_unreadable)
        elif storage == "memory":
            base = torch.empty(len(paths), *shape, dtype=torch.uint8)
            unreadable[name] = decode_all(paths, channels, resize, description, base)
        elif skip_unreadable:
            unreadable[name] = decode_all(paths, channels, resize, f"checking {name} images for unreadable ones")
        problems = unreadable.get(name, {})
        readable = torch.tensor([index for index in range(len(paths)) if index not in problems], dtype=torch.int64)
        if base is None:
            remaining = [paths[index] for index in readable]
            images[name] = StreamedImages(remaining, labels[readable], channels, resize, workers)
        else:
            images[name] = SplitImages(ImageRows(base, readable, cache.files.get(name)), labels[readable])
    cores = count_cores()
    processes = f"{workers} process{'es' * (workers > 1)}{f' on {cores} cores' if workers > cores else ''}"
    in_cache, streamed = f"in {cache.folder}", f"decoded as needed, by {processes}"
    locations = {"memory": "in memory", "disk": in_cache, "stream": streamed}
    room = f"{format_size(memory)} of memory and {format_size(disk)} of disk are free"
    if cache.freed:
        room += f"; the least recently used {format_size(cache.freed)} of cached images were removed"
    location = f"{locations[storage]} ({format_size(size)} decoded; {room})"
    return StoredImages(images, storage, location, unreadable=unreadable)


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
