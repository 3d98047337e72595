"""PNG files of charts and images."""

import base64
from pathlib import Path

from matplotlib.figure import Figure
from PIL import Image

from viewfinder.runs.atomic import replace_file

DOTS_PER_INCH = 130


def save_figure(figure: Figure, path: Path) -> None:
    with replace_file(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DOTS_PER_INCH)


def save_image(image: Image.Image, path: Path) -> None:
    with replace_file(path) as temporary:
        image.save(temporary, format="png")


def encode_data_url(path: Path) -> str:
    """Return a PNG file as a data URL."""
    return encode_png(path.read_bytes())


def encode_png(content: bytes) -> str:
    """Return the content of a PNG file as a data URL."""
    return "data:image/png;base64," + base64.b64encode(content).decode()
