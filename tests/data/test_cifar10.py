"""CIFAR-10 is read from its published files alone, and downloaded once."""

import hashlib
import json
import pickle
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cifar10_archive import CLASSES, Server, make_batch, python2_pickle, tar_of
from conftest import QUICK, raises_user_error, train_into
from image_data import flatten, names_by_split, open_data
from image_files import assert_equal
from omegaconf import OmegaConf
from PIL import Image
from torchvision.datasets import CIFAR10 as Archive  # noqa: N811

from viewfinder.data.sources.cifar10 import CIFAR10
from viewfinder.errors import UserError


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def members() -> dict[str, bytes]:
    """The files of a CIFAR-10 of 5 x 20 + 20 images."""
    members = {}
    for number, name in enumerate([f"data_batch_{n}" for n in range(1, 6)] + ["test_batch"]):
        pixels, labels = make_batch(number)
        content = {b"data": pixels, b"labels": labels, b"batch_label": b"batch", b"filenames": [b"x.png"] * 20}
        members[name] = python2_pickle(content)
    members["batches.meta"] = python2_pickle({b"label_names": [name.encode() for name in CLASSES], b"num_vis": 3072})
    return members


@pytest.fixture
def archive(server: Server, monkeypatch: pytest.MonkeyPatch, members: dict[str, bytes]) -> bytes:
    """A cifar-10-python.tar.gz of those files, served at the address that torchvision downloads from."""
    sums = {name: hashlib.md5(content).hexdigest() for name, content in members.items()}
    server.content = tar_of(members)
    monkeypatch.setattr(Archive, "url", f"http://127.0.0.1:{server.server_port}/cifar-10-python.tar.gz")
    monkeypatch.setattr(Archive, "tgz_md5", hashlib.md5(server.content).hexdigest())
    monkeypatch.setattr(Archive, "train_list", [[name, sums[name]] for name in sums if name.startswith("data")])
    monkeypatch.setattr(Archive, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(Archive, "meta", Archive.meta | {"md5": sums["batches.meta"]})
    return server.content


REFUSALS = ["http://127.0.0.1:9/cifar-10-python.tar.gz", "file:///nothing/here/cifar-10-python.tar.gz"]


class Bomb:
    """A pickle of it makes a file when it is opened."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def make_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


def test_our_cifar_archive_unpickles_to_what_was_put_in() -> None:
    pixels, labels = make_batch(0)
    content = python2_pickle({b"data": pixels, b"labels": labels, b"n": 3072})
    actual = pickle.loads(content, encoding="latin1")
    assert np.array_equal(actual["data"], pixels)
    assert (actual["labels"], actual["n"]) == (labels, 3072)


def test_cifar10_images_labels_and_class_names_are_read_right(tmp_path: Path, archive: bytes) -> None:
    data = open_data(CIFAR10(root=str(tmp_path / "deep" / "data")), 32)
    assert data.class_names == CLASSES
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 80, "val": 20, "test": 20}
    batches = [make_batch(number) for number in range(6)]
    whole = {
        "train": (np.concatenate([b[0] for b in batches[:5]]), flatten(b[1] for b in batches[:5])),
        "test": batches[5],
    }
    seen = []
    for split, pictures in data.images.items():
        for name, image, label in zip(data.splits[split].names, pictures.pixels, pictures.labels, strict=True):
            source, number = name.split("/")
            pixels, labels = whole[source]
            assert_equal(image, pixels[int(number)].reshape(3, 32, 32))
            assert label == labels[int(number)]
            seen.append((source, int(number)))
    assert sorted(seen) == [("test", n) for n in range(20)] + [("train", n) for n in range(100)]
    assert all(name.startswith("test/") for name in data.splits["test"].names)


def test_some_classes_of_cifar10_have_its_own_images_in_its_own_order(tmp_path: Path, archive: bytes) -> None:
    data = open_data(CIFAR10(root=str(tmp_path), classes=["truck", "cat", "bird"]), 32)
    assert data.class_names == ["bird", "cat", "truck"]
    pixels, labels = (np.concatenate(item) for item in zip(*(make_batch(n) for n in range(5)), strict=True))
    wanted = {f"train/{n:05}": (2, 3, 9).index(label) for n, label in enumerate(labels) if label in (2, 3, 9)}
    actual: dict[str, int] = {}
    for split in ("train", "val"):
        names = data.splits[split].names.tolist()
        actual |= dict(zip(names, data.splits[split].labels.tolist(), strict=True))
        numbers = [int(name.removeprefix("train/")) for name in names]
        assert_equal(data.images[split].pixels, pixels[numbers].reshape(-1, 3, 32, 32))
    assert actual == wanted


def test_one_channel_of_colour_images_is_pillows_grey(tmp_path: Path, archive: bytes) -> None:
    root = str(tmp_path / "data")
    colour, grey = open_data(CIFAR10(root=root), 32), open_data(CIFAR10(root=root, channels=1), 32)
    assert grey.in_channels == 1
    for name in colour.images:
        for image, actual in zip(colour.images[name].pixels, grey.images[name].pixels, strict=True):
            expected = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L"))
            assert_equal(actual, expected[None])


def test_the_default_data_are_trained_from_their_archive(tmp_path: Path, archive: bytes) -> None:
    run = train_into(tmp_path / "run", "model=mlp", f"data.root={tmp_path / 'data'}", *QUICK, "trainer.max_epochs=1")
    assert OmegaConf.load(run.config).data["_target_"] == "viewfinder.data.sources.cifar10.CIFAR10"
    assert json.loads(run.data.read_text(encoding="utf-8"))["split_sizes"] == {"train": 80, "val": 20, "test": 20}
    assert run.read_run()["status"] == "finished"


def test_cifar10_is_downloaded_once(tmp_path: Path, archive: bytes, server: Server) -> None:
    first = names_by_split(open_data(CIFAR10(root=str(tmp_path / "data"))))
    before = server.requests
    assert before > 0
    assert names_by_split(open_data(CIFAR10(root=str(tmp_path / "data")))) == first
    assert names_by_split(open_data(CIFAR10(root=str(tmp_path / "data"), download=False))) == first
    assert server.requests == before


def test_an_archive_put_where_the_error_says_is_used(tmp_path: Path, archive: bytes, server: Server) -> None:
    root = tmp_path / "data"
    root.mkdir()
    (root / "cifar-10-python.tar.gz").write_bytes(archive)
    assert len(open_data(CIFAR10(root=str(root))).splits["train"]) == 80
    assert server.requests == 0


@pytest.mark.parametrize("url", REFUSALS)
def test_cifar10_without_network_is_one_error_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setattr(Archive, "url", url)
    root = tmp_path / "some" / "data"
    with pytest.raises(UserError) as caught:
        open_data(CIFAR10(root=str(root)))
    (problem,) = caught.value.problems
    assert problem.key == "data.root"
    assert str(root) in problem.rule
    assert url in problem.remedy
    assert str(root / "cifar-10-python.tar.gz") in problem.remedy
    assert "experiment=quickstart" in problem.remedy
    assert list(tmp_path.iterdir()) == []


def test_a_cifar10_download_that_breaks_off_is_an_error_and_leaves_nothing(
    tmp_path: Path, archive: bytes, server: Server
) -> None:
    server.content = archive[: len(archive) // 2]
    with raises_user_error("cannot be downloaded"):
        open_data(CIFAR10(root=str(tmp_path / "data")))
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("name", ["data_batch_1", "data_batch_5", "test_batch", "batches.meta"])
@pytest.mark.parametrize("has_archive", [True, False])
def test_an_extracted_file_that_is_not_the_published_one_is_named_and_never_unpickled(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], server: Server, download: bool, name: str,
    has_archive: bool,
) -> None:  # fmt: skip
    root = tmp_path / "data"
    (root / "cifar-10-batches-py").mkdir(parents=True)
    for member, content in members.items():
        (root / "cifar-10-batches-py" / member).write_bytes(content)
    if has_archive:
        (root / "cifar-10-python.tar.gz").write_bytes(archive)
    assert len(open_data(CIFAR10(root=str(root), download=download)).splits["train"]) == 80
    sprung = tmp_path / "sprung"
    (root / "cifar-10-batches-py" / name).write_bytes(pickle.dumps(Bomb(sprung)))
    before = files_below(root)
    with pytest.raises(UserError) as caught:
        open_data(CIFAR10(root=str(root), download=download))
    (problem,) = caught.value.problems
    assert str(root / "cifar-10-batches-py" / name) in problem.rule
    assert "do not match their published MD5 checksums" in problem.rule
    assert not sprung.exists()
    assert (files_below(root), server.requests) == (before, 0)


@pytest.mark.parametrize(
    "damage", [lambda a: a[: len(a) // 2], lambda a: a[:-1] + b"x", lambda a: b"", lambda a: a * 2]
)
@pytest.mark.parametrize("download", [True, False])
def test_an_archive_that_is_not_the_published_one_is_named_and_left_alone(
    tmp_path: Path, archive: bytes, server: Server, damage: Callable[[bytes], bytes], download: bool
) -> None:
    path = tmp_path / "cifar-10-python.tar.gz"
    path.write_bytes(damage(archive))
    with pytest.raises(UserError) as caught:
        open_data(CIFAR10(root=str(tmp_path), download=download))
    (problem,) = caught.value.problems
    assert f"{path} is not the published archive" in problem.rule
    assert "Remove it" in problem.remedy
    assert files_below(tmp_path) == {path.name: damage(archive)}
    assert (list(tmp_path.iterdir()), server.requests) == ([path], 0)


@pytest.mark.parametrize(
    ("hostile", "named"),
    [
        (lambda at: [(tarfile.TarInfo("../evil"), b"x")], "../evil"),
        (lambda at: [(tarfile.TarInfo("cifar-10-batches-py/../../evil"), b"x")], "../../evil"),
        (lambda at: [(tarfile.TarInfo(f"{at}/evil"), b"x")], "evil"),
        (lambda at: [(tarfile.TarInfo("beside/evil"), b"x")], "beside/evil"),
        (lambda at: [(make_link("cifar-10-batches-py/out", str(at)), b"")], "out"),
        (lambda at: [(make_link("cifar-10-batches-py/out", "../.."), b""),
                     (tarfile.TarInfo("cifar-10-batches-py/out/evil"), b"x")], "out"),
        (lambda at: [(make_link("cifar-10-batches-py/hard", "../../secret", tarfile.LNKTYPE), b"")], "hard"),
        (lambda at: [(make_link("cifar-10-batches-py/pipe", "", tarfile.FIFOTYPE), b"")], "pipe"),
    ],
)  # fmt: skip
def test_an_archive_that_leads_outside_is_refused_and_leaves_nothing_even_with_the_published_checksum(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch,
    hostile: Callable[[Path], Any], named: str,
) -> None:  # fmt: skip
    root = tmp_path / "deep" / "data"
    root.mkdir(parents=True)
    (tmp_path / "deep" / "secret").write_bytes(b"secret")
    packed = tar_of(members, *hostile(tmp_path))
    monkeypatch.setattr(Archive, "tgz_md5", hashlib.md5(packed).hexdigest())
    (root / "cifar-10-python.tar.gz").write_bytes(packed)
    with pytest.raises(UserError) as caught:
        open_data(CIFAR10(root=str(root)))
    (problem,) = caught.value.problems
    assert "cannot be extracted" in problem.rule
    assert named in problem.rule
    assert files_below(tmp_path) == {"deep/secret": b"secret", "deep/data/cifar-10-python.tar.gz": packed}
    assert [path.name for path in root.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("harm", ["lacks", "differs", "no tar"])
def test_an_archive_whose_files_are_not_those_published_leaves_no_folder(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    members.pop("data_batch_3")
    packed = tar_of(members | ({"data_batch_3": b"other"} if harm == "differs" else {}))
    packed = b"no tar" if harm == "no tar" else packed
    monkeypatch.setattr(Archive, "tgz_md5", hashlib.md5(packed).hexdigest())
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(packed)
    with raises_user_error("cannot be extracted" if harm == "no tar" else "its member data_batch_3 is missing"):
        open_data(CIFAR10(root=str(tmp_path)))
    assert [path.name for path in tmp_path.iterdir()] == ["cifar-10-python.tar.gz"]


@pytest.mark.parametrize("has_archive", [True, False])
def test_files_that_an_extracted_folder_lacks_come_from_the_archive(
    tmp_path: Path, archive: bytes, members: dict[str, bytes], has_archive: bool
) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for name in ("data_batch_2", "batches.meta"):
        (folder / name).write_bytes(members[name])
    if has_archive:
        (tmp_path / "cifar-10-python.tar.gz").write_bytes(archive)
    before = (folder / "data_batch_2").stat().st_ino
    assert len(open_data(CIFAR10(root=str(tmp_path))).splits["train"]) == 80
    assert files_below(folder) == members
    assert (folder / "data_batch_2").stat().st_ino == before


def test_a_download_that_is_interrupted_leaves_nothing(
    tmp_path: Path, archive: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(url: str, root: Path, name: str, md5: str) -> None:
        root.mkdir(parents=True)
        (root / name).write_bytes(archive[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr("torchvision.datasets.utils.download_url", interrupted)
    with pytest.raises(KeyboardInterrupt):
        open_data(CIFAR10(root=str(tmp_path / "some" / "data")))
    assert list(tmp_path.iterdir()) == []


def test_cifar10_that_must_not_be_downloaded_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    with raises_user_error(r"data\.download=false"):
        open_data(CIFAR10(root=str(tmp_path / "data"), download=False))
    assert list(tmp_path.iterdir()) == []


def test_a_path_in_an_error_is_not_broken_over_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Archive, "url", REFUSALS[0])
    root = tmp_path / "a-rather-long-name-for-a-folder-of-pictures" / "and-another-one-inside-it" / "data"
    with pytest.raises(UserError) as caught:
        open_data(CIFAR10(root=str(root)))
    assert str(root / "cifar-10-python.tar.gz") in str(caught.value)
