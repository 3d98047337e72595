"""Images in and below a folder, and the files that are left out."""

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from viewfinder.data.files import describe_broken_link, escape_path
from viewfinder.data.formats import EXTENSIONS, IMAGE_EXTENSIONS, is_image
from viewfinder.errors import Problem, UserError, join_first, join_names
from viewfinder.runs.outputs import OUTPUT_KEYS, is_output_folder

SYSTEM_NAMES = frozenset((
    "__macosx", "__pycache__", "@eadir", "#recycle", "#snapshot", "$recycle.bin", "lost+found", "found.000",
    "system volume information", "network trash folder", "temporary items", "_vti_cnf",
    "thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r",
))  # fmt: skip
"""Files and folders, in lower case, that operating systems, network drives and viewers leave behind."""
SUPPORTED = f"Supported extensions: {join_names(EXTENSIONS)}."
MAX_NAMED = 3
"""Files named in a line."""


@dataclass
class Listing:
    """Images in and below folders.

    Args:
        images: the images, sorted by path.
        left_out: hidden images, and files that are not images.
        outputs: folders that Viewfinder wrote, which are not searched.
        nested: folders that contain images, other than the folder itself.
        is_complete: whether everything was listed.
    """

    images: list[Path] = field(default_factory=list)
    left_out: list[Path] = field(default_factory=list)
    outputs: list[Path] = field(default_factory=list)
    nested: list[Path] = field(default_factory=list)
    is_complete: bool = True


def find_images(paths: Sequence[Path]) -> Listing:
    """List the given files and the images below the given folders, without repetition.

    Raises:
        UserError: listing the paths that do not exist, and the folders without images.
    """
    found = Listing()
    problems: list[Problem] = []
    for path in paths:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except OSError as error:
            problems.append(Problem(escape_path(path), f"cannot be opened: {error.strerror}"))
            continue
        if is_folder:
            below = list_images(path)
            found.images += below.images
            found.left_out += below.left_out
            found.outputs += below.outputs
            if not below.images:
                rule = "; ".join(["contains no images", *describe_left_out([below], path)])
                problems.append(Problem(escape_path(path), rule, remedy=SUPPORTED))
        elif exists:
            found.images.append(path)
        else:
            problems.append(Problem(escape_path(path), describe_broken_link(path) or "does not exist"))
    if problems:
        raise UserError("the images", problems)
    return replace(found, images=list(dict.fromkeys(found.images)))


def list_images(folder: Path, max_entries: int | None = None) -> Listing:
    """List the image files in and below a folder; hidden files and folders are ignored.

    Links are followed, except to a folder that was listed before or that contains this one: a link back up would
    repeat images and mix classes. Folders that Viewfinder wrote are left out, as their charts are not images of a data
    set.

    Args:
        folder: the folder.
        max_entries: number of files and folders after which the list ends; None for no limit.

    Raises:
        UserError: if a folder cannot be listed.
    """
    listing = Listing()
    root = folder.resolve()
    listed = {_folder_identity(path) for path in (root, *root.parents)}
    for current, subfolders, names in os.walk(folder, followlinks=True, onerror=_raise_not_listed):
        if max_entries is not None:
            max_entries -= len(names) + 1
            if max_entries < 0:
                listing.is_complete = False
                del names[max_entries:]
                subfolders.clear()
        if not OUTPUT_KEYS.keys().isdisjoint(names) and is_output_folder(Path(current)):
            listing.outputs.append(Path(current))
            subfolders.clear()
            continue
        remaining = []
        # Real folders before links, so that an image keeps the shorter of its paths.
        for path in sorted((Path(current) / name for name in subfolders), key=lambda path: (path.is_symlink(), path)):
            if not is_system_name(path.name) and (identity := _folder_identity(path)) not in listed:
                listed.add(identity)
                remaining.append(path.name)
        subfolders[:] = remaining
        before = len(listing.images)
        _sort_files(Path(current), names, listing)
        if len(listing.images) > before and Path(current) != folder:
            listing.nested.append(Path(current))
    listing.images.sort()
    return listing


def _sort_files(folder: Path, names: Iterable[str], listing: Listing) -> None:
    """Add the files of one folder to the images, or to the files that are left out."""
    for name in names:
        path = folder / name
        suffix = path.suffix.lower()
        if suffix in IMAGE_EXTENSIONS and not name.startswith("."):
            listing.images.append(path)
        elif is_system_name(name):
            # A hidden image is left out, and so is one that iCloud has not downloaded; ._x.jpg is not an image.
            if suffix in (*IMAGE_EXTENSIONS, ".icloud") and not name.startswith("._"):
                listing.left_out.append(path)
        elif is_image(path):
            listing.images.append(path)
        else:
            listing.left_out.append(path)


def is_system_name(name: str) -> bool:
    """Return whether a file or folder is hidden, or belongs to an operating system or a network drive."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES or name.endswith(":Zone.Identifier")


def list_subfolders(folder: Path) -> list[str]:
    """Return the sorted names of the subfolders, except those of an operating system and links to a folder above."""
    resolved = folder.resolve()
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not is_system_name(entry.name)
        if not (entry.is_symlink() and resolved.is_relative_to(Path(entry).resolve()))
    )


def list_loose_images(folder: Path) -> list[Path]:
    """Return the images directly in a folder, recognised by suffix alone."""
    files = [Path(entry) for entry in os.scandir(folder) if not is_system_name(entry.name) and entry.is_file()]
    return sorted(path for path in files if path.suffix.lower() in IMAGE_EXTENSIONS)


def is_output_tree(folder: Path) -> bool:
    """Return whether Viewfinder wrote a folder: a run, or a folder of such folders, perhaps beside notes.

    A folder that cannot be read is none.
    """
    if is_output_folder(folder):
        return True
    subfolders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_system_name(entry.name):
                    continue
                path = Path(entry)
                if entry.is_dir(follow_symlinks=False):
                    subfolders.append(path)
                elif path.suffix.lower() in IMAGE_EXTENSIONS or entry.is_dir():  # a link may lead to images
                    return False
                else:
                    files.append(path)
    except OSError:
        return False
    return bool(subfolders) and all(map(is_output_tree, subfolders)) and not any(map(is_image, files))


def describe_left_out(listings: Sequence[Listing], root: Path) -> list[str]:
    """Return a sentence about files that are left out, and one about folders that Viewfinder wrote; [] for none."""
    left_out = [path for listing in listings for path in listing.left_out]
    outputs = [path for listing in listings for path in listing.outputs]
    lines = []
    if left_out:
        suffixes = Counter(path.suffix.lower() or "without suffix" for path in left_out)
        kinds = join_names(f"{count:,} {suffix}" for suffix, count in suffixes.most_common(5))
        plural, are_images = ("s", "images") if len(left_out) > 1 else ("", "an image")
        reason = f"hidden, or not {are_images}"
        lines.append(f"left out {len(left_out):,} file{plural} ({reason}; {kinds}): {name_paths(left_out, root)}")
    if outputs:
        plural = "s" * (len(outputs) > 1)
        lines.append(f"left out {len(outputs):,} folder{plural} that Viewfinder wrote: {name_paths(outputs, root)}")
    return lines


def name_paths(paths: Iterable[Path], root: Path) -> str:
    """Return the first paths, relative to a folder, and the number of the others."""
    names = sorted(escape_path(path.relative_to(root) if path.is_relative_to(root) else path) for path in paths)
    return join_first(names, MAX_NAMED)


def _folder_identity(folder: Path) -> tuple[int, int]:
    status = folder.stat()
    return status.st_dev, status.st_ino


def _raise_not_listed(error: OSError) -> None:
    raise UserError("the data", [Problem(escape_path(error.filename), f"cannot be listed: {error.strerror}")])
