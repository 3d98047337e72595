"""A person's own pictures: a folder for each class."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from viewfinder.config.validate import Count, Text
from viewfinder.data.files import EXTENSIONS, broken_link, pictures_below, readable
from viewfinder.data.module import ImageData
from viewfinder.data.split import Split
from viewfinder.data.storage import Storage
from viewfinder.data.subset import is_wanted, kept_names
from viewfinder.data.unreadable import OnError
from viewfinder.errors import Problem, UserError, did_you_mean, join_names

FOLDERS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


@dataclass(kw_only=True, eq=False)
class ImageFolder(ImageData):
    """<root>/<class>/*, or <root>/train/<class>/* with val/ and test/ beside it where there are such.

    Classes are the folders' names in order. Pictures may lie deeper. Files that are no pictures by their extension
    are passed over, and so are links that lead back up to a folder they are in.

    Args:
        root: the folder.
        storage: where decoded pictures are kept: in memory, in a cache on disk, or nowhere (stream); auto takes the
            first that they fit.
        workers: processes that decode ahead when nothing is kept; None takes as many as there are cores.
        on_error: raise refuses pictures that cannot be read; skip leaves them out of the splits that they were cut
            into, and names them in the log and in data.json. With stream, it reads every file once beforehand.

    Raises:
        UserError: from `open`, if it holds no pictures, a class has none, or a split has a class that training
            lacks; from `open` and `load`, naming every picture that cannot be read, unless they are skipped.
    """

    root: Text
    storage: Storage = "auto"
    workers: Count | None = None
    on_error: OnError = "raise"

    def how_to_keep(self) -> tuple[Storage, int | None]:
        return self.storage, self.workers

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        try:
            return self._listed(Path(self.root).expanduser())
        except (OSError, RuntimeError) as error:  # RuntimeError: of ~name, where there is no such person
            where = readable(error.filename) if isinstance(error, OSError) and error.filename else self.root
            rule = f"{where} cannot be opened: {getattr(error, 'strerror', None) or error}"
            raise self._problem(rule, "Give a folder that you may list.") from error

    def _listed(self, root: Path) -> tuple[list[str], dict[str, Split]]:
        if not root.is_dir():
            rule = "is a file, not a folder" if root.exists() else f"does not exist (looked in {root.resolve().parent})"
            near = (
                did_you_mean(root.name, [path.name for path in root.parent.iterdir()]) if root.parent.is_dir() else ""
            )
            raise self._problem(rule, near or "Give the folder that holds one folder for each class.")
        found = {split: [root / n for n in names if (root / n).is_dir()] for split, names in FOLDERS.items()}
        for split, several in found.items():
            if len(several) > 1:
                both = " and ".join(f"{folder.name}/" for folder in several)
                raise self._problem(f"has {both}, each of them the {split} split", "Keep one of them, or rename one.")
        folders = {split: several[0] for split, several in found.items() if several}
        if "train" not in folders:
            if folders:
                raise self._problem(
                    f"has {join_names(folders)}/ but no train/", "Add train/ with a folder for each class."
                )
            folders = {"train": root}
        there = {split: _folders(folder) for split, folder in folders.items()}
        broken = [
            Problem(readable(path), rule)
            for folder in folders.values() for path, rule in _broken(folder) if self._wants(path.name)
        ]  # fmt: skip
        if broken:
            raise UserError("the data", broken)
        if not there["train"]:
            inside = "holds pictures but no folders" if pictures_below(folders["train"]) else "is empty"
            raise self._problem(f"{folders['train']} {inside}", "Put each class's pictures in a folder of its own.")
        kept_names([readable(name) for name in there["train"]], self.classes)
        names = [name for name in there["train"] if self._wants(name)]
        problems = []
        for split, found in there.items():
            lacking = [name for name in names if name not in found]
            for name in [name for name in found if name not in there["train"]]:
                near = did_you_mean(name, names if self.classes is None else lacking)
                if near or self.classes is None:  # or it is one of those that are left out
                    rule, remedy = "is a class that train/ does not have", near or f"Classes: {join_names(names[:20])}."
                    problems.append(Problem(readable(folders[split] / name), rule, remedy=remedy))
        files = {
            split: {name: pictures_below(folders[split] / name) for name in found if name in names}
            for split, found in there.items()
        }
        for name, found in files["train"].items():
            if not found:
                rule = "is a class with no pictures"
                remedy = f"Remove the folder, or put pictures in it: {join_names(EXTENSIONS)}."
                problems.append(Problem(readable(folders["train"] / name), rule, remedy=remedy))
        if problems:
            raise UserError("the data", problems)
        return [readable(name) for name in names], {split: _split(root, names, found) for split, found in files.items()}

    def _wants(self, folder: str) -> bool:
        """Whether pictures of a class are to be kept; those of others are not looked for."""
        return is_wanted(readable(folder), self.classes)

    def _problem(self, rule: str, remedy: str) -> UserError:
        return UserError("the data", [Problem("data.root", rule, self.root, remedy)])


def _split(root: Path, classes: list[str], files: dict[str, list[Path]]) -> Split:
    labels = [classes.index(name) for name, paths in files.items() for _ in paths]
    paths = [path for found in files.values() for path in found]
    names = [readable(path.relative_to(root).as_posix()) for path in paths]
    return Split(np.array(names, dtype=object), np.array(labels, dtype=np.int64), np.array(paths, dtype=object))


def _folders(folder: Path) -> list[str]:
    here = folder.resolve()
    return sorted(
        entry.name
        for entry in os.scandir(folder)
        if entry.is_dir() and not entry.name.startswith(".")
        if not (entry.is_symlink() and here.is_relative_to(Path(entry).resolve()))
    )


def _broken(folder: Path) -> Iterator[tuple[Path, str]]:
    """Links to nowhere among a split's classes, which would go missing without a word."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith(".") and (rule := broken_link(path)):
            yield path, rule
