"""Folder of images with a subfolder for each class."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from viewfinder.config.validate import Count, Text
from viewfinder.data.class_folders import (
    build_split,
    check_links,
    describe_listings,
    explain_unreadable_folder,
    make_root_error,
)  # fmt: skip
from viewfinder.data.class_names import natural_key
from viewfinder.data.files import escape_path
from viewfinder.data.layout import Layout, find_layout
from viewfinder.data.listing import (
    SUPPORTED,
    describe_left_out,
    list_images,
    list_loose_images,
)  # fmt: skip
from viewfinder.data.module import ImageData
from viewfinder.data.sources.scored_folder import list_scored_folder
from viewfinder.data.split import Split
from viewfinder.data.split_folders import refuse_splits_within_classes
from viewfinder.data.storage import Storage
from viewfinder.data.subset import Classes, is_selected, select_names
from viewfinder.data.unreadable import OnError
from viewfinder.errors import Problem, UserError, did_you_mean, join_names


@dataclass(kw_only=True, eq=False)
class ImageFolder(ImageData):
    """Images in <root>/<class>/*, or in <root>/train/<class>/* with optional val/ and test/ beside it.

    Classes are the names of the folders in natural order (2 before 10), which may contain subfolders. Files that are
    not images are left out, as are links to a folder above them, and folders that Viewfinder wrote.

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
        names, splits, warnings = list_image_folder(self.root, self.classes)
        self.warnings += warnings
        return names, splits

    def list_scored(self, split: str, class_names: list[str], all_images: bool) -> tuple[Split | None, list[str]]:
        select_names(class_names, self.classes)
        return list_scored_folder(self.root, split, class_names, self.classes, all_images)


def list_image_folder(root: str, selected: Classes | None) -> tuple[list[str], dict[str, Split], list[str]]:
    """Return the class names and the splits of an image folder, and sentences about files that are left out.

    Args:
        selected: classes to list; None for all.

    Raises:
        UserError: listing everything that is wrong with the folder.
    """
    with explain_unreadable_folder(root):
        return _list_splits(root, find_layout(root, Path(root).expanduser()), selected)


def _list_splits(key: str, layout: Layout, selected: Classes | None) -> tuple[list[str], dict[str, Split], list[str]]:
    class_folders = layout.class_folders
    check_links(layout.splits, selected)
    training, root = layout.splits["train"], Path(key).expanduser()
    if not class_folders["train"]:
        rule = "contains images but no folders" if list_loose_images(training) else "is empty"
        raise make_root_error(key, f"{training} {rule}", "Put the images of each class into a folder of their own.")
    select_names([escape_path(name) for name in class_folders["train"]], selected)
    names = [name for name in class_folders["train"] if is_selected(escape_path(name), selected)]
    problems = _find_unknown_classes(layout.splits, class_folders, names, selected)
    listings = {
        split: {name: list_images(layout.splits[split] / name) for name in folders if name in names}
        for split, folders in class_folders.items()
    }
    all_listings = [listing for by_class in listings.values() for listing in by_class.values()]
    for name, listing in listings["train"].items():
        if not listing.images:
            rule = "; ".join(["is a class without images", *describe_left_out([listing], training / name)])
            is_used = listing.outputs or listing.left_out
            remedy = f"{'Move it out of data.root' if is_used else 'Remove the folder'}, or add images. {SUPPORTED}"
            problems.append(Problem(escape_path(training / name), rule, remedy=remedy))
    if problems:
        raise UserError("the data", problems)
    refuse_splits_within_classes(key, training, [name for name, each in listings["train"].items() if each.nested])
    class_names = sorted((escape_path(name) for name in names), key=natural_key)
    splits = {split: build_split(root, class_names, by_class) for split, by_class in listings.items()}
    warnings = [*layout.warnings, *describe_listings(all_listings, root)]
    return class_names, splits, warnings


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
