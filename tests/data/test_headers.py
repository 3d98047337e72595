"""Headers give the channels and sizes that decoding gives."""

from pathlib import Path

import pytest
from image_files import noise, save_image
from PIL import Image

from viewfinder.data.decode import decode_image
from viewfinder.data.headers import find_common_shape, read_header


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16"])
def test_header_and_decoded_image_agree_for_every_mode(tmp_path: Path, mode: str) -> None:
    suffix = "tif" if mode in ("CMYK", "YCbCr") else "png"
    base = Image.fromarray(noise(6, 9, 3))
    image = base.convert("L").convert(mode) if mode == "I;16" else base.convert(mode)
    # Pillow before 13 cannot read the uncompressed YCbCr files that it writes.
    options = {"compression": "tiff_lzw"} if mode == "YCbCr" else {}
    path = save_image(tmp_path, f"x.{suffix}", image, **options)
    size, channels, _ = read_header(path)
    assert channels == (1 if mode in ("1", "L", "LA", "I;16") else 3)
    assert tuple(decode_image(path, channels).shape) == (channels, *size)


def test_common_shape_is_what_all_images_share(tmp_path: Path) -> None:
    grey, other = save_image(tmp_path, "g.png", noise(4, 6)), save_image(tmp_path, "h.png", noise(4, 7))
    colour = save_image(tmp_path, "c.png", noise(4, 6, 3))
    assert find_common_shape([grey])[:3] == (1, (4, 6), {})
    assert find_common_shape([grey, colour])[:3] == (3, (4, 6), {})
    assert find_common_shape([grey, other])[:3] == (1, None, {})
