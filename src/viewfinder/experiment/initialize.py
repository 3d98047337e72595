"""Initialisation of a new network from training images."""

import torch
from torch import nn

from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import get_preprocess
from viewfinder.errors import Problem, UserError, format_exception

METHOD = "initialize_from_images"
"""Method of a network that receives training images, (N, C, H, W) float, before the first step of a new run."""
MAX_IMAGES = 5000
MAX_BYTES = 2**28
"""Largest size of these images as float32."""


def initialize_network(network: nn.Module, data: ImageData) -> None:
    """Pass evenly spaced images of the training split, preprocessed, to a network that initialises itself from images.

    They depend on the data alone, so all processes and all runs on the same data pass the same ones.

    Raises:
        UserError: if an image is unreadable, or the network fails.
    """
    method = getattr(network, METHOD, None)
    if method is None:
        return
    images, preprocess = data.images["train"], get_preprocess(network)
    size = 4 * images.shape[0] * preprocess.image_size**2
    count = min(len(images), MAX_IMAGES, max(1, MAX_BYTES // size))
    pixels, _ = images.gather(torch.arange(count) * len(images) // count)
    try:
        with torch.no_grad():
            method(preprocess(pixels))
    except UserError:
        raise
    except Exception as error:
        rule = f"{METHOD} of {type(network).__name__} fails: {format_exception(error)}"
        raise UserError("the network", [Problem("model", rule, remedy="Fix that line.")]) from error
