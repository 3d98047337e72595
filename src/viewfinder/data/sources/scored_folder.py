"""Folder of images that are scored by the classes of a run; it may lack some of them."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from viewfinder.data.class_folders import (
    build_split,
    check_links,
    describe_listings,
    explain_unreadable_folder,
    make_root_error,
)  # fmt: skip
from viewfinder.data.files import escape_path
from viewfinder.data.layout import find_layout
from viewfinder.data.listing import Listing, list_images
from viewfinder.data.split import Split
from viewfinder.data.split_folders import refuse_splits_within_classes
from viewfinder.data.subset import Classes, is_selected, name_classes
from viewfinder.errors import Problem, UserError, did_you_mean


def list_scored_folder(
    root: str, split: str, class_names: Sequence[str], selected: Classes | None, all_images: bool
) -> tuple[Split | None, list[str]]:
    """Return the images of <root>/<split>/<class>, or of all <root>/<class> if the root has no split folders.

    Args:
        class_names: class names of the run; labels are their indices.
        selected: classes to list; None for all.
        all_images: whether to list class folders without split folders.

    Returns:
        The images, or None if there is no folder for the split; and sentences about the folder.

    Raises:
        UserError: if the folder has no images, or classes that the run does not know.
    """
    with explain_unreadable_folder(root):
        path = Path(root).expanduser()
        layout = find_layout(root, path, only=split)
        if not layout.has_split_folders and all_images:
            folder, names = layout.splits["train"], layout.class_folders["train"]
        elif layout.has_split_folders and split in layout.splits:
            folder, names = layout.splits[split], layout.class_folders[split]
        else:
            return None, [f"data.root has no {split}/; the {split} images are drawn from train/"] if all_images else []
        check_links({split: folder}, selected)
        listings = {name: list_images(folder / name) for name in names if is_selected(escape_path(name), selected)}
    listings = {name: listing for name, listing in listings.items() if listing.images}
    _refuse_unknown_classes(folder, listings, class_names)
    refuse_splits_within_classes(root, folder, [name for name, listing in listings.items() if listing.nested])
    if not listings:
        rule = f"{escape_path(folder)} contains no images of the run's classes: {name_classes(class_names)}"
        raise make_root_error(root, rule, "Put the images of each class into a folder with its name.")
    images = build_split(path, class_names, listings)
    warnings = [*layout.warnings, *describe_listings([*listings.values()], path)]
    if not layout.has_split_folders:
        warnings.append(f"data.root has no folders of splits, so all its images are scored: {len(images):,}")
    return images, warnings


def _refuse_unknown_classes(folder: Path, listings: dict[str, Listing], class_names: Sequence[str]) -> None:
    """Raise a UserError that names the class folders without a class in the run."""
    unknown = [name for name in listings if escape_path(name) not in class_names]
    if not unknown:
        return
    problems = [
        Problem(
            escape_path(folder / name),
            f"is a class that the run does not know; it has {len(listings[name].images):,} images",
            remedy=did_you_mean(escape_path(name), class_names),
        )
        for name in unknown
    ]
    known = [escape_path(name) for name in listings if escape_path(name) in class_names]
    remedy = "Rename the folders, or remove them."
    if len(known) > 1:
        override = f"data.classes={json.dumps(known, ensure_ascii=False, separators=(',', ':'))}"
        remedy += f"\nTo score the other classes alone: {shlex.quote(override)}"
    rule = f"knows these classes: {name_classes(class_names)}"
    raise UserError("the data", [*problems, Problem("the run", rule, remedy=remedy)], max_listed=len(problems) + 1)
