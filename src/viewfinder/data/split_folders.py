"""Folders of splits: recognised by their names, and told apart from class folders."""

import contextlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from viewfinder.data.class_folders import make_root_error
from viewfinder.data.files import describe_broken_link, escape_path
from viewfinder.data.listing import list_loose_images, list_subfolders, name_paths
from viewfinder.errors import Problem, UserError, find_closest, join_names

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval"),
    "test": ("test", "testing"),
}
"""Split -> names of its folder, in any case."""
SPLIT_OF_NAME = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}
SPLIT_WORD = re.compile(rf"(?:^|(?<=[^a-z]))((?i:{'|'.join(SPLIT_OF_NAME)}))(?=set|[^a-z]|$)")
"""Word such as in training_set, seg_test or trainA."""


def match_splits(key: str, folder: Path, names: Sequence[str]) -> dict[str, Path]:
    """Return split -> folder, by the folders' names."""
    splits: dict[str, Path] = {}
    for split, words in SPLIT_FOLDERS.items():
        matches = [name for name in names if name.lower() in words]
        if len(matches) > 1:
            both = " and ".join(f"{name}/" for name in matches)
            raise make_root_error(
                key, f"contains {both}, which both stand for the {split} split", "Keep or rename one."
            )
        if matches:
            splits[split] = folder / matches[0]
    return splits


def enter_repeated(folder: Path, split: str) -> Path:
    """Return the folder of a split inside train/train/ and the like."""
    while len(names := list_subfolders(folder)) == 1 and SPLIT_OF_NAME.get(names[0].lower()) == split:
        if list_loose_images(folder):
            break
        folder /= names[0]
    return folder


def check_split_links(folder: Path) -> None:
    """Raise a UserError for split folders that are broken links; otherwise their splits would be drawn."""
    problems = [
        Problem(escape_path(path), rule, remedy="Repair or remove the link.")
        for path in sorted(folder.iterdir())
        if path.name.lower() in SPLIT_OF_NAME and (rule := describe_broken_link(path))
    ]
    if problems:
        raise UserError("the data", problems)


def make_missing_split_error(
    key: str, folder: Path, required: str, splits: Mapping[str, Path], others: Sequence[Path]
) -> UserError:
    """Return a UserError for split folders without the required one.

    Args:
        key: value of data.root.
        folder: folder of the split folders.
        splits: split -> folder.
        others: folders of images beside them.
    """
    found = join_names(f"{path.name}/" for path in splits.values())
    rule, remedy = f"contains {found} but no {required}/", f"Add {required}/ with one folder per class."
    if others:
        rule += f", and images in {name_paths(others, folder)}"
        remedy = "Put the folders of all training classes into train/; inside it, a class may have the name of a split."
    if misspelt := [path for path in others if _guess_split(path.name) == "train"]:
        remedy = f"If {name_paths(misspelt, folder)}/ contains the training images, rename it to train/."
    return make_root_error(key, rule, remedy)


def refuse_misspelt_splits(key: str, splits: Mapping[str, Path], others: Sequence[Path]) -> None:
    """Raise a UserError for a folder such as tset/ beside train/, a misspelt split that would otherwise be ignored.

    Such a folder has a name close to that of a missing split, and a class folder with the name of one in another split.

    Args:
        key: value of data.root.
        splits: split -> folder.
        others: folders beside them.
    """
    classes = {name for split, path in splits.items() for name in list_subfolders(enter_repeated(path, split))}
    for path in others:
        split = _guess_split(path.name)
        if split is not None and split not in splits and (shared := classes & _list_subfolders(path)):
            rule = f"contains {escape_path(path.name)}/, which looks like a misspelt {split}/: it contains "
            rule += f"{escape_path(min(shared))}/, as {join_names(f'{folder.name}/' for folder in splits.values())}"
            remedy = f"Rename it to {split}/. If it is not a split, move it out of data.root."
            raise make_root_error(key, rule, remedy)


def check_split_folders(splits: Mapping[str, Path], others: Sequence[Path]) -> None:
    """Raise a UserError unless each split has class folders.

    Args:
        splits: split -> folder.
        others: folders beside them.
    """
    problems = []
    for split, path in splits.items():
        inside = enter_repeated(path, split)
        if list_subfolders(inside):
            continue
        count = len(list_loose_images(inside))
        images = "1 image" if count == 1 else f"{count:,} images"
        rule = f"contains {images} but no folders of classes" if count else "is empty"
        remedy = "Put the images of each class into a folder of their own."
        if split != "train":
            remedy += f" To draw the {split} split from train/ instead, move {path.name}/ out of data.root."
            remedy += " Images without classes cannot be scored; viewfinder predict classifies them." * bool(count)
        elif count and others:
            remedy += f" If {path.name} is a class, put all class folders into a folder named train/."
        problems.append(Problem(escape_path(inside), rule, remedy=remedy))
    if problems:
        raise UserError("the data", problems)


def refuse_split_like_classes(key: str, folder: Path, names: Sequence[str]) -> None:
    """Raise a UserError for folders such as training_set/ and test_set/, which would be taken for classes.

    Misspelt names like trian/ and tset/ are refused if the folders contain class folders of the same name.

    Args:
        key: value of data.root.
        folder: folder of the class folders.
        names: their names.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in names:
        if word := SPLIT_WORD.search(name):
            rest = f"{name[: word.start()]}*{name[word.end() :]}".lower()
            groups.setdefault(rest, {})[SPLIT_OF_NAME[word[0].lower()]] = name
        elif split := _guess_split(name):
            for inner in _list_subfolders(folder / name):
                groups.setdefault(f"/{inner}", {})[split] = name
    for alike in groups.values():
        if "train" in alike and len(alike) > 1:
            found = " and ".join(f"{escape_path(name)}/" for name in alike.values())
            new_names = " and ".join(f"{split}/" for split in alike)
            rule = f"contains {found}, which look like splits and would be taken for classes"
            remedy = f"Rename them {new_names}. If they are classes, put them into a folder named train/."
            raise make_root_error(key, rule, remedy)


def refuse_splits_within_classes(key: str, folder: Path, names: Sequence[str]) -> None:
    """Raise a UserError if class folders contain split folders.

    Args:
        key: value of data.root.
        folder: folder of the class folders.
        names: names of the class folders that contain folders.
    """
    for name in names:
        inner = [sub for sub in list_subfolders(folder / name) if sub.lower() in SPLIT_OF_NAME]
        if len({SPLIT_OF_NAME[sub.lower()] for sub in inner}) > 1:
            rule = (
                f"contains {escape_path(name)}/ as a class, but {join_names(f'{sub}/' for sub in inner)} are inside it"
            )
            remedy = (
                f"If {escape_path(name)}/ is the data set, pass data.root={escape_path(folder / name)}. "
                f"If it is a class, put split folders above class folders: train/{escape_path(name)}/."
            )
            raise make_root_error(key, rule, remedy)


def _guess_split(name: str) -> str | None:
    """Return the split with a name close to this one; None if there is none."""
    near = find_closest(name.lower(), SPLIT_OF_NAME)
    return near and SPLIT_OF_NAME[near]


def _list_subfolders(folder: Path) -> set[str]:
    """Return the names of the subfolders of a folder that may be unreadable."""
    with contextlib.suppress(OSError):
        return set(list_subfolders(folder))
    return set()
