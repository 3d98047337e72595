"""CIFAR-10's published files, verified by their checksums; the archive is downloaded if it is missing."""

import contextlib
import hashlib
import os
import tarfile
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from viewfinder.data.class_folders import make_root_error
from viewfinder.data.sources.download import (
    DOWNLOAD_ERRORS,
    QUICKSTART,
    describe_cause,
    limited_waiting,
    new_folders_removed_on_error,
)  # fmt: skip
from viewfinder.errors import join_names


def read_published_files(root: Path, download: bool) -> dict[str, bytes]:
    """Return name -> content of every file with images or class names.

    Files missing from root/cifar-10-batches-py/ are extracted from the archive in root, which is downloaded if it is
    missing too.

    Raises:
        UserError: if a file or the archive does not match its published MD5 checksum, or cannot be obtained.
    """
    from torchvision.datasets import CIFAR10 as Archive  # noqa: N811

    checksums = {name: md5 for name, md5 in (*Archive.train_list, *Archive.test_list)}  # noqa: C416 lists, not tuples
    checksums[Archive.meta["filename"]] = Archive.meta["md5"]
    folder = root / Archive.base_folder
    files = _read_verified(root, folder, checksums)
    missing = {name: md5 for name, md5 in checksums.items() if name not in files}
    if missing:
        with new_folders_removed_on_error(root):
            archive = root / Archive.filename
            if archive.is_file():
                _verify_archive(root, archive)
            else:
                _download_archive(root, archive, download)
            _extract_files(root, archive, folder, missing)
        files |= _read_verified(root, folder, missing)
    return files


def _read_verified(root: Path, folder: Path, checksums: Mapping[str, str]) -> dict[str, bytes]:
    try:
        files = {name: (folder / name).read_bytes() for name in checksums if (folder / name).is_file()}
    except OSError as error:
        raise make_root_error(str(root), f"{error.filename}: {error.strerror}", "Make the file readable.") from error
    wrong = [str(folder.resolve() / name) for name, content in files.items() if not _has_md5(content, checksums[name])]
    if wrong:
        rule = f"files do not match their published MD5 checksums: {join_names(wrong)}"
        raise make_root_error(
            str(root), rule, f"Remove {folder.resolve()} to extract it again from the published archive."
        )
    return files


def _has_md5(content: bytes, md5: str) -> bool:
    return hashlib.md5(content, usedforsecurity=False).hexdigest() == md5


def _verify_archive(root: Path, archive: Path) -> None:
    from torchvision.datasets import CIFAR10 as Archive  # noqa: N811
    from torchvision.datasets.utils import calculate_md5

    if (md5 := calculate_md5(archive)) != Archive.tgz_md5:
        size = f"its {archive.stat().st_size:,} bytes have the MD5 checksum {md5}, not {Archive.tgz_md5}"
        rule = f"{archive.resolve()} is not the published archive, or is incomplete: {size}"
        raise make_root_error(str(root), rule, f"Remove it to download it again from {Archive.url}.")


def _download_archive(root: Path, archive: Path, is_allowed: bool) -> None:
    from torchvision.datasets import CIFAR10 as Archive  # noqa: N811
    from torchvision.datasets.utils import download_url

    remedy = (
        f"Download {Archive.url} on a machine with internet access and save it as {root.resolve() / archive.name}, "
        f"or set data.root=PATH to the folder that contains {Archive.base_folder}/. {QUICKSTART}"
    )
    if not is_allowed:
        raise make_root_error(str(root), f"CIFAR-10 is not in {root.resolve()}, and data.download=false", remedy)
    temporary = archive.with_name(f".{archive.name}.{os.getpid()}")
    try:
        with limited_waiting():
            download_url(Archive.url, root, temporary.name, Archive.tgz_md5)
        temporary.replace(archive)
    except DOWNLOAD_ERRORS as error:
        rule = f"CIFAR-10 is not in {root.resolve()} and cannot be downloaded: {describe_cause(error)}"
        raise make_root_error(str(root), rule, remedy) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _extract_files(root: Path, archive: Path, folder: Path, checksums: Mapping[str, str]) -> None:
    """Extract files from the archive into a folder, all of them or none.

    Args:
        checksums: name -> MD5 of the files to extract.
    """
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=root) as temporary:
            extracted = Path(temporary)
            with tarfile.open(archive, "r:gz") as tar:
                for member in tar:
                    path = PurePosixPath(member.name)
                    if not (member.isreg() or member.isdir()):
                        raise tarfile.TarError(f"its member {member.name} is neither a file nor a folder")
                    if path.parts[:1] != (folder.name,) or ".." in path.parts:
                        raise tarfile.TarError(f"its member {member.name} is outside {folder.name}/")
                    content = tar.extractfile(member)
                    if content is not None and path.parent == PurePosixPath(folder.name) and path.name in checksums:
                        (extracted / path.name).write_bytes(content.read())
            for name, md5 in checksums.items():
                if not (extracted / name).is_file() or not _has_md5((extracted / name).read_bytes(), md5):
                    raise tarfile.TarError(f"its member {name} is missing or does not match the published checksum")
            folder.mkdir(exist_ok=True)
            for name in checksums:
                (extracted / name).replace(folder / name)
    except (OSError, tarfile.TarError, EOFError, zlib.error) as error:
        rule = f"{archive.resolve()} cannot be extracted: {getattr(error, 'strerror', None) or error}"
        raise make_root_error(
            str(root), rule, "Free disk space, or remove the archive to download it again."
        ) from error
