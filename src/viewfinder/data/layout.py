"""Layout of an image folder: its split folders, or its class folders alone."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from viewfinder.data.files import describe_broken_link, escape_path
from viewfinder.data.listing import (
    Listing,
    describe_left_out,
    is_output_tree,
    list_images,
    list_loose_images,
    list_subfolders,
    name_paths,
)  # fmt: skip
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "eval"),
    "test": ("test", "testing"),
}
"""Split -> names of its folder, in any case."""
SPLIT_OF_NAME = {name: split for split, names in SPLIT_FOLDERS.items() for name in names}
SPLIT_WORD = re.compile(rf"(?:^|(?<=[^a-z]))((?i:{'|'.join(SPLIT_OF_NAME)}))(?=set|[^a-z]|$)")
"""Word such as in training_set, seg_test or trainA."""
MAX_ENTRIES = 10_000
"""Files and folders that are listed in each folder beside the split folders, which may be as large as a disk."""


class Layout(NamedTuple):
    """Folders of an image folder.

    Args:
        splits: split -> the folder of its class folders; 'train' alone if there are no split folders.
        class_folders: split -> names of its class folders, sorted.
        warnings: sentences about folders and images that are left out.
        has_split_folders: whether there are split folders.
    """

    splits: dict[str, Path]
    class_folders: dict[str, list[str]]
    warnings: list[str]
    has_split_folders: bool


def find_layout(key: str, root: Path, only: str | None = None) -> Layout:
    """Find the split folders in a folder, or in the only folder inside it.

    Args:
        key: value of data.root.
        only: the only split that is needed, if its folder exists; then train/ may be missing.

    Raises:
        UserError: if the folder is missing, or its folders are neither classes nor splits.
    """
    if not root.is_dir():
        rule = "is a file, not a folder" if root.exists() else f"does not exist (looked in {root.resolve().parent})"
        siblings = [path.name for path in root.parent.iterdir()] if root.parent.is_dir() else []
        suggestion = did_you_mean(root.name, siblings)
        raise make_root_error(key, rule, suggestion or "Pass the folder that contains one folder per class.")
    if is_output_tree(root):
        raise make_root_error(key, "is a folder that Viewfinder wrote, not a data set", "Pass a folder of images.")
    folder, names, outputs = _enter_wrappers(root)
    warnings = describe_left_out([Listing(outputs=outputs)], root)
    if folder != root:
        warnings.append(f"read from {name_paths([folder], root)}/, the only folder in data.root")
    _check_split_links(folder)
    splits = _match_splits(key, folder, names)
    has_split_folders = bool(splits)
    if splits:
        others = [folder / name for name in names if folder / name not in splits.values()]
        if only in splits:
            splits = {only: splits[only]}
        _check_split_folders(key, folder, splits, others, only or "train")
        renamed = [
            f"{split} split read from {path.name}/" for split, path in splits.items() if path.name.lower() != split
        ]
        warnings += [join_names(renamed)] if renamed else []
        warnings += _describe_unused(folder, others)
        splits = {split: _enter_repeated(path, split) for split, path in splits.items()}
        class_folders = {split: list_subfolders(path) for split, path in splits.items()}
    else:
        _refuse_split_like_names(key, names)
        splits, class_folders = {"train": folder}, {"train": names}
    if names:
        loose = [image for path in {folder, *splits.values()} for image in list_loose_images(path)]
        if loose:
            are = "1 image is" if len(loose) == 1 else f"{len(loose):,} images are"
            warnings.append(f"{are} in no class folder and not used: {name_paths(loose, root)}")
    return Layout(splits, class_folders, warnings, has_split_folders)


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


def make_root_error(root: str, rule: str, remedy: str) -> UserError:
    return UserError("the data", [Problem("data.root", rule, root, remedy)])


def _enter_wrappers(root: Path) -> tuple[Path, list[str], list[Path]]:
    """Enter folders that contain one folder and no images, as archives unpack.

    Returns:
        The folder inside, the names of its subfolders, and the folders that Viewfinder wrote.
    """
    folder, outputs = root, []
    while True:
        is_output = {name: is_output_tree(folder / name) for name in list_subfolders(folder)}
        outputs += [folder / name for name, value in is_output.items() if value]
        names = [name for name, value in is_output.items() if not value]
        if len(names) != 1 or names[0].lower() in SPLIT_OF_NAME:
            return folder, names, outputs
        inner = folder / names[0]
        if list_loose_images(folder) or list_loose_images(inner) or not list_subfolders(inner):
            return folder, names, outputs
        folder = inner


def _enter_repeated(folder: Path, split: str) -> Path:
    """Return the folder of a split inside train/train/ and the like."""
    while len(names := list_subfolders(folder)) == 1 and SPLIT_OF_NAME.get(names[0].lower()) == split:
        if list_loose_images(folder):
            break
        folder /= names[0]
    return folder


def _check_split_links(folder: Path) -> None:
    """Raise a UserError for split folders that are broken links; otherwise their splits would be drawn."""
    problems = [
        Problem(escape_path(path), rule, remedy="Repair or remove the link.")
        for path in sorted(folder.iterdir())
        if path.name.lower() in SPLIT_OF_NAME and (rule := describe_broken_link(path))
    ]
    if problems:
        raise UserError("the data", problems)


def _match_splits(key: str, folder: Path, names: Sequence[str]) -> dict[str, Path]:
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


def _check_split_folders(
    key: str, folder: Path, splits: dict[str, Path], others: Sequence[Path], required: str
) -> None:
    """Raise a UserError unless the required split or train/ has a folder, and each split has class folders."""
    found = join_names(f"{path.name}/" for path in splits.values())
    if required not in splits and "train" not in splits:
        beside = [path for path in others if _list_some(path).images]
        rule = f"contains {found} but no {required}/"
        remedy = f"Add {required}/ with one folder per class."
        if beside:
            rule += f", and images in {name_paths(beside, folder)}"
            remedy = (
                "Put the folders of all training classes into train/; inside it, a class may have the name of a split."
            )
        raise make_root_error(key, rule, remedy)
    problems = []
    for split, path in splits.items():
        inside = _enter_repeated(path, split)
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


def _describe_unused(folder: Path, others: Sequence[Path]) -> list[str]:
    """Return a sentence that names the folders of images beside the split folders; [] if there are none."""
    listings = {path: _list_some(path) for path in others}
    unused = [path for path, listing in listings.items() if listing.images]
    if not unused:
        return []
    total = sum(len(listing.images) for listing in listings.values())
    images, are = ("1 image", "is") if total == 1 else (f"{total:,} images", "are")
    if not all(listing.is_complete for listing in listings.values()):
        images = f"at least {images}"
    return [
        f"{images} of {name_paths(unused, folder)} beside the split folders {are} not used; move a class into train/, "
        "and rename a split to val/ or test/"
    ]


def _list_some(folder: Path) -> Listing:
    """List the first files of a folder that is not used; none if it cannot be read."""
    try:
        return list_images(folder, MAX_ENTRIES)
    except (OSError, UserError):
        return Listing()


def _refuse_split_like_names(key: str, names: Sequence[str]) -> None:
    """Raise a UserError for folders such as training_set/ and test_set/, which would be taken for classes."""
    by_rest: dict[str, dict[str, str]] = {}
    for name in names:
        if word := SPLIT_WORD.search(name):
            rest = f"{name[: word.start()]}*{name[word.end() :]}".lower()
            by_rest.setdefault(rest, {})[SPLIT_OF_NAME[word[0].lower()]] = name
    for alike in by_rest.values():
        if "train" in alike and len(alike) > 1:
            found = " and ".join(f"{escape_path(name)}/" for name in alike.values())
            new_names = " and ".join(f"{split}/" for split in alike)
            rule = f"contains {found}, which look like splits and would be taken for classes"
            remedy = f"Rename them {new_names}. If they are classes, put them into a folder named train/."
            raise make_root_error(key, rule, remedy)
