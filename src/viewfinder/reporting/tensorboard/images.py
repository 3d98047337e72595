"""Images in TensorBoard."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from viewfinder.reporting.tensorboard.events import PREFIX
from viewfinder.reporting.tensorboard.internals import Summary


def summarise_image(tag: str, image: Image.Image) -> Any:
    """Return the summary of an image.

    SummaryWriter.add_image converts to float and compresses as far as possible, which is slow.
    """
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1)
    return summarise_png(tag, image, file.getvalue())


def summarise_png(tag: str, image: Image.Image, content: bytes) -> Any:
    """Return the summary of an image whose PNG file has some content."""
    encoded = Summary.Image(
        height=image.height, width=image.width, colorspace=len(image.getbands()), encoded_image_string=content
    )
    return Summary(value=[Summary.Value(tag=tag, image=encoded)])


def replace_images(folder: Path, images: Mapping[str, Image.Image], step: int) -> None:
    """Write images to the events of a folder in place of its earlier events.

    Args:
        folder: the folder, which TensorBoard shows as a run of its own.
        images: images by tag.
        step: epoch of the weights.

    Raises:
        OSError: if the events cannot be written.
    """
    for path in folder.glob(f"{PREFIX}*"):
        path.unlink()
    with SummaryWriter(str(folder)) as writer:
        events: Any = writer.file_writer
        for tag, image in images.items():
            events.add_summary(summarise_image(tag, image), step)
