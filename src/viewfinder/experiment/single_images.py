"""Refusal of training on single images, where the network needs several at once."""

import copy

import torch

from viewfinder.data.module import ImageData
from viewfinder.errors import Problem, UserError
from viewfinder.training.classifier import Classifier

BATCH_NORM = "Expected more than 1 value per channel"
INSTANCE_NORM = "Expected more than 1 spatial element"
"""Beginnings of torch's errors."""


def refuse_single_images(data: ImageData, classifier: Classifier) -> None:
    """Raise UserError if training has batches of one image and the network normalises over the images of a batch.

    A last batch of one image needs no refusal: `EpochOrder` leaves it out.
    """
    count = len(data.images["train"])
    if data.batch_size > 1 and count > 1:
        return
    network, phases = copy.deepcopy((classifier.network, classifier.phases))
    pixels, _ = data.images["train"].gather(torch.zeros(1, dtype=torch.int64))
    try:
        for epoch in phases.starts if phases else [0]:
            if phases:
                phases.enter(epoch)
            with torch.random.fork_rng(devices=[]), torch.no_grad():
                network.train()(classifier.preprocess(pixels))
    except ValueError as error:
        if str(error).startswith(INSTANCE_NORM):
            rule = f"{type(network).__name__} normalises over the pixels of an image (instance norm): only one is left"
            problem = Problem("model", rule, remedy="Use larger images, or fewer layers that make them smaller.")
            raise UserError("the configuration", [problem]) from error
        if not str(error).startswith(BATCH_NORM):
            raise
        rule = f"{type(network).__name__} normalises over a batch (batch norm), which takes at least two images"
        problem = Problem("data.batch_size", rule, str(data.batch_size), "Use 2 or more.")
        if data.batch_size > 1:
            problem = Problem("the train split", rule, f"{count} image", "Add images.")
        raise UserError("the configuration", [problem]) from error
