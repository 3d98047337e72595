"""LightningDataModule over an image source."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytorch_lightning as pl
import torch
from pydantic import Field
from torch.utils.data import DataLoader

from viewfinder.config.instantiate import STAGE
from viewfinder.config.validate import Count, Share, Whole
from viewfinder.data.absent import describe_absent_classes, find_absent_classes
from viewfinder.data.augmentations.pipeline import Pipeline
from viewfinder.data.batches import Chunk, SplitImages, build_loader
from viewfinder.data.class_names import describe_similar, order_classes
from viewfinder.data.decode_parallel import Unreadable
from viewfinder.data.duplicates import describe_duplicates
from viewfinder.data.fingerprint import compute_fingerprint
from viewfinder.data.folds import FoldCount, check_fold, cut_fold
from viewfinder.data.headers import inspect_splits
from viewfinder.data.order import CHUNK_SIZE, EpochOrder, require_batches
from viewfinder.data.preprocess import Preprocess
from viewfinder.data.split import SPLITS, Split, complete_splits
from viewfinder.data.storage import Storage, StoredImages, store_splits
from viewfinder.data.subset import Classes, check_classes, limit_splits, require_two_classes, select_classes
from viewfinder.data.summary import summarise_data
from viewfinder.data.unreadable import OnError, SkippedImage, exclude_unreadable
from viewfinder.errors import UserError

WORKER_CHUNK_BYTES = 2 * 2**20
"""Bytes of images that a worker process sends at once; larger chunks delay the first batch."""
EVALUATION_BATCH_FACTOR = 4
"""Images of an evaluation batch per image of a training batch; without gradients they need no more memory."""


@dataclass(kw_only=True, eq=False)
class ImageData(pl.LightningDataModule):
    """LightningDataModule of images in three splits, uint8 until they are on the device.

    A source is a subclass that implements `list_pictures`. `open` lists and splits its images, `load` reads them.

    Args:
        batch_size: images in a training batch of each process.
        val_fraction, test_fraction: share of the training images, if the source has no such split.
        split_seed: seed of all random draws of splits.
        stratify: give every split the same share of each class.
        classes: names of the classes to select, in any order; labels follow the source's order. Everything else is as
            if the source had only these classes.
        train_fraction: share of the training images to keep.
        per_class: maximum number of training images per class, applied after train_fraction and drawn with split_seed.
            A smaller number selects a subset of the images of a larger one; other splits do not change.
        limit: maximum number of images per split; with per_class, the same number of training images of each class.
        sampler: "balanced" draws training images with replacement, each class equally often; None takes each once.
        folds: number of folds of a cross-validation; they divide the source's training and validation images.
        fold: the fold, from 0, that is the test split; a source's own test split is then not read.
        channels: convert to 1 (grey) or 3 (colour); None keeps the source's.

    A source of files may declare `storage`, `workers` and `on_error` as arguments. Experiments set `seed`, `augment`,
    `limit_batches`, `chunk_size` and `resume_position`, the (epoch, batches) at which training continues. Batches are
    gathered from `features` for the splits that it contains.
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
    sampler: Literal["balanced"] | None = None
    folds: FoldCount | None = None
    fold: Whole = 0
    channels: Literal[1, 3] | None = None

    storage: Storage = field(init=False, default="auto")
    workers: int | None = field(init=False, default=None)
    on_error: OnError = field(init=False, default="raise")
    seed: int = field(init=False, default=0)
    augment: Pipeline | None = field(init=False, default=None)
    limit_batches: int | None = field(init=False, default=None)
    chunk_size: int = field(init=False, default=CHUNK_SIZE)
    resume_position: tuple[int, int] = field(init=False, default=(0, 0))

    class_names: list[str] = field(init=False, default_factory=list)
    splits: dict[str, Split] = field(init=False, default_factory=dict)
    drawn: list[str] = field(init=False, default_factory=list)
    cross_validation: dict[str, Any] = field(init=False, default_factory=dict)
    skipped: list[SkippedImage] = field(init=False, default_factory=list)
    warnings: list[str] = field(init=False, default_factory=list)
    in_channels: int = field(init=False, default=0)
    shared_size: tuple[int, int] | None = field(init=False, default=None)
    stored: StoredImages = field(init=False, repr=False)
    features: dict[str, SplitImages] = field(init=False, default_factory=dict)
    _fingerprints: dict[str, str] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__()
        if problems := [*check_classes(self.classes), *check_fold(self.folds, self.fold)]:
            raise UserError(STAGE, problems)

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        """Return the class names and the source's splits, at least 'train'.

        Raises:
            UserError: if the source is missing or inconsistent.
        """
        raise NotImplementedError

    def list_scored(self, split: str, class_names: list[str], all_images: bool) -> tuple[Split | None, list[str]]:
        """List a split for the classes of a run; see `viewfinder.data.scored`."""
        return None, []

    def open(self, stored: tuple[int, tuple[int, int]] | None = None, class_order: Sequence[str] | None = None) -> None:
        """List the images, draw missing splits and select the requested part; nothing is decoded yet.

        Args:
            stored: (channels, (height, width)) of the images in an earlier run, to read them in the same way.
            class_order: class names of an earlier run, whose order the classes keep.

        Raises:
            UserError: if the source is missing or inconsistent, lacks a selected class or has fewer than two; or
                listing every file with an invalid header, unless `on_error` is "skip".
        """
        self.warnings, self.skipped, self.cross_validation = [], [], {}
        names, source_splits = order_classes(*self.list_pictures(), class_order or ())
        self.class_names, source_splits = select_classes(names, source_splits, self.classes)
        if self.folds is not None:
            cut = cut_fold(source_splits, self.folds, self.fold, self.split_seed, self.stratify)
            source_splits, self.cross_validation = cut
        is_fold_drawn = self.folds is not None and "fold_name" not in self.cross_validation
        fractions = {"val": self.val_fraction, "test": self.test_fraction}
        self.drawn = [name for name in fractions if name not in source_splits or is_fold_drawn]
        splits = complete_splits(source_splits, fractions, self.split_seed, self.stratify)
        self.splits = limit_splits(
            splits, self.train_fraction, self.per_class, self.limit, self.split_seed, self.stratify
        )
        if stored is None:
            channels, self.shared_size, unreadable, content_keys = inspect_splits(self.splits, self.on_error)
            self.warnings += describe_duplicates(self.splits, content_keys)
            self._exclude(unreadable)
            self.in_channels = self.channels or channels
        else:
            self.in_channels, self.shared_size = stored
        require_two_classes(self.class_names)

    def load(self, preprocess: Preprocess | int, splits: tuple[str, ...] = SPLITS) -> None:
        """Read the images of some splits, as uint8 of one shape.

        Files are decoded at the network's input size, or at their own size if all share one that is smaller.

        Args:
            preprocess: the network's preprocessing, or the side of a square in pixels.

        Raises:
            UserError: listing the unreadable images, unless `on_error` is "skip".
        """
        preprocess = Preprocess(preprocess) if isinstance(preprocess, int) else preprocess
        self.stored = store_splits(
            {name: self.splits[name] for name in splits}, self.in_channels, preprocess, self.shared_size,
            self.storage, self.workers, self.on_error == "skip",
        )  # fmt: skip
        self._exclude(self.stored.unreadable)
        self.features, self._fingerprints = {}, {}

    def _exclude(self, unreadable: dict[str, Unreadable]) -> None:
        self.splits, skipped = exclude_unreadable(self.splits, unreadable, self.on_error, self.class_names)
        self.skipped += skipped

    @property
    def images(self) -> dict[str, SplitImages]:
        """Images of each loaded split."""
        return self.stored.images

    @property
    def image_shape(self) -> tuple[int, ...]:
        """(C, H, W) of every loaded image."""
        return self.stored.image_shape

    def summarise(self) -> dict[str, Any]:
        """Return the content of data.json: how to read an image as in training, and how to recognise this data."""
        return summarise_data(self)

    def fingerprints(self) -> dict[str, str]:
        """Return the fingerprint of each loaded split; all images are hashed once."""
        for name, images in self.images.items():
            if name not in self._fingerprints:
                self._fingerprints[name] = compute_fingerprint(self.splits[name], images)
        return dict(self._fingerprints)

    def describe_warnings(self) -> list[str]:
        """Return sentences about files that are left out, equal files, similar classes, and classes a split lacks."""
        absent = describe_absent_classes(find_absent_classes(self.splits, self.class_names))
        return [*self.warnings, *describe_similar(self.class_names), *absent]

    def train_dataloader(self) -> DataLoader[Chunk]:
        return build_loader(self._batch_source("train"), self.training_order())

    def val_dataloader(self) -> DataLoader[Chunk]:
        return self.evaluation_loader("val")

    def test_dataloader(self) -> DataLoader[Chunk]:
        return self.evaluation_loader("test")

    def training_order(self) -> EpochOrder:
        """Return the order of the current epoch, from the resume position on."""
        order = self._create_order("train", self.batch_size, self.seed)
        if self.sampler == "balanced":
            order.drawn_labels = torch.from_numpy(self.splits["train"].labels)
        order.epoch, order.resume_position = self.trainer.current_epoch if self.trainer else 0, self.resume_position
        return order

    def evaluation_loader(self, split: str) -> DataLoader[Chunk]:
        """Return a loader of a split in its own order."""
        order = self._create_order(split, EVALUATION_BATCH_FACTOR * self.batch_size, None)
        return build_loader(self._batch_source(split), order)

    def sequential_loader(self, split: str, batch_size: int, skipped_batches: int = 0) -> DataLoader[Chunk]:
        """Return a loader of all images of a split in its own order, for this process alone."""
        order = EpochOrder(len(self.images[split]), batch_size, chunk_size=self._chunk_size(split, batch_size))
        order.resume_position = (0, skipped_batches)
        return build_loader(self.stored.active_images[split], order)

    def _batch_source(self, split: str) -> SplitImages:
        return self.features.get(split, self.stored.active_images[split])

    def _create_order(self, split: str, batch_size: int, seed: int | None) -> EpochOrder:
        rank, world_size = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        count, chunk_size = len(self.images[split]), self._chunk_size(split, batch_size)
        order = EpochOrder(count, batch_size, seed, rank, world_size, self.limit_batches, chunk_size)
        return require_batches(order, split)

    def _chunk_size(self, split: str, batch_size: int) -> int:
        if not self._batch_source(split).workers:
            return self.chunk_size
        return max(1, min(self.chunk_size, WORKER_CHUNK_BYTES // (batch_size * math.prod(self.image_shape))))

    def on_after_batch_transfer(self, batch: Chunk, dataloader_idx: int) -> Chunk:
        if self.augment is not None and self.trainer is not None and self.trainer.training:
            batch.augment = self.augment.at(self.trainer.current_epoch, self.trainer.max_epochs or 0)
        return batch

    def move_to_device(self, device: torch.device) -> None:
        """Gather batches from a copy of the images on the GPU, if there is room."""
        self.stored.move_to_device(device)
