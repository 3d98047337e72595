"""ImageData: from a source of pictures to batches on the device."""

import functools
import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pydantic import Field
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from viewfinder.config.validate import Count, Share, Whole
from viewfinder.data.batches import CHUNK, Batch, Chunk, EpochOrder, Pictures, loader
from viewfinder.data.decode_parallel import Unread, common_shape, decode_all
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.seeding import derive, generator
from viewfinder.data.split import Rows, Split, cut
from viewfinder.data.storage import Storage, gigabytes, keep
from viewfinder.data.subset import Classes, check_wanted, few_of_each, keep_classes
from viewfinder.data.unreadable import OnError, Skipped, leave_out
from viewfinder.errors import Problem, UserError, join_names

SPLITS: tuple[Literal["train", "val", "test"], ...] = ("train", "val", "test")
PASSED = 2 * 2**20
"""Bytes of pictures that a reading process hands over at once."""
GPU_SHARE = 0.2
"""Of a GPU's free memory, what pictures may take."""
EVALUATION_BATCH = 4
"""Batches of evaluation are so many times larger: without gradients they need no more memory."""


@dataclass(kw_only=True, eq=False)
class ImageData(pl.LightningDataModule):
    """Pictures in three splits, as uint8 until they are on the device. A source is a subclass with `list_pictures`.

    Args:
        batch_size: pictures a training batch, for each process.
        val_fraction, test_fraction: of the training pictures, where the source has no such split.
        split_seed: on which alone the cut depends.
        stratify: cut so that every split has each class's share.
        classes: names of those to keep, in whatever order: labels follow the source's own. All else is as if the
            source had no others: they are left out before anything is cut.
        train_fraction: share of the training pictures to keep.
        per_class: of those, keep at most so many of each class; which, depends on split_seed alone. Fewer are some of
            more, and the other splits do not change.
        limit: keep at most so many pictures of each split; with per_class, as many training pictures of each class.
        channels: 1 (grey) or 3 (colour) to convert to; None keeps the source's.

    `pictures` are in memory or on disk, `at_hand` are those or a copy of them on the GPU; batches are taken from there,
    or from `features` of a split where there are some.
    `done` says where training goes on: in which epoch, after how many of its batches.
    `cropped` holds what Preprocess was given beside the side, if a part of the pictures was cut off in decoding them.
    `on_error`, an argument of sources of files, says whether pictures that cannot be read are refused or `skipped`.
    """

    batch_size: Count = 32
    val_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.2
    test_fraction: Share = 0.2
    split_seed: Whole = 42
    stratify: bool = False
    classes: Classes | None = None
    train_fraction: Annotated[float, Field(gt=0, le=1)] = 1.0
    per_class: Count | None = None
    limit: Count | None = None
    channels: Literal[1, 3] | None = None

    on_error: OnError = field(init=False, default="raise")
    skipped: list[Skipped] = field(init=False, default_factory=list)
    class_names: list[str] = field(init=False, default_factory=list)
    splits: dict[str, Split] = field(init=False, default_factory=dict)
    pictures: dict[str, Pictures] = field(init=False, default_factory=dict)
    at_hand: dict[str, Pictures] = field(init=False, default_factory=dict)
    features: dict[str, Pictures] = field(init=False, default_factory=dict)
    augment: Callable[[Tensor, Generator], Tensor] | None = field(init=False, default=None)
    seed: int = field(init=False, default=0)
    limit_batches: int | None = field(init=False, default=None)
    done: tuple[int, int] = field(init=False, default=(0, 0))
    chunk: int = field(init=False, default=CHUNK)
    in_channels: int = field(init=False, default=0)
    shared_size: tuple[int, int] | None = field(init=False, default=None)
    picture_shape: tuple[int, ...] = field(init=False, default=())
    cropped: dict[str, Any] | None = field(init=False, default=None)
    kept: str = field(init=False, default="memory")
    where: str = field(init=False, default="in memory")

    def __post_init__(self) -> None:
        super().__init__()
        check_wanted(self.classes)

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        """Class names, and the splits that the source has: 'train' at least.

        Raises:
            UserError: if the source cannot be had or contradicts itself.
        """
        raise NotImplementedError

    def open(self, stored: tuple[int, tuple[int, int]] | None = None) -> None:
        """List the pictures, cut the missing splits and take the wanted part; nothing is decoded yet.

        Args:
            stored: (channels, (height, width)) that the pictures had in an earlier run, to read them so again.

        Raises:
            UserError: if the source cannot be had, contradicts itself, lacks a class that is to be kept or holds
                a single one; naming every file that is no picture by its header, if it must not be skipped.
        """
        self.class_names, given = keep_classes(*self.list_pictures(), self.classes)
        if empty := [name for name, split in given.items() if not len(split)]:
            remedy = "Give it some, of classes that are kept; or remove it, and it is cut from the training pictures."
            problems = [Problem(f"the {name} split", "has no pictures", remedy=remedy) for name in empty]
            raise UserError("the data", problems)
        shares = {"val": self.val_fraction, "test": self.test_fraction}
        given |= cut(
            given["train"], {n: s for n, s in shares.items() if n not in given}, self.split_seed, self.stratify
        )
        if round((1 - self.train_fraction) * len(given["train"])):
            rest = {"rest": 1 - self.train_fraction}
            seed = derive(self.split_seed, "train_fraction")
            typed = {"data.train_fraction": self.train_fraction}
            given["train"] = cut(given["train"], rest, seed, self.stratify, typed)["train"]
        if self.per_class is not None:
            given["train"] = few_of_each(given["train"], self.per_class, self.limit, self.split_seed)
        if self.limit is not None:
            for name, split in given.items():
                if self.limit < len(split):
                    part = {"rest": 1 - self.limit / len(split)}
                    seed = derive(self.split_seed, "limit", name)
                    given[name] = cut(split, part, seed, self.stratify, {"data.limit": self.limit})["train"]
        self.splits = {name: given[name] for name in SPLITS}
        if stored is None:
            self._look()
        else:
            self.in_channels, self.shared_size = stored
        if len(self.class_names) < 2:
            rule = "holds one class; telling pictures apart takes two"
            remedy = "Add pictures of another class, in a folder of its own."
            raise UserError("the data", [Problem("data", rule, join_names(self.class_names), remedy)])

    def _look(self) -> None:
        """Find the channels, and the size that all pictures share if they do."""
        contents = {name: split.content for name, split in self.splits.items()}
        channels = next((content.base.shape[3] for content in contents.values() if isinstance(content, Rows)), 0)
        listed_files = {name: content for name, content in contents.items() if not isinstance(content, Rows)}
        if listed_files:
            together = [path for files in listed_files.values() for path in files]
            channels, self.shared_size, unread = common_shape(together)
            if unread and self.on_error == "raise":  # all in one list, also those of which the header is whole
                unread |= decode_all(together, 3, (1, 1), "trying all pictures, since some cannot be read")
                unread = dict(sorted(unread.items()))
            ends = np.cumsum([len(files) for files in listed_files.values()]).tolist()
            self._leave_out({
                name: {place - first: problem for place, problem in unread.items() if first <= place < end}
                for name, first, end in zip(listed_files, [0, *ends], ends, strict=False)
            })  # fmt: skip
        self.in_channels = self.channels or channels

    def _leave_out(self, unread: Mapping[str, Unread]) -> None:
        self.splits, skipped = leave_out(self.splits, unread, self.on_error, self.class_names)
        self.skipped += skipped

    def load(self, wanted: Preprocess | int, splits: tuple[str, ...] = SPLITS) -> None:
        """Make the pictures of some splits ready, as uint8 of one shape.

        Files are decoded straight to what the network wants, or to their own size where they share a smaller one.

        Args:
            wanted: what the network says it wants, or the side of a square in pixels.

        Raises:
            UserError: naming the pictures that cannot be read, if they must not be skipped.
        """
        preprocess = Preprocess(wanted) if isinstance(wanted, int) else wanted
        preprocess.is_fitted, self.cropped = False, None
        files = {}
        for name in splits:
            split = self.splits[name]
            labels = torch.from_numpy(split.labels)
            if isinstance(split.content, Rows):
                self.pictures[name] = Pictures(split.content, labels, self.channels)
            else:
                files[name] = (list(split.content), labels)
        if files:
            resize = preprocess.for_files(self.shared_size)
            if preprocess.is_fitted and resize.cover:
                self.cropped = {"resize_size": resize.cover[0], "interpolation": resize.interpolation}
            kept = keep(files, self.in_channels, resize, *self.how_to_keep(), self.on_error == "skip")
            self._leave_out(kept.unread)
            self.pictures |= kept.pictures
            self.kept, self.where = kept.storage, kept.said
        self.at_hand, self.features = dict(self.pictures), {}
        self.picture_shape = next(iter(self.pictures.values())).shape

    def how_to_keep(self) -> tuple[Storage, int | None]:
        """Storage and workers for `viewfinder.data.storage.keep`; for a source of files that has such arguments."""
        return "auto", None

    def settle(self, device: torch.device) -> None:
        """Train and evaluate from a copy of the pictures on the GPU, if that leaves most of it to the network."""
        if device.type == "cpu" or self.kept != "memory":
            return
        bases = {id(each.rows.base): each.rows.base for each in self.pictures.values()}
        size, free = sum(base.nbytes for base in bases.values()), free_memory(device)
        if size > GPU_SHARE * free:
            self.where += f"; too much for the GPU, which has {gigabytes(free)} free"
            return
        copies = {key: base.to(device) for key, base in bases.items()}
        self.at_hand = {name: each.with_base(copies[id(each.rows.base)]) for name, each in self.pictures.items()}
        self.where = f"on the GPU ({gigabytes(size)}; {gigabytes(free)} are free)"

    def facts(self) -> dict[str, Any]:
        """What data.json says: enough to read a picture as training did, and to know these data again."""
        channels, height, width = self.picture_shape
        return {
            "class_names": self.class_names,
            "channels": channels,
            "picture_size": [height, width],
            "class_counts": np.bincount(self.splits["train"].labels, minlength=len(self.class_names)).tolist(),
            "split_sizes": {name: len(split) for name, split in self.splits.items()},
            "skipped": [each._asdict() for each in self.skipped],
            "storage": self.kept,
            **({"cropped": self.cropped} if self.cropped else {}),
            "fingerprint": {name: _fingerprint(self.splits[name], self.pictures[name]) for name in self.pictures},
        }

    def train_dataloader(self) -> DataLoader[Chunk]:
        return loader(self._source("train"), self.training_order())

    def val_dataloader(self) -> DataLoader[Chunk]:
        return self.evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Chunk]:
        return self.evaluation_loader("test")

    def training_order(self) -> EpochOrder:
        order = self._order("train", self.batch_size, self.seed)
        order.epoch, order.done = self.trainer.current_epoch if self.trainer else 0, self.done
        return order

    def evaluation_loader(self, split: str) -> DataLoader[Chunk]:
        """A split in its own order."""
        return loader(self._source(split), self._order(split, EVALUATION_BATCH * self.batch_size, None))

    def _source(self, split: str) -> Pictures:
        """What batches are taken from."""
        return self.features.get(split, self.at_hand[split])

    def _order(self, split: str, batch_size: int, seed: int | None) -> EpochOrder:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        count = len(self.pictures[split])
        chunk = self._chunk(split, batch_size)
        order = EpochOrder(count, batch_size, seed, rank, world_size, self.limit_batches, chunk)
        if count < world_size or not len(order):  # in every process alike, or one would wait for the others
            rule = f"is too small: {count:,} pictures for {world_size} processes with {batch_size:,} a batch"
            remedy = "Use fewer processes (trainer.devices) or a smaller data.batch_size."
            raise UserError("the data", [Problem(f"the {split} split", rule, remedy=remedy)])
        return order

    def _chunk(self, split: str, batch_size: int) -> int:
        """Batches that are handed over at once."""
        if not self._source(split).workers:
            return self.chunk
        # Small enough to be passed between processes, and to be ready soon.
        return max(1, min(self.chunk, PASSED // (batch_size * math.prod(self.picture_shape))))

    def whole(self, split: str, batch_size: int, done: int = 0) -> DataLoader[Chunk]:
        """All pictures of a split in its own order, but for the first `done` batches; in this process alone."""
        order = EpochOrder(len(self.pictures[split]), batch_size, chunk=self._chunk(split, batch_size))
        order.done = (0, done)
        return loader(self.at_hand[split], order)

    def on_after_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Chunk:
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            batch.augment = functools.partial(self._augmented, self.augment, self.trainer.current_epoch)
        return batch

    def _augmented(self, augment: Callable[[Tensor, Generator], Tensor], epoch: int, batch: Batch) -> Tensor:
        return augment(batch.pixels, generator(self.seed, "augment", epoch, batch.number, device=batch.pixels.device))


def free_memory(gpu: torch.device) -> int:
    """Bytes, with those that torch keeps for itself and does not use."""
    return torch.cuda.mem_get_info(gpu)[0] + torch.cuda.memory_reserved(gpu) - torch.cuda.memory_allocated(gpu)


def _fingerprint(split: Split, pictures: Pictures) -> str:
    """A hash of a split's names, labels and pictures."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(split.names).encode("utf-8", "surrogateescape"))
    digest.update(pictures.labels.numpy().tobytes())
    digest.update(repr((len(pictures), *pictures.shape)).encode())
    for part in pictures.content():
        digest.update(part)
    return digest.hexdigest()
