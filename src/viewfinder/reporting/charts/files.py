"""Files of charts and images."""

import base64
import io
from pathlib import Path

import matplotlib
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
    return encode_content(content, "image/png")


def encode_content(content: bytes, kind: str) -> str:
    """Return the content of a file as a data URL."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def encode_svg(figure: Figure) -> str:
    """Return a chart as SVG in a data URL, with text as text: sharp at any zoom, and smaller than a PNG file."""
    file = io.BytesIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "viewfinder"}):  # equal charts, equal files
        figure.savefig(file, format="svg", metadata={"Date": None})
    return encode_content(file.getvalue(), "image/svg+xml")
