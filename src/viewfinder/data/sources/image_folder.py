"""Folder of images with a subfolder for each class."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from viewfinder.config.validate import Count, Text
from viewfinder.data.files import EXTENSIONS, describe_broken_link, escape_path, list_images
from viewfinder.data.module import ImageData
from viewfinder.data.split import Split
from viewfinder.data.storage import Storage
from viewfinder.data.subset import Classes, is_selected, select_names
from viewfinder.data.unreadable import OnError
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


@dataclass(kw_only=True, eq=False)
class ImageFolder(ImageData):
    """Images in <root>/<class>/*, or in <root>/train/<class>/* with optional val/ and test/ beside it.

    Classes are the names of the folders in alphabetical order, which may contain subfolders. Files without an
    image extension are ignored, as are links to a folder above them.

    Args:
        root: path of the folder.
        storage: of decoded images: "memory", "disk" (a cache) or "stream" (decoded whenever they are needed); "auto"
            takes the first with enough room.
        workers: processes that decode streamed images; None for one per core.
        on_error: "raise" rejects unreadable images; "skip" leaves them out of their splits and lists them in the log
            and in data.json. With "stream", it reads every file once beforehand.

    Raises:
        UserError: from `open`, if the folder or a class has no images, or a split has a class that training lacks;
            from `open` and `load`, listing every unreadable image, unless they are skipped.
    """

    root: Text
    storage: Storage = "auto"
    workers: Count | None = None
    on_error: OnError = "raise"

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        return list_image_folder(self.root, self.classes)


def list_image_folder(root: str, selected: Classes | None) -> tuple[list[str], dict[str, Split]]:
    """Return the class names and the splits of an image folder.

    Args:
        selected: classes to list; None for all.

    Raises:
        UserError: listing everything that is wrong with the folder.
    """
    try:
        folders = _find_split_folders(root, Path(root).expanduser())
        return _list_splits(root, folders, selected)
    except (OSError, RuntimeError) as error:  # RuntimeError: the user in ~user does not exist
        path = escape_path(error.filename) if isinstance(error, OSError) and error.filename else root
        rule = f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}"
        raise _root_error(root, rule, "Pass a readable folder.") from error


def _find_split_folders(key: str, root: Path) -> dict[str, Path]:
    """Return split -> folder; 'train' is the root itself if it has no folders named after splits."""
    if not root.is_dir():
        rule = "is a file, not a folder" if root.exists() else f"does not exist (looked in {root.resolve().parent})"
        siblings = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
        suggestion = did_you_mean(root.name, siblings)
        raise _root_error(key, rule, suggestion or "Pass the folder that contains one folder per class.")
    folders = {}
    for split, names in SPLIT_FOLDERS.items():
        candidates = [root / name for name in names if (root / name).is_dir()]
        if len(candidates) > 1:
            both = " and ".join(f"{folder.name}/" for folder in candidates)
            raise _root_error(key, f"contains {both}, which both stand for the {split} split", "Keep or rename one.")
        if candidates:
            folders[split] = candidates[0]
    if folders and "train" not in folders:
        rule = f"contains {join_names(folders)}/ but no train/"
        raise _root_error(key, rule, "Add train/ with one folder per class.")
    return folders or {"train": root}


def _list_splits(
    key: str, split_folders: Mapping[str, Path], selected: Classes | None
) -> tuple[list[str], dict[str, Split]]:
    class_folders = {split: _list_class_folders(folder) for split, folder in split_folders.items()}
    _check_links(split_folders, selected)
    training = split_folders["train"]
    if not class_folders["train"]:
        rule = "contains images but no folders" if list_images(training) else "is empty"
        raise _root_error(key, f"{training} {rule}", "Put the images of each class into a folder of their own.")
    select_names([escape_path(name) for name in class_folders["train"]], selected)
    names = [name for name in class_folders["train"] if is_selected(escape_path(name), selected)]
    problems = _find_unknown_classes(split_folders, class_folders, names, selected)
    files = {
        split: {name: list_images(split_folders[split] / name) for name in folders if name in names}
        for split, folders in class_folders.items()
    }
    remedy = f"Remove the folder, or add images: {join_names(EXTENSIONS)}."
    for name, paths in files["train"].items():
        if not paths:
            problems.append(Problem(escape_path(training / name), "is a class without images", remedy=remedy))
    if problems:
        raise UserError("the data", problems)
    root = Path(key).expanduser()
    splits = {split: _build_split(root, names, paths_by_class) for split, paths_by_class in files.items()}
    return [escape_path(name) for name in names], splits


def _list_class_folders(folder: Path) -> list[str]:
    """Return the names of the subfolders, without hidden ones and links to a folder above."""
    resolved = folder.resolve()
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
        if not (entry.is_symlink() and resolved.is_relative_to(Path(entry).resolve()))
    )


def _check_links(split_folders: Mapping[str, Path], selected: Classes | None) -> None:
    """Raise a UserError for broken links among selected classes, which would otherwise be missing silently."""
    problems = [
        Problem(escape_path(path), rule)
        for folder in split_folders.values()
        for path, rule in _find_broken_links(folder)
        if is_selected(escape_path(path.name), selected)
    ]
    if problems:
        raise UserError("the data", problems)


def _find_broken_links(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (rule := describe_broken_link(path)):
            yield path, rule


def _find_unknown_classes(
    split_folders: Mapping[str, Path],
    class_folders: Mapping[str, list[str]],
    names: list[str],
    selected: Classes | None,
) -> list[Problem]:
    """Return a problem for each class that a split has and train/ does not.

    If classes are selected, other classes are ignored, unless a name looks like a misspelt selected class.
    """
    problems = []
    for split, folders in class_folders.items():
        lacking = [name for name in names if name not in folders]
        for name in [name for name in folders if name not in class_folders["train"]]:
            suggestion = did_you_mean(name, names if selected is None else lacking)
            if suggestion or selected is None:
                remedy = suggestion or f"Classes: {join_names(names[:20])}."
                path = escape_path(split_folders[split] / name)
                problems.append(Problem(path, "is a class that is missing from train/", remedy=remedy))
    return problems


def _build_split(root: Path, classes: list[str], paths_by_class: Mapping[str, list[Path]]) -> Split:
    labels = [classes.index(name) for name, paths in paths_by_class.items() for _ in paths]
    paths = [path for class_paths in paths_by_class.values() for path in class_paths]
    names = [escape_path(path.relative_to(root).as_posix()) for path in paths]
    return Split(np.array(names, dtype=object), np.array(labels, dtype=np.int64), np.array(paths, dtype=object))


def _root_error(root: str, rule: str, remedy: str) -> UserError:
    return UserError("the data", [Problem("data.root", rule, root, remedy)])
