"""Small data sets in the published formats of torchvision's classes."""

import csv
import gzip
import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from cifar10_archive import python2_pickle
from image_files import noise, save_image
from torchvision import datasets

WORDS = [f"word{number}" for number in range(10)]
"""Class names of sets whose files contain them."""


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def encode_idx(array: np.ndarray) -> bytes:
    """Return an array of bytes in the format of MNIST's files."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(root: Path, patch: pytest.MonkeyPatch, name: str = "FashionMNIST", packed: bool = False) -> None:
    """Write 40 training and 20 test images of 28 x 28; `packed` as gzip files, in place of the extracted ones."""
    resources = []
    for split, count, prefix in (("train", 40, "train"), ("test", 20, "t10k")):
        arrays = {"images-idx3": noise(count, 28, 28, seed=count), "labels-idx1": np.arange(count) % 10}
        for kind, array in arrays.items():
            content = encode_idx(array.astype(np.uint8))
            zipped = gzip.compress(content, mtime=0)
            resources.append((f"{prefix}-{kind}-ubyte.gz", md5(zipped)))
            suffix = ".gz" if packed else ""
            write(root / name / "raw" / f"{prefix}-{kind}-ubyte{suffix}", zipped if packed else content)
        assert split
    patch.setattr(getattr(datasets, name), "resources", resources)
    patch.setattr(getattr(datasets, name), "mirrors", ["http://127.0.0.1:9/"])


def write_emnist(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write the split letters, whose labels begin at 1."""
    for split, count in (("train", 52), ("test", 26)):
        prefix = root / "EMNIST" / "raw" / f"emnist-letters-{split}"
        write(prefix.with_name(f"{prefix.name}-images-idx3-ubyte"), encode_idx(noise(count, 28, 28, seed=count)))
        labels = (np.arange(count) % 26 + 1).astype(np.uint8)
        write(prefix.with_name(f"{prefix.name}-labels-idx1-ubyte"), encode_idx(labels))


def write_cifar100(root: Path, patch: pytest.MonkeyPatch) -> None:
    files = {}
    for split, count in (("train", 40), ("test", 20)):
        content = {b"data": noise(count, 3072, seed=count), b"fine_labels": [n % 10 for n in range(count)]}
        files[split] = python2_pickle(content)
    files["meta"] = python2_pickle({b"fine_label_names": [word.encode() for word in WORDS]})
    for name, content in files.items():
        write(root / "cifar-100-python" / name, content)
    patch.setattr(datasets.CIFAR100, "train_list", [["train", md5(files["train"])]])
    patch.setattr(datasets.CIFAR100, "test_list", [["test", md5(files["test"])]])
    patch.setattr(datasets.CIFAR100, "meta", datasets.CIFAR100.meta | {"md5": md5(files["meta"])})
    patch.setattr(datasets.CIFAR100, "url", "http://127.0.0.1:9/cifar-100-python.tar.gz")


def write_svhn(root: Path, patch: pytest.MonkeyPatch) -> None:
    """Write MATLAB files, in which 10 is the digit 0."""
    root.mkdir(parents=True, exist_ok=True)
    listed = {}
    for split, count in (("train", 40), ("test", 20)):
        path = root / f"{split}_32x32.mat"
        labels = (np.arange(count) % 10 + 1).astype(np.uint8)[:, None]
        scipy.io.savemat(path, {"X": noise(32, 32, 3, count, seed=count), "y": labels})
        listed[split] = [f"http://127.0.0.1:9/{path.name}", path.name, md5(path.read_bytes())]
    patch.setattr(datasets.SVHN, "split_list", listed)


def write_stl10(root: Path, patch: pytest.MonkeyPatch) -> None:
    files = {"unlabeled_X.bin": b""}
    for split, count in (("train", 20), ("test", 10)):
        files[f"{split}_X.bin"] = noise(count, 3, 96, 96, seed=count).tobytes()
        files[f"{split}_y.bin"] = (np.arange(count) % 10 + 1).astype(np.uint8).tobytes()
    for name, content in files.items():
        write(root / "stl10_binary" / name, content)
    write(root / "stl10_binary" / "class_names.txt", "\n".join(WORDS).encode())
    lists = (
        ("train_list", ("train_X.bin", "train_y.bin", "unlabeled_X.bin")),
        ("test_list", ("test_X.bin", "test_y.bin")),
    )
    for attribute, names in lists:
        patch.setattr(datasets.STL10, attribute, [[name, md5(files[name])] for name in names])


def write_food101(root: Path, patch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 12), ("test", 5)):
        names = {label: [f"{label}/{split}{n:02}" for n in range(count)] for label in ("apple_pie", "waffles")}
        for label, listed in names.items():
            for number, name in enumerate(listed):
                seed = number + 100 * len(label)
                save_image(root / "food-101" / "images", f"{name}.jpg", noise(9 + number % 3, 8, 3, seed=seed))
        write(root / "food-101" / "meta" / f"{split}.json", json.dumps(names).encode())


def write_eurosat(root: Path, patch: pytest.MonkeyPatch) -> None:
    for label in ("Forest", "River"):
        for number in range(12):
            seed = number + 100 * len(label)
            save_image(root / "eurosat" / "2750" / label, f"{label}_{number}.jpg", noise(8, 8, 3, seed=seed))


def write_country211(root: Path, patch: pytest.MonkeyPatch) -> None:
    for split, count in (("train", 8), ("valid", 4), ("test", 3)):
        for label in ("AD", "ZW"):
            for number in range(count):
                seed = number + ord(label[0]) + 1000 * len(split)
                save_image(root / "country211" / split / label, f"{number}.jpg", noise(8, 8, 3, seed=seed))


def write_gtsrb(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder, rows = root / "gtsrb", []
    for label in (0, 1):
        for number in range(10):
            name, seed = f"{number:05}.ppm", number + 100 * label
            save_image(folder / "GTSRB" / "Training" / f"{label:05}", name, noise(9, 8, 3, seed=seed))
        for number in range(4):
            name, seed = f"{label}{number:04}.ppm", 1000 + number + 100 * label
            save_image(folder / "GTSRB" / "Final_Test" / "Images", name, noise(9, 8, 3, seed=seed))
            rows.append({"Filename": name, "ClassId": label})
    with (folder / "GT-final_test.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["Filename", "ClassId"], delimiter=";")
        table.writeheader()
        table.writerows(rows)


def write_flowers102(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "flowers-102"
    for number in range(1, 31):
        save_image(folder / "jpg", f"image_{number:05}.jpg", noise(8, 9, 3, seed=number))
    scipy.io.savemat(folder / "imagelabels.mat", {"labels": np.arange(30) % 102 % 3 + 1})
    ids = {"trnid": np.arange(1, 16), "valid": np.arange(16, 22), "tstid": np.arange(22, 31)}
    scipy.io.savemat(folder / "setid.mat", ids)
    sums = {
        name: md5((folder / f"{file}.mat").read_bytes())
        for name, file in (("label", "imagelabels"), ("setid", "setid"))
    }
    files = datasets.Flowers102._file_dict
    patch.setattr(
        datasets.Flowers102, "_file_dict", files | {name: (files[name][0], value) for name, value in sums.items()}
    )


def write_pets(root: Path, patch: pytest.MonkeyPatch) -> None:
    folder = root / "oxford-iiit-pet"
    for split, count in (("trainval", 10), ("test", 4)):
        lines = []
        for label, breed in enumerate(("Abyssinian", "basset_hound"), 1):
            for number in range(count):
                name = f"{breed}_{split}{number}"
                save_image(
                    folder / "images", f"{name}.jpg", noise(8, 9, 3, seed=number + 50 * label + 100 * len(split))
                )
                lines.append(f"{name} {label} 1 1")
        write(folder / "annotations" / f"{split}.txt", "\n".join(lines).encode())


WRITERS: dict[str, Callable[[Path, pytest.MonkeyPatch], None]] = {
    "FashionMNIST": write_mnist,
    "EMNIST": write_emnist,
    "CIFAR100": write_cifar100,
    "SVHN": write_svhn,
    "STL10": write_stl10,
    "Food101": write_food101,
    "EuroSAT": write_eurosat,
    "Country211": write_country211,
    "GTSRB": write_gtsrb,
    "Flowers102": write_flowers102,
    "OxfordIIITPet": write_pets,
}
