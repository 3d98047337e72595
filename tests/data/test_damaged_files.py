"""Damaged and hostile files are decoded or named."""

import resource
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import CLAIMS, FORMATS, encode_image, noise, save_image, webp_claiming

from viewfinder.data.decode import decode_images
from viewfinder.data.decode_parallel import decode_all
from viewfinder.data.headers import find_common_shape
from viewfinder.data.resize import Resize
from viewfinder.data.stream import StreamedImages
from viewfinder.errors import Problem


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("desk")


@pytest.mark.parametrize("kind", FORMATS)
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(draw=st.data())
def test_a_damaged_file_of_any_format_is_an_image_of_the_wanted_shape_or_is_named(
    shared_folder: Path, kind: str, draw: st.DataObject
) -> None:
    content = bytearray(encode_image(kind))
    content = content[: draw.draw(st.integers(0, len(content)) | st.just(len(content)))]
    for place in draw.draw(st.lists(st.integers(0, max(0, len(content) - 1)), max_size=4)):
        if content:
            content[place] = draw.draw(st.integers(0, 255))
    path = shared_folder / f"damaged.{kind}"
    path.write_bytes(content)
    (actual,) = decode_images([path], 3, (8, 8))
    if isinstance(actual, Problem):
        assert actual.key == str(path)
        assert actual.rule
    else:
        assert (tuple(actual.shape), actual.dtype) == ((3, 8, 8), torch.uint8)
        assert find_common_shape([path])[2] == {}  # what can be decoded has a header that can be read


@pytest.mark.parametrize("kind", FORMATS)
def test_a_file_cut_off_in_its_header_is_always_named(tmp_path: Path, kind: str) -> None:
    whole = encode_image(kind)
    paths = [tmp_path / f"{count:02}.{kind}" for count in range(12)]
    for count, path in enumerate(paths):
        path.write_bytes(whole[:count])
    unread = decode_all(paths, 3, (8, 8), "decoding")
    assert list(unread) == list(range(12))
    assert [unread[place].key for place in unread] == list(map(str, paths))
    assert "empty" in unread[0].rule


def test_damaged_metadata_prints_and_raises_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Pillow warns of EXIF data that end too soon; warnings are errors here."""
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x0f\x01\x02\0\xff\0\0\0\xf0\xf0"
    path = save_image(tmp_path, "short.jpg", noise(6, 9, 3), exif=exif)
    assert find_common_shape([path])[2] == {}
    assert decode_all([path], 3, (9, 6), "decoding") == {}
    StreamedImages([path], torch.zeros(1, dtype=torch.int64), 3, Resize(9, 6), 1).gather(torch.tensor([0]))
    assert capfd.readouterr() == ("", "")


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
    path.write_bytes(webp_claiming(2**14, 2**14))
    (unread,) = decode_all([path], 3, (8, 8), "decoding").values()
    assert unread.key == str(path)


@pytest.mark.parametrize("kind", ["png", "jpg", "gif"])
def test_a_small_file_that_claims_what_pillow_would_only_warn_of_is_named_without_a_warning(
    tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"large.{kind}"
    path.write_bytes(CLAIMS[kind](10_000, 10_000)[:-16])
    if kind != "png":  # of which Pillow reads the pixels before it knows how they are turned
        assert find_common_shape([path])[:3] == (3, (10_000, 10_000), {})
    (unread,) = decode_all([path], 3, (8, 8), "decoding").values()
    assert unread.key == str(path)
    assert capfd.readouterr() == ("", "")
