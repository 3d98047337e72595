"""Published data sets of torchvision."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from viewfinder.config.instantiate import STAGE
from viewfinder.config.validate import Count, Text
from viewfinder.data.class_folders import make_root_error
from viewfinder.data.files import escape_path
from viewfinder.data.module import ImageData
from viewfinder.data.sources.download import (
    DOWNLOAD_ERRORS,
    QUICKSTART,
    describe_cause,
    downloading,
    new_folders_removed_on_error,
    refuse_incomplete,
)  # fmt: skip
from viewfinder.data.sources.torchvision_images import ReadImages, keep_path, read_images
from viewfinder.data.sources.torchvision_internals import is_missing
from viewfinder.data.sources.torchvision_signature import (
    find_invalid,
    find_split_parameter,
    find_split_values,
    get_class,
    read_parameters,
)  # fmt: skip
from viewfinder.data.split import ImageRows, Split
from viewfinder.data.storage import Storage
from viewfinder.data.unreadable import OnError
from viewfinder.errors import Problem, UserError, format_exception, join_first

MAX_NAMED = 3
"""Files named in a sentence."""


@dataclass(kw_only=True, eq=False)
class TorchvisionDataset(ImageData):
    """Images and classes of a data set of torchvision, in its own splits; a missing one is drawn from train.

    Images in memory are kept as they are, and sets of files are decoded as in a folder of images.

    Args:
        name: name of the class in torchvision.datasets, such as FashionMNIST.
        root: folder that contains, or will contain, the files of the set.
        download: whether to download missing files.
        arguments: further arguments of the class, such as split=letters of EMNIST.
        storage, workers, on_error: as for a folder of images, if the set consists of files.

    Raises:
        UserError: if the set or an argument is unknown; from `open`, if files are missing and cannot be downloaded, or
            do not match their published checksums, or are damaged.
    """

    name: Text  # type: ignore[assignment]
    root: Text = "data"
    download: bool = True
    arguments: dict[str, Any] | None = None
    storage: Storage = "auto"
    workers: Count | None = None
    on_error: OnError = "raise"

    def __post_init__(self) -> None:
        super().__post_init__()
        if problems := find_invalid(self.name, self.arguments or {}):
            raise UserError(STAGE, problems)

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        root = Path(self.root).expanduser()
        datasets, has_loader = open_datasets(self.name, root, self.arguments or {}, self.download)
        class_names, splits = _build_splits(self.name, root, datasets, has_loader)
        unlabelled = [split for split in datasets if split not in splits]
        self.warnings += [f"the {split} images of {self.name} have no labels and are not used" for split in unlabelled]
        return class_names, splits


def open_datasets(name: str, root: Path, arguments: Mapping[str, Any], download: bool) -> tuple[dict[str, Any], bool]:
    """Return split -> data set, downloaded if it is missing, and whether its images are paths of files.

    Raises:
        UserError: naming each split that cannot be opened.
    """
    cls = get_class(name)
    parameters, split_parameter = read_parameters(cls), find_split_parameter(cls)
    loader = {"loader": keep_path} if "loader" in parameters else {}
    try:
        values = find_split_values(cls) or {"train": None}
    except Exception as error:  # a package that the set needs is missing
        raise make_root_error(str(root), f"{name} cannot be opened: {error}", "Install what it needs.") from error

    def construct(split: str, is_downloaded: bool) -> Any:
        selected = {} if values[split] is None else {split_parameter: values[split]}
        chosen = {"download": is_downloaded} if "download" in parameters else {}
        return cls(str(root), **selected, **chosen, **loader, **arguments)

    refuse_incomplete(name, root)
    opened, failures = {}, {}
    with new_folders_removed_on_error(root / name.lower()):  # some classes create a folder before they look for files
        for split in values:
            try:
                opened[split] = construct(split, is_downloaded=False)
            except Exception as error:
                failures[split] = error
        if failures and not (download and "download" in parameters and all(map(is_missing, failures.values()))):
            raise UserError("the data", [_describe(name, root, split, failures[split], download) for split in failures])
        for split in failures:
            try:
                with downloading(name, root):
                    opened[split] = construct(split, is_downloaded=True)
            except DOWNLOAD_ERRORS as error:
                raise _explain_download(name, root, describe_cause(error)) from error
    return {split: opened[split] for split in values}, bool(loader)


def _describe(name: str, root: Path, split: str, error: Exception, download: bool) -> Problem:
    """Return the problem of a split that cannot be opened."""
    received = str(root)
    if isinstance(error, ValueError) and "Valid values" in str(error):
        return Problem("data.arguments", f"is invalid for {name}: {error}", remedy="Choose one of these values.")
    if not is_missing(error):
        rule = f"the {split} files of {name} are damaged: {format_exception(error)}"
        return Problem("data.root", rule, received, "Remove them, to download them again with data.download=true.")
    rule = f"the {split} split of {name} is not in {root.resolve()}, or does not match its published checksums"
    if not download:
        return Problem("data.root", f"{rule}; data.download=false forbids a download", received, _remedy(name))
    return Problem("data.root", f"{rule}: {describe_cause(error)}", received, _remedy(name))


def _explain_download(name: str, root: Path, cause: str) -> UserError:
    return make_root_error(
        str(root), f"{name} is not in {root.resolve()} and cannot be downloaded: {cause}", _remedy(name)
    )


def _remedy(name: str) -> str:
    return (
        "Start this run on a machine with internet access, until it has read the data, and copy its data.root here, "
        f"or set data.root=PATH to a folder where torchvision.datasets.{name} finds its files. {QUICKSTART}"
    )


def _build_splits(
    name: str, root: Path, datasets: Mapping[str, Any], has_loader: bool
) -> tuple[list[str], dict[str, Split]]:
    """Return the class names and the splits of data sets.

    Raises:
        UserError: naming what is wrong in each split.
    """
    read: dict[str, ReadImages] = {}
    problems = []
    for split, dataset in datasets.items():
        try:
            read[split] = read_images(dataset, has_loader)
        except Exception as error:  # any error of a class that meets damaged files
            problems.append(_describe(name, root, split, error, download=False))
    if problems:
        raise UserError("the data", problems)
    read = {split: images for split, images in read.items() if not images.labels or set(images.labels) != {None}}
    if "train" not in read:
        raise make_root_error(str(root), f"the training images of {name} have no labels", "Choose another set.")
    class_names = read["train"].class_names or _number_classes(read)
    problems = [problem for split in read for problem in _find_problems(split, read[split], class_names, root)]
    if _are_equal(read):
        rule = "gives train and test the same images"
        problems.append(Problem("data.arguments", rule, remedy="Leave out the argument that selects the images."))
    if problems:
        raise UserError("the data", problems)
    return class_names, {split: _build_split(split, images, class_names, root) for split, images in read.items()}


def _number_classes(read: Mapping[str, ReadImages]) -> list[str]:
    """Return a name for each label of a set without names: its number."""
    labels = [int(label) for images in read.values() for label in images.labels if isinstance(label, int | np.integer)]
    return [str(number) for number in range(max(labels, default=-1) + 1)]


def _find_problems(split: str, images: ReadImages, class_names: list[str], root: Path) -> list[Problem]:
    place, problems = f"the {split} split", []
    names = images.class_names or class_names
    invalid = [label for label in images.labels if not (_is_number(label) and 0 <= label < len(names))]
    if invalid:
        rule = f"{len(invalid):,} of {len(images.labels):,} labels are not among the {len(names)} classes: "
        rule += join_first(list(dict.fromkeys(map(str, invalid))), MAX_NAMED)
        problems.append(Problem(place, rule, remedy="Download its files again, or choose a set with classes."))
    used = {int(label) for label in images.labels if _is_number(label)}
    if unknown := [name for label, name in enumerate(names) if label in used and name not in class_names]:
        rule = f"has classes that train lacks: {join_first(unknown, MAX_NAMED)}"
        problems.append(Problem(place, rule, remedy="Extract the files again."))
    if isinstance(images.content, list):
        base = os.path.normpath(root)
        outside = [str(path) for path in images.content if not Path(os.path.normpath(path)).is_relative_to(base)]
        if outside:
            rule = f"lists {len(outside):,} files outside data.root: {join_first(outside, MAX_NAMED)}"
            problems.append(Problem(place, rule, remedy="Do not use these files; download the set again."))
    if not images.labels:
        problems.append(Problem(place, "has no images", remedy="Download its files again."))
    return problems


def _is_number(label: Any) -> bool:
    return isinstance(label, int | np.integer) and not isinstance(label, bool)


def _are_equal(read: Mapping[str, ReadImages]) -> bool:
    """Return whether train and test are the same images, as after an argument that selects them for both."""
    train, test = read["train"], read.get("test")
    if test is None or train.labels != test.labels:
        return False
    if isinstance(train.content, ImageRows) and isinstance(test.content, ImageRows):
        return train.content.base.equal(test.content.base)
    return train.content == test.content


def _build_split(split: str, images: ReadImages, class_names: list[str], root: Path) -> Split:
    labels = np.array(images.labels, dtype=np.int64)
    if images.class_names and images.class_names != class_names:
        labels = np.array([class_names.index(name) if name in class_names else -1 for name in images.class_names])[
            labels
        ]
    if isinstance(images.content, ImageRows):
        return Split(np.array([f"{split}/{number:05}" for number in range(len(labels))]), labels, images.content)
    names = [escape_path(Path(os.path.relpath(path, root)).as_posix()) for path in images.content]
    return Split(np.array(names, dtype=object), labels, np.array(images.content, dtype=object))
