"""Parts of an image that a classification rests on: Grad-CAM and occlusion, by captum."""

import torch
from captum.attr import LayerGradCam, Occlusion
from torch import Tensor, nn

OCCLUSION_STEPS = 8
"""Squares along each side of the image; each is hidden once."""
IMAGES_PER_PASS = 16
"""Occluded images per forward pass."""


def compute_grad_cam(network: nn.Module, layer: nn.Module, image: Tensor, label: int) -> Tensor:
    """Return where the maps of a layer speak for a class (Selvaraju et al. 2017, "Grad-CAM").

    Each map is weighted by the mean gradient of the class's logit; negative sums become 0.

    Args:
        network: in evaluation mode.
        layer: a module of the network that is called once and whose output is (N, C, h, w).
        image: (1, C, H, W) float.
        label: position of the class.

    Returns:
        (h, w) float32 on the CPU, from 0 to 1; all 0 if nothing speaks for the class.
    """
    inputs = image.clone().requires_grad_(True)
    with torch.enable_grad():
        maps = LayerGradCam(network, layer).attribute(inputs, target=label, relu_attributions=True)
    assert isinstance(maps, Tensor)
    heat = maps[0, 0].detach().float().cpu()
    return heat / heat.max() if heat.max() > 0 else heat


def compute_occlusion(network: nn.Module, image: Tensor, grey: Tensor, label: int) -> Tensor:
    """Return by how much the probability of a class falls when a square of the image is hidden.

    Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks". The squares are an eighth of the
    image wide and do not overlap.

    Args:
        network: in evaluation mode.
        image: (1, C, H, W) float.
        grey: (1, C, 1, 1) float, the colour that hides a square.
        label: position of the class.

    Returns:
        (H, W) float32 on the CPU; negative where hiding makes the class more probable.
    """
    window = -(-image.shape[-1] // OCCLUSION_STEPS)
    shape = (image.shape[1], window, window)
    with torch.no_grad():
        drops = Occlusion(lambda images: network(images).softmax(1)).attribute(
            image, sliding_window_shapes=shape, strides=shape, baselines=grey.expand_as(image), target=label,
            perturbations_per_eval=IMAGES_PER_PASS,
        )  # fmt: skip
    assert isinstance(drops, Tensor)
    return drops[0, 0].float().cpu()
