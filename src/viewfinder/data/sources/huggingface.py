"""Data sets of Hugging Face's library `datasets`: saved folders, Parquet files, and those on its hub."""

from dataclasses import dataclass

import numpy as np

from viewfinder.config.instantiate import STAGE
from viewfinder.config.validate import Count, Text
from viewfinder.data.module import ImageData
from viewfinder.data.sources.huggingface_columns import check_columns, choose_splits, find_columns, read_labels
from viewfinder.data.sources.huggingface_images import read_images
from viewfinder.data.sources.huggingface_library import find_missing_library, list_image_folders, load_splits
from viewfinder.data.split import Split
from viewfinder.data.storage import Storage
from viewfinder.data.unreadable import OnError
from viewfinder.errors import UserError


@dataclass(kw_only=True, eq=False)
class HuggingFace(ImageData):
    """Images and classes of a Hugging Face data set, in its own splits; a missing one is drawn from train.

    Images of one size are decoded into memory. Others are written to files in the cache folder, and decoded as in a
    folder of images. No code of a data set is ever run.

    Args:
        path: a folder written by save_to_disk, a folder of Parquet files, a Parquet file, or a name on huggingface.co.
        subset: name of a configuration of the data set; None for the only one.
        revision: version of a data set on huggingface.co; None for the newest.
        download: whether to download a data set that is not on this machine.
        image_column, label_column: names of columns; None for the only ones of types Image and ClassLabel.
        split_names: split -> name of the data set's split; None to recognise usual names.
        storage, workers, on_error: as for a folder of images, if the images are in files.

    Raises:
        UserError: if the library is not installed; from `open`, if the data set is missing or damaged, or its columns,
            splits and labels do not make a classification.
    """

    path: Text
    subset: Text | None = None
    revision: Text | None = None
    download: bool = True
    image_column: Text | None = None
    label_column: Text | None = None
    split_names: dict[str, Text] | None = None
    storage: Storage = "auto"
    workers: Count | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if problems := find_missing_library():
            raise UserError(STAGE, problems)

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        found = load_splits(self.path, self.subset, self.revision, self.download)
        datasets, warnings = choose_splits(found, self.split_names)
        self.warnings += warnings
        image_column, label_column = find_columns(datasets["train"].features, self.image_column, self.label_column)
        check_columns(datasets, image_column, label_column)
        labels = read_labels(datasets, label_column)
        images = read_images(datasets, image_column, list_image_folders(self.path))
        names = {split: np.array([f"{split}/{row:07}" for row in range(len(datasets[split]))]) for split in datasets}
        splits = {split: Split(names[split], labels.by_split[split], images[split]) for split in datasets}
        return labels.class_names, splits
