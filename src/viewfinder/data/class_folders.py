"""Class folders of a split: their images, and what is left out of them."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from viewfinder.data.files import describe_broken_link, escape_path
from viewfinder.data.listing import Listing, describe_left_out, name_paths
from viewfinder.data.split import Split
from viewfinder.data.subset import Classes, is_selected
from viewfinder.errors import Problem, UserError


def make_root_error(root: str, rule: str, remedy: str) -> UserError:
    """Return a UserError about data.root."""
    return UserError("the data", [Problem("data.root", rule, root, remedy)])


@contextlib.contextmanager
def explain_unreadable_folder(root: str) -> Iterator[None]:
    """Raise a UserError for a folder that cannot be opened."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # RuntimeError: the user in ~user does not exist
        path = escape_path(error.filename) if isinstance(error, OSError) and error.filename else root
        rule = f"{path} cannot be opened: {getattr(error, 'strerror', None) or error}"
        raise make_root_error(root, rule, "Pass a readable folder.") from error


def check_links(split_folders: Mapping[str, Path], selected: Classes | None) -> None:
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


def describe_listings(listings: Sequence[Listing], root: Path) -> list[str]:
    """Return sentences about the files of class folders that are left out, and about folders inside them."""
    lines = describe_left_out(listings, root)
    if nested := [path for listing in listings for path in listing.nested]:
        plural = "s" * (len(nested) > 1)
        lines.append(
            f"images of {len(nested):,} folder{plural} inside class folders belong to those classes: "
            f"{name_paths(nested, root)}"
        )
    return lines


def build_split(root: Path, class_names: Sequence[str], listings: Mapping[str, Listing]) -> Split:
    """Return the images of class folders; the label is the index of the folder's name in `class_names`."""
    counts = {class_names.index(escape_path(name)): len(listing.images) for name, listing in listings.items()}
    labels = np.repeat(np.array([*counts], dtype=np.int64), [*counts.values()])
    paths = [path for listing in listings.values() for path in listing.images]
    names = [escape_path(path.relative_to(root).as_posix()) for path in paths]
    return Split(np.array(names, dtype=object), labels, np.array(paths, dtype=object))
