"""Disk cache of decoded images, mapped into memory."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.decode_parallel import Unreadable, decode_all
from viewfinder.data.resize import Resize
from viewfinder.errors import Problem, UserError


def load_through_cache(
    folder: Path, paths: Sequence[Path], channels: int, resize: Resize, description: str, skip_unreadable: bool
) -> tuple[Tensor, Unreadable]:
    """Return decoded images from the disk cache; if the cache file is missing, decode the images and write it.

    The file's key covers the images' paths, sizes and modification times, and the settings of their decoding.

    Args:
        folder: cache folder.
        description: text of the progress bar.
        skip_unreadable: whether to write a file that lacks the unreadable images.

    Returns:
        (N, H, W, C) uint8, mapped copy-on-write, and the unreadable images.

    Raises:
        UserError: if the cache cannot be written.
    """
    key = _hash_key(paths, channels, resize)
    file, gaps_file, temporary = folder / f"{key}.npy", folder / f"{key}.gaps.npy", folder / f".{key}.{os.getpid()}.npy"
    if not file.exists():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            shape = (len(paths), resize.height, resize.width, channels)
            mapped = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.uint8, shape=shape)
            base = torch.from_numpy(mapped)
            unreadable = decode_all(paths, channels, resize, description, base)
            if unreadable and not skip_unreadable:
                return base, unreadable
            mapped.flush()
            if unreadable:
                np.save(gaps_file, np.array(list(unreadable)))
            temporary.replace(file)
        except OSError as error:
            remedy = "Free disk space, move the cache with XDG_CACHE_HOME=PATH, or set data.storage=stream."
            problem = Problem(str(folder), f"cannot be written: {error.strerror}", remedy=remedy)
            raise UserError("the cache of decoded images", [problem]) from error
        finally:
            temporary.unlink(missing_ok=True)
    base = torch.from_numpy(np.load(file, mmap_mode="c"))  # copy-on-write, because torch has no read-only tensors
    # Retried each time, because the cause may not be the file's content, for example its permissions.
    gaps = np.load(gaps_file).tolist() if gaps_file.exists() else []
    retried = torch.empty(len(gaps), *base.shape[1:], dtype=torch.uint8)
    unreadable = decode_all([paths[index] for index in gaps], channels, resize, description, retried)
    for row, index in enumerate(gaps):
        base[index] = retried[row]
    return base, {gaps[row]: problem for row, problem in unreadable.items()}


def _hash_key(paths: Sequence[Path], channels: int, resize: Resize) -> str:
    files = [(str(path.resolve()), *_file_state(path)) for path in paths]
    content = repr((channels, tuple(resize), files)).encode("utf-8", "surrogateescape")
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def _file_state(path: Path) -> tuple[int, int]:
    """Return a file's size and modification time; zeros if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns
