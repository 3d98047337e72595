"""Opened data that the processes of a run on one machine share: the first of them reads it, the others map its memory.

Images in memory are copied to an anonymous file in memory (memfd_create, on Linux), which ends with the processes.
Images of the disk cache are mapped from there. Elsewhere, each process reads the data.
"""

import io
import mmap
import os
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from viewfinder.data.module import ImageData
from viewfinder.data.split import ImageRows
from viewfinder.runs import rendezvous
from viewfinder.runs.rendezvous import Rendezvous

FIELDS = (
    "class_names", "splits", "drawn", "cross_validation", "skipped", "warnings", "in_channels", "shared_size", "stored",
    "_fingerprints",
)  # fmt: skip
"""What `ImageData.open` and `ImageData.load` find out."""
ALIGNMENT = 64
"""Bytes to which arrays are aligned, as torch aligns tensors."""


def share_data(data: ImageData) -> None:
    """Offer loaded data to the other processes of this run on this machine, if this is the first of them.

    This process uses the shared copy, too, so that the images are in memory once.
    """
    meeting = rendezvous.current
    if meeting is None or not meeting.is_first_on_node:
        return
    path = ""
    if hasattr(os, "memfd_create"):
        try:
            path = _write(meeting, {name: getattr(data, name) for name in FIELDS})
            _set_fields(data, _read(path))
        except (OSError, pickle.PicklingError, TypeError, AttributeError):  # the others read it again
            path = ""
    meeting.publish(f"data/{meeting.node}", path)


def receive_data(data: ImageData) -> bool:
    """Take over the data that another process of this run on this machine has loaded; wait until it has.

    Returns:
        Whether the data is open and loaded now.
    """
    meeting = rendezvous.current
    if meeting is None or meeting.is_first_on_node:
        return False
    path = meeting.receive(f"data/{meeting.node}")
    try:
        if path:
            _set_fields(data, _read(path))
    except OSError:  # processes in containers of their own, or a file that was removed from the cache
        return False
    return bool(path)


def _set_fields(data: ImageData, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(data, name, value)
    data.features = {}


class _Pickler(pickle.Pickler):
    """Pickler that leaves the content of tensors and arrays to `buffer_callback`."""

    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, ImageRows) and value.file is not None:
            return _map_rows, (str(value.file), value.indices)
        if type(value) is Tensor and value.device.type == "cpu":
            return torch.from_numpy, (value.numpy(),)
        return NotImplemented


def _map_rows(file: str, indices: Tensor) -> ImageRows:
    base = torch.from_numpy(np.load(file, mmap_mode="c"))
    return ImageRows(base, indices, Path(file))


def _write(meeting: Rendezvous, values: dict[str, Any]) -> str:
    """Write values to a file in memory, and return its path, which other processes can open."""
    stream, buffers = io.BytesIO(), list[pickle.PickleBuffer]()
    _Pickler(stream, protocol=5, buffer_callback=buffers.append).dump(values)
    parts = [memoryview(stream.getbuffer()), *(buffer.raw() for buffer in buffers)]
    head = pickle.dumps([part.nbytes for part in parts])
    descriptor = os.memfd_create("viewfinder")
    meeting.files.append(descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        for part in (memoryview(len(head).to_bytes(8, "little")), memoryview(head), *parts):
            file.write(part)
            file.write(bytes(-part.nbytes % ALIGNMENT))
    return f"/proc/{os.getpid()}/fd/{descriptor}"


def _read(path: str) -> dict[str, Any]:
    """Read the values of such a file; arrays are mapped copy-on-write.

    The path comes from another process of this run, so that its content is as trusted as this process.
    """
    with Path(path).open("rb") as file:
        content = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY))
    size = int.from_bytes(content[:8], "little")
    (head,) = _cut(content, ALIGNMENT, [size])
    start = ALIGNMENT + size + -size % ALIGNMENT
    stream, *buffers = _cut(content, start, pickle.loads(head))
    return pickle.loads(stream, buffers=buffers)


def _cut(content: memoryview, start: int, sizes: Sequence[int]) -> list[memoryview]:
    parts = []
    for size in sizes:
        parts.append(content[start : start + size])
        start += size + -size % ALIGNMENT
    return parts
