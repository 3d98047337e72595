"""CIFAR-10 (Krizhevsky 2009), downloaded by torchvision."""

import contextlib
import socket
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from viewfinder.build import Text
from viewfinder.data.image_data import ImageData
from viewfinder.data.split import Rows, Split
from viewfinder.errors import Problem, ViewfinderError

TIMEOUT = 60
"""Seconds without an answer after which a download is given up; torchvision would wait for ever."""


@dataclass(kw_only=True, eq=False)
class CIFAR10(ImageData):
    """50,000 training and 10,000 test pictures of 3 x 32 x 32 in 10 classes.

    Args:
        root: folder that holds, or will hold, cifar-10-batches-py/.
        download: fetch them when they are not there.

    Raises:
        ViewfinderError: from `open`, if they are not there and cannot be downloaded.
    """

    root: Text = "data"
    download: bool = True

    def list_pictures(self) -> tuple[list[str], dict[str, Split]]:
        train, test = (self._part(is_train) for is_train in (True, False))
        return train.classes, {"train": _split("train", train), "test": _split("test", test)}

    def _part(self, is_train: bool):
        from torchvision.datasets import CIFAR10 as Archive  # noqa: N811

        root = Path(self.root)
        made = [folder for folder in (root, *root.parents) if not folder.exists()]
        had_archive = (root / Archive.filename).exists()
        before = socket.getdefaulttimeout()
        socket.setdefaulttimeout(TIMEOUT)
        try:
            return Archive(root, train=is_train, download=self.download)
        except (OSError, RuntimeError, EOFError) as error:
            if not had_archive:  # torchvision leaves what came of a download, and an empty folder behind
                (root / Archive.filename).unlink(missing_ok=True)
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()
            cause = getattr(error, "reason", None) or str(error).splitlines()[0]
            archive = root.resolve() / Archive.filename
            remedy = (
                f"Download {Archive.url} where there is a network and put it, as it is, at {archive}; or name the "
                f"folder that holds {Archive.base_folder}/ by data.root=PATH. "
                "python train.py experiment=quickstart needs no network."
            )
            rule = f"CIFAR-10 is not in {root.resolve()}, and it cannot be downloaded: {cause}"
            if not self.download:
                rule = f"CIFAR-10 is not in {root.resolve()}, and data.download=false"
            raise ViewfinderError("the data", [Problem("data.root", rule, self.root, remedy)]) from error
        finally:
            socket.setdefaulttimeout(before)


def _split(name: str, archive) -> Split:
    names = np.array([f"{name}/{number:05}" for number in range(len(archive.data))])
    return Split(names, np.array(archive.targets, dtype=np.int64), Rows(torch.from_numpy(archive.data)))
