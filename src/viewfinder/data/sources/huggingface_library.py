"""Hugging Face's library `datasets`, imported when it is used, and the data sets that it reads."""

import contextlib
import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from viewfinder.data.files import escape_path
from viewfinder.data.sources.download import QUICKSTART
from viewfinder.errors import Problem, UserError

INSTALL = 'pip install "viewfinder[huggingface]"'
SAVED = ("dataset_dict.json", "state.json")
"""Files in a folder that save_to_disk wrote; one of them identifies it."""
FORMATS = {".parquet": "parquet", ".arrow": "arrow"}
NAME = re.compile(r"[\w-][\w.-]*/[\w.-]+")
"""Name of a data set on the hub; names without a slash, such as csv, are those of the library's own readers."""


def find_missing_library() -> list[Problem]:
    """Return a problem if the library is not installed; it is not imported."""
    try:
        importlib.metadata.version("datasets")
    except importlib.metadata.PackageNotFoundError:
        rule = "needs Hugging Face's library datasets, which is not installed"
        return [Problem("data=huggingface", rule, remedy=INSTALL)]
    return []


def import_library() -> Any:
    """Import the library.

    Raises:
        UserError: if it is missing, or a file or folder named datasets hides it.
    """
    if problems := find_missing_library():
        raise UserError("the installation", problems)
    import datasets

    if not hasattr(datasets, "load_from_disk"):
        place = getattr(datasets, "__file__", None) or next(iter(datasets.__path__))
        rule = f"cannot import Hugging Face's library datasets, because {place} has the same name"
        raise UserError("the installation", [Problem("data=huggingface", rule, remedy="Rename it.")])
    return datasets


def load_splits(path: str, subset: str | None, revision: str | None, download: bool) -> dict[str, Any]:
    """Return split -> data set of a folder, a file or a name on the hub.

    A folder was written by save_to_disk, or contains Parquet files or others that the library recognises. No code of a
    data set is ever run.

    Args:
        subset: name of a configuration; None for the only one.
        revision: version on the hub; None for the newest.
        download: whether a data set on the hub may be downloaded; otherwise the library's cache is read.

    Raises:
        UserError: if it cannot be read.
    """
    datasets, place = import_library(), Path(path).expanduser()
    is_local = place.exists()
    if not is_local and not NAME.fullmatch(path):
        rule = f"does not exist (looked in {escape_path(place.parent.resolve())})"
        remedy = "Pass a folder, a .parquet file, or the name of a data set on huggingface.co, such as ylecun/mnist."
        raise _path_error(path, rule, remedy)
    if is_local and place.is_file() and place.suffix not in FORMATS:
        rule = f"is not a file of type {', '.join(FORMATS)}"
        raise _path_error(path, rule, "Pass a folder, or a Parquet file.")
    try:
        with _quiet(datasets), contextlib.nullcontext() if download and not is_local else _offline(datasets):
            if any((place / name).is_file() for name in SAVED):
                loaded = datasets.load_from_disk(str(place))
            elif place.is_file():
                loaded = datasets.load_dataset(FORMATS[place.suffix], data_files=str(place.resolve()))
            else:
                source = str(place.resolve()) if is_local else path
                loaded = datasets.load_dataset(source, subset, revision=None if is_local else revision)
    except Exception as error:  # pyarrow, fsspec and others raise what they like
        cause = _describe_innermost(error)
        if is_local:
            raise _path_error(path, f"cannot be read as a data set: {cause}", _suggest(error)) from error
        where = "cannot be downloaded" if download else "is not in the library's cache, and data.download=false"
        rule = f"is not a folder here, and {where}: {cause}"
        remedy = (
            "On a machine with internet access, save it with datasets.load_dataset(NAME).save_to_disk(PATH); copy the "
            f"folder here, and pass data.path=PATH. {QUICKSTART}"
        )
        raise _path_error(path, rule, remedy) from error
    return dict(loaded) if isinstance(loaded, dict) else {"train": loaded}


def list_image_folders(path: str) -> list[Path]:
    """Return the folders where the images of a data set may be: its own, and those to which the library downloads."""
    import_library()
    from datasets import config
    from huggingface_hub import constants

    place = Path(path).expanduser()
    caches = (config.HF_DATASETS_CACHE, config.DOWNLOADED_DATASETS_PATH, constants.HF_HUB_CACHE)
    own = [place.resolve(), place.absolute()] if place.is_dir() else []
    return [*own, *(Path(cache).absolute() for cache in caches)]


def _path_error(path: str, rule: str, remedy: str) -> UserError:
    return UserError("the data", [Problem("data.path", rule, path, remedy)])


def _describe_innermost(error: BaseException) -> str:
    """Return the first line of the error that caused all others."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _suggest(error: BaseException) -> str:
    if "config name" in str(error).lower():
        return "Choose one with data.subset=NAME."
    return "Pass a folder written by save_to_disk, or a folder of Parquet files such as train-00000.parquet."


@contextlib.contextmanager
def _quiet(datasets: Any) -> Iterator[None]:
    """Show the library's progress bars on a terminal alone."""
    if sys.stderr.isatty():
        yield
        return
    datasets.disable_progress_bars()
    try:
        yield
    finally:
        datasets.enable_progress_bars()


@contextlib.contextmanager
def _offline(datasets: Any) -> Iterator[None]:
    """Keep the library from the network, as its variable HF_HUB_OFFLINE does, which is read on import alone."""
    import huggingface_hub.constants

    places = [(datasets.config, "HF_HUB_OFFLINE"), (huggingface_hub.constants, "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)
