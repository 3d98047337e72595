"""Files as people have them: damaged, hostile, linked, changing or oddly named. Each is decoded, or named with why."""

import csv
import io
import json
import os
import resource
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from conftest import QUICK, Type, train_into
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from test_data import batches_of, chw, folder_of, kept, names_of, noise, opened, saved
from torch import Tensor

from viewfinder.data import files as find
from viewfinder.data.decode import decode_image, decode_images
from viewfinder.data.decode_parallel import decode_all, try_decode_each
from viewfinder.data.files import find_images, list_images
from viewfinder.data.headers import find_common_shape
from viewfinder.data.jpeg import count_jpeg_pixels
from viewfinder.data.resize import Resize
from viewfinder.data.sources.image_folder import ImageFolder
from viewfinder.data.stream import StreamedImages
from viewfinder.errors import Problem, UserError

FORMATS = ("bmp", "gif", "jpeg", "pgm", "png", "ppm", "tiff", "webp")
MODES = {"gif": "P", "pgm": "L", "png": "RGBA"}


def encoded(kind: str, size: tuple[int, int] = (9, 7), **options: Any) -> bytes:
    """A whole file of a format, of noise."""
    file = io.BytesIO()
    picture = Image.fromarray(noise(*size[::-1], 3)).convert(MODES.get(kind, "RGB"))
    picture.save(file, "ppm" if kind == "pgm" else kind, **options)
    return file.getvalue()


def problems_of(error: pytest.ExceptionInfo[UserError]) -> dict[str, str]:
    return {problem.key: problem.rule for problem in error.value.problems}


# Damaged files


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk")


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(draw=st.data())
def test_a_damaged_file_of_any_format_is_a_picture_of_the_wanted_shape_or_is_named(
    desk: Path, kind: str, draw: st.DataObject
) -> None:
    content = bytearray(encoded(kind))
    content = content[: draw.draw(st.integers(0, len(content)) | st.just(len(content)))]
    for place in draw.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[place] = draw.draw(st.integers(0, 255))
    path = desk / f"damaged.{kind}"
    path.write_bytes(content)
    (found,) = try_decode_each([path], 3, (8, 8)).values()
    if isinstance(found, Problem):
        assert found.key == str(path)
        assert found.rule
    else:
        assert (tuple(found.shape), found.dtype) == ((3, 8, 8), torch.uint8)
        assert find_common_shape([path])[2] == {}  # what can be decoded has a header that can be read


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_off_in_its_header_is_always_named(tmp_path: Path, kind: str) -> None:
    whole = encoded(kind)
    paths = [tmp_path / f"{count:02}.{kind}" for count in range(12)]
    for count, path in enumerate(paths):
        path.write_bytes(whole[:count])
    unread = decode_all(paths, 3, (8, 8), "decoding")
    assert list(unread) == list(range(12))
    assert [unread[place].key for place in unread] == list(map(str, paths))
    assert "empty" in unread[0].rule


def test_damaged_metadata_says_nothing_on_the_terminal_and_raises_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Pillow warns of EXIF data that end too soon; warnings are errors here."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x0f\x01\x02\0\xff\0\0\0\xf0\xf0"
    path = saved(tmp_path, "short.jpg", noise(6, 9, 3), exif=exif)
    assert find_common_shape([path])[2] == {}
    assert decode_all([path], 3, (9, 6), "decoding") == {}
    StreamedImages([path], torch.zeros(1, dtype=torch.int64), 3, Resize(9, 6), 1).gather(torch.tensor([0]))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["gif", "png", "webp", "tiff"])
def test_of_many_frames_or_pages_the_first_is_seen(tmp_path: Path, kind: str) -> None:
    first, *others = (Image.new("RGB", (6, 4), colour) for colour in ("red", "lime", "blue"))
    options = {"lossless": True} if kind == "webp" else {}
    path = saved(tmp_path, f"many.{kind}", first, save_all=True, append_images=others, **options)
    with Image.open(path) as opened_again:
        assert getattr(opened_again, "n_frames", 0) == 3
    assert np.array_equal(decode_image(path, 3).numpy(), chw(np.full((4, 6, 3), (255, 0, 0))))
    assert find_common_shape([path]) == (3, (4, 6), {})


# Files that claim to be huge


def png_of(width: int, height: int) -> bytes:
    whole = encoded("png")
    header = b"IHDR" + struct.pack(">II", width, height) + whole[24:29]
    return whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:]


def jpeg_of(width: int, height: int, **options: Any) -> bytes:
    whole = bytearray(encoded("jpeg", **options))
    marker = b"\xff\xc2" if options.get("progressive") else b"\xff\xc0"
    at = whole.index(marker) + 5
    whole[at : at + 4] = struct.pack(">HH", height, width)
    return bytes(whole)


def tiff_of(width: int, height: int) -> bytes:
    entries = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 64}
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items()
    ) + bytes(68)  # fmt: skip


def webp_of(width: int, height: int) -> bytes:
    inner = encoded("webp", lossless=True)[12:]
    extended = (
        b"VP8X" + struct.pack("<II", 10, 0) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    )
    return b"RIFF" + struct.pack("<I", 4 + len(extended) + len(inner)) + b"WEBP" + extended + inner


def gif_of(width: int, height: int) -> bytes:
    whole = encoded("gif")
    return whole[:6] + struct.pack("<HH", width, height) + whole[10:]


def bmp_of(width: int, height: int) -> bytes:
    whole = encoded("bmp")
    return whole[:18] + struct.pack("<ii", width, height) + whole[26:]


CLAIMS: dict[str, Callable[[int, int], bytes]] = {
    "png": png_of,
    "jpg": jpeg_of,
    "tif": tiff_of,
    "gif": gif_of,
    "bmp": bmp_of,
    "ppm": lambda width, height: b"P6 %d %d 255\n" % (width, height) + bytes(64),
}


@pytest.mark.parametrize("kind", CLAIMS)
def test_a_file_that_claims_more_pixels_than_memory_should_hold_is_named_with_their_number(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"bomb.{kind}"
    path.write_bytes(CLAIMS[kind](65500, 65500))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (unread,) = decode_all([path], 3, (8, 8), "decoding").values()
    (seen,) = find_common_shape([path])[2].values()
    assert unread == seen
    assert unread.key == str(path)
    assert f"{65500 * 65500:,} pixels" in unread.rule
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 2**17  # KiB
    assert capfd.readouterr() == ("", "")


def test_a_webp_that_claims_the_most_that_its_format_knows_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bomb.webp"
    path.write_bytes(webp_of(2**14, 2**14))
    (unread,) = decode_all([path], 3, (8, 8), "decoding").values()
    assert unread.key == str(path)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif"])
def test_a_small_file_that_claims_what_pillow_would_only_warn_of_is_named_without_a_warning(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"large.{kind}"
    path.write_bytes(CLAIMS[kind](10_000, 10_000)[:-16])
    if kind != "png":  # of which Pillow reads the pixels before it knows how they are turned
        assert find_common_shape([path]) == (3, (10_000, 10_000), {})
    (unread,) = decode_all([path], 3, (8, 8), "decoding").values()
    assert unread.key == str(path)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"comment": b"c" * 300}, {"exif": bytes(50)}])
def test_a_jpegs_pixels_are_those_of_its_frame_header(options: dict[str, Any]) -> None:
    assert count_jpeg_pixels(encoded("jpeg", (123, 45), **options)) == 123 * 45
    assert count_jpeg_pixels(jpeg_of(65500, 65500, **options)) == 65500 * 65500


def test_a_jpeg_whose_frame_header_hides_behind_something_odd_is_no_plain_one() -> None:
    whole = encoded("jpeg")
    for odd in (b"\xff\xd0\x10\x00", b"\xff\x01\x10\x00", b"\0\0", b"\xff\xe0\0\0", b"\xff\xff"):
        assert count_jpeg_pixels(whole[:2] + odd + whole[2:]) == 0
    for end in range(len(whole)):
        assert count_jpeg_pixels(whole[:end]) in (0, 9 * 7)


# Links and special files


def test_a_link_that_leads_back_up_lists_no_picture_twice_and_none_of_another_class(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "cat/deeper": 5, "dog": 10})
    expected = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.png"))
    for link, target in {
        "cat/up": "..", "cat/deeper/up": "..", "cat/deeper/top": "../..", "cat/self": ".", "cat/absolute": tmp_path,
        "cat/above": tmp_path.parent, "cat/a-second-way": "deeper", "loop": ".", "dog/x.png.d": "x.png.d",
    }.items():  # fmt: skip
        (tmp_path / link).symlink_to(target)
    data = opened(ImageFolder(root=str(tmp_path)), 8)
    assert data.class_names == ["cat", "dog"]
    assert sorted(name for names in names_of(data).values() for name in names) == expected
    assert [str(path.relative_to(tmp_path)) for path in find_images([tmp_path])] == expected


def test_pictures_and_folders_behind_links_belong_to_the_class_that_links_to_them(tmp_path: Path) -> None:
    folder_of(tmp_path / "elsewhere", {"one": 4, "two": 4})
    folder_of(tmp_path / "root", {"dog": 6, "cat": 1})
    (tmp_path / "root" / "cat" / "more").symlink_to(tmp_path / "elsewhere" / "one")
    for number in range(4):
        (tmp_path / "root" / "cat" / f"l{number}.png").symlink_to(tmp_path / "elsewhere" / "two" / f"0{number}.png")
    data = opened(ImageFolder(root=str(tmp_path / "root")), 8)
    found = sorted(name for names in names_of(data).values() for name in names if name.startswith("cat"))
    assert found == ["cat/00.png", *(f"cat/l{n}.png" for n in range(4)), *(f"cat/more/0{n}.png" for n in range(4))]


@pytest.mark.parametrize("on_error", ["raise", "skip"])
def test_broken_links_pipes_and_sockets_are_named_at_once_and_a_folder_with_a_pictures_name_is_a_folder(
    tmp_path: Path, on_error: Literal["raise", "skip"]
) -> None:
    folder_of(tmp_path, {"cat": 9, "dog": 8, "dog/folder.png": 2})
    (tmp_path / "cat" / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "cat" / "self.png").symlink_to("self.png")
    os.mkfifo(tmp_path / "dog" / "pipe.png")
    (tmp_path / "dog" / "device.png").symlink_to("/dev/zero")
    data = ImageFolder(root=str(tmp_path), on_error=on_error)
    if on_error == "raise":
        with pytest.raises(UserError) as caught:
            opened(data, 8)
        said = {Path(key).name: rule for key, rule in problems_of(caught).items() if key.endswith(".png")}
    else:
        said = {Path(name).name: reason for name, reason in opened(data, 8).skipped}
        assert sum(map(len, data.splits.values())) == 19
    assert set(said) == {"gone.png", "self.png", "pipe.png", "device.png"}
    assert "nowhere.png, which does not exist" in said["gone.png"]
    assert "pipe" in said["pipe.png"]


def test_a_class_that_is_a_link_to_nowhere_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "bird").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"bird\n +is a link to nowhere, which does not exist"):
        opened(ImageFolder(root=str(tmp_path)))


# Files that change while they are read


@pytest.mark.parametrize("size", [(8, 8), (200, 200)], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["jpg", "png"])
def test_a_file_that_is_written_to_while_it_is_read_is_named_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, size: tuple[int, int]
) -> None:
    path = saved(tmp_path, f"x.{kind}", noise(*size, 3), **({"quality": 100} if kind == "jpg" else {}))
    still = saved(tmp_path, f"y.{kind}", noise(*size, 3))
    real, seen = os.fstat, []

    def fstat(file: int) -> os.stat_result:
        if Path(f"/proc/self/fd/{file}").readlink() == path:
            seen.append(real(file))
            if len(seen) == 2:
                os.utime(path, ns=(0, seen[0].st_mtime_ns + 1))
        return real(file)

    monkeypatch.setattr(find.os, "fstat", fstat)
    first, second = decode_images([path, still], 3, (8, 8))
    assert isinstance(first, Problem)
    assert first.key == str(path)
    assert "changed while it was read" in first.rule
    assert isinstance(second, Tensor)
    monkeypatch.undo()
    (again,) = decode_images([path], 3, (8, 8))
    assert isinstance(again, Tensor)


def test_a_file_that_grows_while_pillow_reads_it_is_named_whatever_pillow_made_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = saved(tmp_path, "x.png", noise(200, 200, 3)).read_bytes()
    path = tmp_path / "half.png"
    path.write_bytes(whole[: len(whole) // 2])
    real = Image.open

    def open_and_append(*args: Any, **kwargs: Any) -> Any:
        found = real(*args, **kwargs)
        with path.open("ab") as file:
            file.write(whole[len(whole) // 2 :])
        return found

    monkeypatch.setattr(Image, "open", open_and_append)
    with pytest.raises(OSError, match="changed while it was read"):
        decode_image(path, 3)


# data.on_error=skip


def mixed(root: Path, count: int = 20) -> Path:
    """<root>/<class>/<n>.png of mixed sizes, so many of each of two classes."""
    return folder_of(root, {"cat": count, "dog": count}, size=None)


HARM: dict[str, Callable[[bytes], bytes]] = {
    "cat/00.png": lambda whole: b"no picture",
    "cat/07.png": lambda whole: whole[: len(whole) // 2],
    "dog/01.png": lambda whole: b"",
    "dog/12.png": lambda whole: whole[:60],
    "dog/19.png": lambda whole: whole[:-100],
}


def harm(root: Path, names: list[str] | None = None) -> list[str]:
    for name in names or HARM:
        (root / name).write_bytes(HARM.get(name, HARM["cat/07.png"])((root / name).read_bytes()))
    return list(names or HARM)


@pytest.mark.parametrize("storage", ["memory", "disk", "stream"])
def test_skipped_pictures_are_left_out_and_the_others_stay_in_the_splits_that_they_were_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, storage: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = mixed(tmp_path / "root")
    before = names_of(kept(root, storage, workers=1))
    harmed = harm(root)
    for _ in range(2):  # the second time, what is on disk is used again
        data = kept(root, storage, workers=1, on_error="skip")
        expected = {split: [name for name in names if name not in harmed] for split, names in before.items()}
        assert names_of(data) == expected
        facts = data.summarise()
        assert sorted(each["picture"] for each in facts["skipped"]) == sorted(harmed)
        assert all(each["reason"] for each in facts["skipped"])
        assert facts["split_sizes"] == {split: len(names) for split, names in expected.items()}
        assert facts["class_counts"] == [sum(n.startswith(c) for n in expected["train"]) for c in ("cat", "dog")]
        for split, names in expected.items():
            pixels, labels = data.images[split].gather(torch.arange(len(names)))
            assert labels.tolist() == [int(name.startswith("dog")) for name in names]
            for name, picture in zip(names, pixels, strict=True):
                resized = Image.open(root / name).resize((8, 8), Image.Resampling.BILINEAR)
                assert np.array_equal(picture.numpy(), chw(np.asarray(resized)))
        seen = sorted(place for batch in batches_of(data, "train", 0) for place in batch[0])
        assert seen == list(range(len(expected["train"])))


def test_the_fingerprint_is_that_of_the_pictures_that_are_left(tmp_path: Path) -> None:
    for split, count in (("train", 9), ("val", 3), ("test", 4)):
        folder_of(tmp_path / "a" / split, {"cat": count, "dog": count}, size=None)
        folder_of(tmp_path / "b" / split, {"cat": count, "dog": count}, size=None)
    for name in ("train/cat/03.png", "test/dog/00.png"):
        harm(tmp_path / "a", [name])
        (tmp_path / "b" / name).unlink()
    ours, theirs = kept(tmp_path / "a", "memory", on_error="skip"), kept(tmp_path / "b", "memory")
    assert ours.summarise() | {"skipped": []} == theirs.summarise()
    assert [name for name, _ in ours.skipped] == ["train/cat/03.png", "test/dog/00.png"]


def test_without_skipping_the_unread_pictures_of_all_splits_are_named_in_one_list(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        mixed(tmp_path / split, 6)
    broken = [
        f"{split}/{name}/0{n}.png" for split in ("train", "val", "test") for name in ("cat", "dog") for n in (1, 4)
    ]
    harm(tmp_path, broken[::2])
    for name in broken[1::2]:
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(UserError) as caught:
        kept(tmp_path, "memory")
    *named, conclusion = caught.value.problems
    assert [problem.key for problem in named] == [str(tmp_path / name) for name in broken]
    assert str(caught.value).startswith("12 unreadable images in data.root:\n")
    assert conclusion.rule == "12 of 36 images are unreadable"
    assert "data.on_error=skip" in conclusion.remedy
    assert all(str(tmp_path / name) in str(caught.value) for name in broken)


def test_a_run_that_skips_says_so_and_is_scored_again_without_the_same_pictures(
    tmp_path: Path, viewfinder: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    root = mixed(tmp_path / "root")
    whole = kept(root, "memory")
    broken = sorted(name for split, names in names_of(whole).items() for name in names[: 6 if split == "train" else 2])
    harm(root, broken)
    typed = ["data=image_folder", f"data.root={root}", "data.on_error=skip", "model.image_size=8", *QUICK]
    run = train_into(tmp_path / "run", *typed, "data.storage=stream", "data.workers=1", "trainer.max_epochs=1")
    terminal, log = capsys.readouterr().out, run.log.read_text(encoding="utf-8")
    assert "10 unreadable images" in terminal
    assert sum(name in terminal for name in broken) == 5
    assert "and 5 more" in terminal
    assert all(name in log for name in broken)
    data = json.loads(run.data.read_text(encoding="utf-8"))
    assert sorted(each["picture"] for each in data["skipped"]) == broken
    with run.predictions.open(encoding="utf-8", newline="") as file:
        pictures = [row["picture"] for row in csv.DictReader(file)]
    assert pictures == [name for name in names_of(whole)["test"] if name not in broken]
    assert "10 unreadable, listed in data.json" in run.report.read_text(encoding="utf-8")
    for split in ("test", "val", "train"):
        answer = viewfinder("evaluate", run.path, "--split", split)
        assert answer.code == 0
        assert f"skipped  {6 if split == 'train' else 2} unreadable images" in answer.out
        if split != "train":
            assert "Equal to scores.json." in answer.out


def test_skipping_all_of_a_split_or_of_a_class_in_training_is_refused(tmp_path: Path) -> None:
    for split in ("train", "val", "test"):
        mixed(tmp_path / split, 3)
    whole = {path: path.read_bytes() for path in tmp_path.rglob("*.png")}
    for lost, said in {
        "train/dog": "the train split\n    has no readable images of dog",
        "val": "the val split\n    has no readable images",
        "": "the test split\n    has no readable images",
    }.items():
        for cut in (20, -70):  # in the header, and in the pixels
            for path, content in whole.items():
                path.write_bytes(content[:cut] if path.is_relative_to(tmp_path / lost) else content)
            with pytest.raises(UserError) as caught:
                kept(tmp_path, "memory", on_error="skip")
            assert said in str(caught.value)
    for path, content in whole.items():  # a class that a split other than training loses is no error
        path.write_bytes(content[:20] if path.is_relative_to(tmp_path / "val" / "dog") else content)
    assert kept(tmp_path, "memory", on_error="skip").summarise()["split_sizes"] == {"train": 6, "val": 3, "test": 6}


def test_what_the_cache_lacks_is_tried_again_each_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file may not have been allowed to be read, which is no part of its content."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    root = mixed(tmp_path / "root")
    path, whole = root / "cat" / "05.png", kept(root, "memory").summarise()
    content, facts = path.read_bytes(), path.stat()
    for bytes_now, skipped in (
        (bytes(len(content)), ["cat/05.png"]),
        (content, []),
        (bytes(len(content)), ["cat/05.png"]),
    ):
        path.write_bytes(bytes_now)
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        data = kept(root, "disk", on_error="skip")
        assert [name for name, _ in data.skipped] == skipped
    path.write_bytes(content)
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert kept(root, "disk").summarise()["fingerprint"] == whole["fingerprint"]


def test_predict_names_every_file_that_it_cannot_read(tmp_path: Path, finished: Any, viewfinder: Type) -> None:
    root = mixed(tmp_path / "root")
    os.mkfifo(root / "cat" / "pipe.png")
    (root / "cat" / "bomb.jpg").write_bytes(jpeg_of(65500, 65500))
    harmed = [*harm(root), "cat/pipe.png", "cat/bomb.jpg"]
    answer = viewfinder("predict", finished.path, root)
    assert answer.code == 2
    assert "7 problems" in answer.err
    assert all(str(root / name) in answer.err for name in harmed)
    assert answer.out.count(".png") == 40 - 5


# Odd names


@pytest.mark.parametrize("name", ["x" * 300, "x/" * 3000, "~no-such-person/pictures"])
def test_a_path_that_no_system_can_open_is_named(tmp_path: Path, name: str) -> None:
    root = name if name.startswith("~") else f"{tmp_path}/{name}"
    with pytest.raises(UserError) as caught:
        opened(ImageFolder(root=root))
    assert [problem.key for problem in caught.value.problems] == ["data.root"]
    with pytest.raises(UserError, match=r"cannot be opened|does not exist"):
        find_images([Path(root)])


ODD = [
    "new\nline", "quo\"te'`", os.fsdecode(b"caf\xe9"), "x" * 240, "--leading", "-", "\U0001f600", "$x^", "a,b;c\t|",
    "\x1b[31mred", "<script>", "%s{}", "[bold]", ":smile:", " ", "a=b", "\u65e5\u672c", "null", "\u202eright-to-left",
]  # fmt: skip


@pytest.fixture(scope="module")
def oddly_named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A class of each odd name, and in each of them a picture of each."""
    root = tmp_path_factory.mktemp("odd")
    for label, name in enumerate(ODD):
        for number, inner in enumerate(ODD):
            path = root / name / f"{inner}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(noise(4, 4, 3, seed=100 * label + number)).save(path, "png")
    return root


def test_training_on_oddly_named_pictures_and_classes_ends_in_files_that_can_be_read(
    oddly_named: Path, tmp_path: Path, viewfinder: Type, capsys: pytest.CaptureFixture[str]
) -> None:
    typed = ["data=image_folder", f"data.root={oddly_named}", "model.image_size=8", *QUICK, "trainer.max_epochs=1"]
    run = train_into(tmp_path / "run", *typed)
    assert capsys.readouterr().err == ""
    texts = {path.name: path.read_bytes().decode() for path in run.path.iterdir() if path.suffix in TEXTS}
    assert len(texts) >= 7
    names = json.loads(texts["data.json"])["class_names"]
    shown = {name: name.replace("\udce9", "\\xe9") for name in ODD}
    assert names == [shown[name] for name in sorted(ODD)]
    with run.predictions.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["picture", "true", "predicted", *(f"p_{name}" for name in names)]
    pictures = {f"{shown[name]}/{shown[inner]}.png" for name in ODD for inner in ODD}
    assert len({row[0] for row in rows}) == len(rows) == round(0.2 * len(ODD) ** 2)
    assert {row[0] for row in rows} <= pictures
    assert all(row[0].startswith(f"{row[1]}/") for row in rows)
    assert "&lt;script&gt;" in texts["report.html"]
    assert "\x1b" not in texts["train.log"]
    events = EventAccumulator(str(run.path))
    events.Reload()
    assert "val/accuracy" in events.Tags()["scalars"]
    assert viewfinder("evaluate", run.path).out.rstrip().endswith("Equal to scores.json.")
    answer = viewfinder("predict", run.path, oddly_named / "--leading", "--csv", tmp_path / "p.csv")
    assert (answer.code, answer.err) == (0, "")
    assert "\x1b" not in answer.out
    assert ":smile:" in answer.out
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        assert len(list(csv.reader(file))) == len(ODD) + 1


TEXTS = (".csv", ".json", ".html", ".yaml", ".log")


def test_oddly_named_broken_pictures_are_named_on_a_line_each(oddly_named: Path, tmp_path: Path) -> None:
    paths = [tmp_path / f"{name}.png" for name in ODD]
    for path in paths:
        path.write_bytes(b"no picture")
    problems = decode_all(paths, 3, (4, 4), "decoding")
    assert len(problems) == len(ODD)
    said = str(UserError("the pictures", list(problems.values()), most=len(ODD)))
    assert len(said.encode().splitlines()) == 1 + 2 * len(ODD)
    assert "new\\x0aline.png" in said or "new\\nline.png" in said
    assert "caf\\xe9.png" in said


def test_pictures_below_a_folder_that_cannot_be_listed_are_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder_of(tmp_path, {"cat": 2, "locked": 2})
    real = os.scandir

    def scandir(path: Any) -> Any:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(UserError, match=r"locked\n +cannot be listed: Permission denied"):
        list_images(tmp_path)
