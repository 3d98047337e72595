"""Streamed images are read when they are needed."""

from pathlib import Path

import pytest
from image_data import collect_batches, open_stored
from image_files import write_album

from viewfinder.errors import UserError


def test_an_image_that_breaks_is_named_when_a_stream_comes_to_it(tmp_path: Path) -> None:
    album = write_album(tmp_path / "album")
    data = open_stored(album, "stream", workers=1, val_fraction=0.1, test_fraction=0.1)
    for path in album.rglob("*.png"):
        path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"\.png\n +cannot be read|\.png\n +unsupported or corrupt"):
        collect_batches(data, "train", 0)
