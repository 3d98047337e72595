"""Classification of image files by a run, decoded in threads while the network computes."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from viewfinder.data.ahead import load_batches
from viewfinder.data.decode import FILES_PER_CALL, decode_images
from viewfinder.data.jpeg import load_jpeg_decoder
from viewfinder.errors import Problem
from viewfinder.evaluation.classified import Classified
from viewfinder.experiment.load import OpenedRun

BATCH_SIZE = 128
CPU_BATCH_SIZE = 32
"""Images of a batch on a CPU, whose cache holds the activations of a few images only."""


def classify(opened: OpenedRun, files: Sequence[str]) -> Iterator[Classified]:
    """Classify image files, decoded and resized as in training; yield a result for every batch."""
    channels, size = opened.picture_shape
    is_on_cpu = opened.trainer.strategy.root_device.type == "cpu"
    batch_size = CPU_BATCH_SIZE if is_on_cpu else BATCH_SIZE
    load_jpeg_decoder()  # once, before threads need it
    batches = load_batches(lambda part: decode_images(part, channels, size), files, batch_size, FILES_PER_CALL)
    for names, images, problems in batches:
        rows = opened.logits(torch.stack(images)) if images else torch.empty(0, len(opened.class_names)).double()
        yield describe_logits(names, rows, opened.class_names, problems)


def describe_logits(
    names: list[str], logits: Tensor, class_names: list[str], problems: Sequence[Problem] = ()
) -> Classified:
    """Return the classes of images with the given logits, (N, K) float64."""
    return Classified(names, logits.softmax(1).numpy(), logits.argmax(1).numpy(), class_names, list(problems))
