"""CIFAR-10's files as they were published, or none: by their checksums, from an archive that torchvision downloads."""

import contextlib
import hashlib
import http.client
import os
import socket
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from viewfinder.errors import Problem, UserError, join_names

TIMEOUT = 60
"""Seconds without an answer after which a download is given up; torchvision would wait for ever."""


def published_files(root: Path, download: bool) -> dict[str, bytes]:
    """Name -> content of every file that holds pictures or class names; of each, the MD5 is the published one.

    What root/cifar-10-batches-py/ lacks is taken from the archive in root, and that downloaded if it is not there.

    Raises:
        UserError: if a file there or the archive is not as published, or it is not there and cannot be had.
    """
    from torchvision.datasets import CIFAR10 as Archive  # noqa: N811

    sums = {name: md5 for name, md5 in (*Archive.train_list, *Archive.test_list)}  # noqa: C416 lists, not tuples
    sums[Archive.meta["filename"]] = Archive.meta["md5"]
    folder = root / Archive.base_folder
    found = _read(root, folder, sums)
    missing = {name: md5 for name, md5 in sums.items() if name not in found}
    if missing:
        with _leaving_no_empty_folder(root):
            archive = root / Archive.filename
            if archive.is_file():
                _check_archive(root, archive)
            else:
                _download(root, archive, download)
            _extract(root, archive, folder, missing)
        found |= _read(root, folder, missing)
    return found


def _read(root: Path, folder: Path, sums: Mapping[str, str]) -> dict[str, bytes]:
    try:
        found = {name: (folder / name).read_bytes() for name in sums if (folder / name).is_file()}
    except OSError as error:
        raise _problem(root, f"{error.filename}: {error.strerror}", "Mend that.") from error
    wrong = [str(folder.resolve() / name) for name, content in found.items() if not _has_md5(content, sums[name])]
    if wrong:
        rule = f"not as published, by the MD5 checksum: {join_names(wrong)}"
        raise _problem(root, rule, f"Remove {folder.resolve()}, and it is made anew from the published archive.")
    return found


def _has_md5(content: bytes, md5: str) -> bool:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


def _check_archive(root: Path, archive: Path) -> None:
    from torchvision.datasets import CIFAR10 as Archive  # noqa: N811
    from torchvision.datasets.utils import calculate_md5

    if (md5 := calculate_md5(archive)) != Archive.tgz_md5:
        size = f"its {archive.stat().st_size:,} bytes have the MD5 checksum {md5}, not {Archive.tgz_md5}"
        rule = f"{archive.resolve()} is not the published archive, or a part of it: {size}"
        raise _problem(root, rule, f"Remove it, and it is downloaded again from {Archive.url}.")


def _download(root: Path, archive: Path, may: bool) -> None:
    from torchvision.datasets import CIFAR10 as Archive  # noqa: N811
    from torchvision.datasets.utils import download_url

    remedy = (
        f"Download {Archive.url} where there is a network and put it, as it is, at {root.resolve() / archive.name}; "
        f"or name the folder that holds {Archive.base_folder}/ by data.root=PATH. "
        "python train.py experiment=quickstart needs no network."
    )
    if not may:
        raise _problem(root, f"CIFAR-10 is not in {root.resolve()}, and data.download=false", remedy)
    beside = archive.with_name(f".{archive.name}.{os.getpid()}")
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)
    try:
        download_url(Archive.url, root, beside.name, Archive.tgz_md5)
        beside.replace(archive)
    except (OSError, RuntimeError, EOFError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", None) or (str(error) or type(error).__name__).splitlines()[0]
        rule = f"CIFAR-10 is not in {root.resolve()}, and it cannot be downloaded: {cause}"
        raise _problem(root, rule, remedy) from error
    finally:
        socket.setdefaulttimeout(before)
        with contextlib.suppress(OSError):
            beside.unlink(missing_ok=True)


def _extract(root: Path, archive: Path, folder: Path, wanted: Mapping[str, str]) -> None:
    """The wanted files, by name and checksum, from the archive into a folder: all of them or none."""
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=root) as temporary:
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    path = PurePosixPath(member.name)
                    if not (member.isreg() or member.isdir()):
                        raise tarfile.TarError(f"{member.name} in it is neither a file nor a folder")
                    if path.parts[:1] != (folder.name,) or ".." in path.parts:
                        raise tarfile.TarError(f"{member.name} in it leads out of {folder.name}/")
                    content = tar.extractfile(member)
                    if content is not None and path.parent == PurePosixPath(folder.name) and path.name in wanted:
                        (Path(temporary) / path.name).write_bytes(content.read())
            fresh = Path(temporary)
            for name, md5 in wanted.items():
                if not (fresh / name).is_file() or not _has_md5((fresh / name).read_bytes(), md5):
                    raise tarfile.TarError(f"{name} in it is missing, or not as published")
            folder.mkdir(exist_ok=True)
            for name in wanted:
                (fresh / name).replace(folder / name)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        rule = f"{archive.resolve()} cannot be extracted: {getattr(error, 'strerror', None) or error}"
        raise _problem(root, rule, "Make room there, or remove it, and it is downloaded again.") from error


def _problem(root: Path, rule: str, remedy: str) -> UserError:
    return UserError("the data", [Problem("data.root", rule, str(root), remedy)])


@contextlib.contextmanager
def _leaving_no_empty_folder(root: Path) -> Iterator[None]:
    """If something is raised, the folders are removed again that had to be made for root."""
    made = [folder for folder in (root, *root.parents) if not folder.exists()]
    try:
        yield
    except BaseException:
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise
