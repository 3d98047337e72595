"""Images of an inspection: chosen files, the worst mistakes, and test images on which units are tried."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from viewfinder.data.decode import decode_images
from viewfinder.data.module import ImageData
from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.evaluation.mistakes import read_worst_mistakes
from viewfinder.experiment.load import OpenedRun
from viewfinder.models.feature_maps import compute_feature_maps, find_map_layer
from viewfinder.reporting.charts.images import resize_to_side
from viewfinder.reporting.charts.layer_images import HEAT_SIDE, MAX_MAPS, draw_heat, draw_maps
from viewfinder.reporting.inspection import Example, Sheet

BATCH_SIZE = 64
GREY = 128
"""Level of the squares that hide parts of an image."""
NO_CAPTUM = 'Grad-CAM and occlusion: captum is not installed; pip install "viewfinder[inspect]"'


class Sample(NamedTuple):
    """An image to show.

    Args:
        title: its name.
        pixels: (C, H, W) uint8.
        preprocess: how it gets to the network.
        label: position of its true class; None if it is unknown.
    """

    title: str
    pixels: Tensor
    preprocess: Preprocess
    label: int | None = None


def read_samples(opened: OpenedRun, files: Sequence[Path]) -> list[Sample]:
    """Read image files as `predict` does.

    Raises:
        UserError: listing the unreadable ones.
    """
    channels, size = opened.picture_shape
    images = list(decode_images(files, channels, size))
    if problems := [image for image in images if isinstance(image, Problem)]:
        raise UserError("the images", problems)
    return [
        Sample(str(path), image, opened.file_preprocess)
        for path, image in zip(files, images, strict=True)
        if isinstance(image, Tensor)
    ]


def read_mistakes(opened: OpenedRun, data: ImageData, count: int, left_out: list[str]) -> list[Sample]:
    """Return the worst mistakes of predictions.csv; add to `left_out` why any are missing."""
    if not count:
        return []
    try:
        mistakes = read_worst_mistakes(opened.folder, opened.class_names, count)
    except UserError as error:
        left_out.append(f"worst mistakes: {error.reason}")
        return []
    positions = {name: position for position, name in enumerate(data.splits["test"].names)}
    found = [mistake for mistake in mistakes if mistake.picture in positions]
    if len(found) < len(mistakes):
        left_out.append(f"{len(mistakes) - len(found)} of the worst mistakes: not among these test images")
    samples = []
    for mistake in found:
        pixels, _ = data.images["test"].gather(torch.tensor([positions[mistake.picture]]))
        label = opened.class_names.index(mistake.true)
        samples.append(Sample(mistake.picture, pixels[0], opened.classifier.preprocess, label))
    return samples


def iterate_batches(data: ImageData, count: int, preprocess: Preprocess, device: torch.device) -> Iterator[Tensor]:
    """Yield evenly spaced test images as inputs of the network."""
    images = data.images["test"]
    positions = torch.arange(count) * len(images) // count
    with tqdm(total=count, desc="units that fire", unit=" images", leave=False, disable=None, delay=1) as bar:
        for part in positions.split(BATCH_SIZE):
            pixels, _ = images.gather(part)
            yield preprocess(pixels.to(device))
            bar.update(len(part))


def show_samples(
    network: nn.Module, samples: Sequence[Sample], class_names: list[str], device: torch.device, left_out: list[str]
) -> list[Example]:
    """Return feature maps and attributions of images; add to `left_out` what a network does not have."""
    if not samples:
        return []
    inputs = [sample.preprocess(sample.pixels[None].to(device)) for sample in samples]
    name, has_captum = find_map_layer(network, inputs[0]), find_spec("captum") is not None
    if not has_captum:
        left_out.append(NO_CAPTUM)
    elif name is None:
        left_out.append("Grad-CAM: the network has no feature maps after the first half of its layers")
    examples = []
    bar = tqdm(samples, desc="attributions", unit=" images", leave=False, disable=None, delay=1)
    for number, (sample, image) in enumerate(zip(bar, inputs, strict=True), 1):
        with torch.inference_mode():
            probabilities = network(image).softmax(1)[0].cpu()
        predicted = int(probabilities.argmax())
        verdict = f"predicted {class_names[predicted]} ({probabilities[predicted]:.1%})"
        if sample.label is not None:
            verdict += f", is {class_names[sample.label]} ({probabilities[sample.label]:.1%})"
        maps = [
            Sheet(
                f"maps_{number}_{place:02}", block,
                f"{min(len(values), MAX_MAPS)} of {len(values):,} maps of {values.shape[1]} x {values.shape[2]}, "
                "those that vary most",
                draw_maps(values),
            )
            for place, (block, values) in enumerate(compute_feature_maps(network, image).items(), 1)
        ]  # fmt: skip
        labels = [predicted] if sample.label in (None, predicted) else [predicted, sample.label]
        heats = _draw_heats(network, name, sample, image, labels, class_names, number) if has_captum else []
        seen = resize_to_side(restore_pixels(image, sample.preprocess), HEAT_SIDE)
        examples.append(Example(sample.title, verdict, seen, maps, heats))
    return examples


def restore_pixels(image: Tensor, preprocess: Preprocess) -> Tensor:
    """Return an input of the network, (1, C, H, W), as an image (C, H, W) uint8 on the CPU, cropped as it is."""
    return ((image + preprocess.shift) / preprocess.scale)[0].round().clamp(0, 255).byte().cpu()


def _draw_heats(
    network: nn.Module, layer: str | None, sample: Sample, image: Tensor, labels: Sequence[int],
    class_names: list[str], number: int,
) -> list[Sheet]:  # fmt: skip
    """Draw Grad-CAM for each class, and occlusion for the first one."""
    from viewfinder.evaluation.attributions import compute_grad_cam, compute_occlusion

    pixels, sheets = restore_pixels(image, sample.preprocess), []
    for place, label in enumerate(labels if layer is not None else [], 1):
        heat = compute_grad_cam(network, network.get_submodule(layer or ""), image, label)
        note = f"for {class_names[label]}, at {layer}" + ("" if heat.max() > 0 else "; nothing speaks for it")
        sheets.append(Sheet(f"grad_cam_{number}_{place}", "Grad-CAM", note, draw_heat(pixels, heat)))
    channels, side = pixels.shape[0], image.shape[-1]
    grey = sample.preprocess(torch.full((1, channels, side, side), GREY, dtype=torch.uint8, device=image.device))
    drops = compute_occlusion(network, image, grey[..., :1, :1], labels[0])
    note = (
        f"a hidden square lowers the probability of {class_names[labels[0]]} by up to {max(float(drops.max()), 0):.2f}"
    )
    sheets.append(Sheet(f"occlusion_{number}", "Occlusion", note, draw_heat(pixels, drops)))
    return sheets
