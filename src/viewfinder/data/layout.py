"""Layout of an image folder: its split folders, or its class folders alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from viewfinder.data.class_folders import make_root_error
from viewfinder.data.listing import (
    Listing,
    describe_left_out,
    is_output_tree,
    list_images,
    list_loose_images,
    list_subfolders,
    name_paths,
)  # fmt: skip
from viewfinder.data.split_folders import (
    SPLIT_OF_NAME,
    check_split_folders,
    check_split_links,
    enter_repeated,
    make_missing_split_error,
    match_splits,
    refuse_misspelt_splits,
    refuse_split_like_classes,
)  # fmt: skip
from viewfinder.errors import UserError, did_you_mean, join_names

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
    check_split_links(folder)
    splits = match_splits(key, folder, names)
    has_split_folders = bool(splits)
    if splits:
        others = [folder / name for name in names if folder / name not in splits.values()]
        if only in splits:
            splits = {only: splits[only]}
        elif "train" in splits:
            refuse_misspelt_splits(key, splits, others)
        else:
            with_images = [path for path in others if _list_some(path).images]
            raise make_missing_split_error(key, folder, only or "train", splits, with_images)
        check_split_folders(splits, others)
        renamed = [
            f"{split} split read from {path.name}/" for split, path in splits.items() if path.name.lower() != split
        ]
        warnings += [join_names(renamed)] if renamed else []
        warnings += _describe_unused(folder, others)
        splits = {split: enter_repeated(path, split) for split, path in splits.items()}
        class_folders = {split: list_subfolders(path) for split, path in splits.items()}
    else:
        refuse_split_like_classes(key, folder, names)
        splits, class_folders = {"train": folder}, {"train": names}
    if names:
        loose = [image for path in {folder, *splits.values()} for image in list_loose_images(path)]
        if loose:
            are = "1 image is" if len(loose) == 1 else f"{len(loose):,} images are"
            warnings.append(f"{are} in no class folder and not used: {name_paths(loose, root)}")
    return Layout(splits, class_folders, warnings, has_split_folders)


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
