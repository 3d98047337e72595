"""Small data sets of Hugging Face's library on disk."""

import atexit
import io
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="viewfinder-huggingface-")  # in place of the user's, read on import

import datasets
import numpy as np
from image_files import noise
from PIL import Image

atexit.register(shutil.rmtree, os.environ["HF_HOME"], ignore_errors=True)
CLASSES = ["owl", "cat", "dog"]


def encode(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, "png")
    return file.getvalue()


def make_rows(count: int, seed: int, is_mixed: bool = False) -> dict[str, list[Any]]:
    """Return images and labels; of several sizes if mixed."""
    arrays = [noise(8, 9 + is_mixed * (n % 3), 3, seed=seed + n) for n in range(count)]
    images = [{"bytes": encode(array), "path": None} for array in arrays]
    return {"image": images, "label": [n % 3 for n in range(count)], "id": [str(n) for n in range(count)]}


def make_dataset(rows: dict[str, list[Any]]) -> Any:
    types = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES), "id": datasets.Value("string")}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(types))


def save(folder: Path, is_mixed: bool = False, **counts: int) -> Path:
    """Write a data set with save_to_disk."""
    counts = counts or {"train": 30, "validation": 9, "test": 12}
    parts = {name: make_dataset(make_rows(count, 100 * len(name), is_mixed)) for name, count in counts.items()}
    datasets.DatasetDict(parts).save_to_disk(folder)
    return folder


def save_parquet(folder: Path) -> Path:
    """Write a folder of Parquet files, as the hub stores them."""
    (folder / "data").mkdir(parents=True)
    for name, count in (("train", 30), ("test", 12)):
        make_dataset(make_rows(count, 100 * len(name))).to_parquet(folder / "data" / f"{name}-00000-of-00001.parquet")
    return folder
