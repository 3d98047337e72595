"""The layers of every network that ships have the numbers of other counters."""

import math
from typing import Any

import pytest
import torch
from conftest import ROOT
from torch import nn
from torchvision.models import get_model_weights
from torchvision.models.swin_transformer import ShiftedWindowAttention

from viewfinder.config.overrides import compose_config
from viewfinder.experiment.build import build_network
from viewfinder.models.feature_maps import find_map_layer
from viewfinder.models.layers import Layer, list_layers
from viewfinder.models.summary import summarise_network
from viewfinder.reporting.inspection import format_field

QUICK = ("mlp", "simple_cnn", "custom_cnn", "resnet50")
MODELS = [
    path.stem if path.stem in QUICK else pytest.param(path.stem, marks=pytest.mark.slow)
    for path in sorted((ROOT / "conf" / "model").glob("*.yaml"))
]
GRAD_CAM_LAYERS = {
    "mlp": None,
    "simple_cnn": "features.2",
    "custom_cnn": "features.3.5",
    "resnet50": "backbone.layer4",
    "timm": "backbone.layer4",
    "vgg16": "backbone.features.29",
    "alexnet": "backbone.features.11",
    "densenet121": "backbone.features",
    "inception_v3": "backbone.Mixed_7c",
    "mobilenet_v3_large": "backbone.features",
    "efficientnet_b0": "backbone.features",
    "convnext_tiny": "backbone.features",
    "swin_t": "backbone.permute",
    "vit_b_16": None,
    "airbench": "blocks",
    "resnet18_cifar": "backbone.layer4",
    "vit": None,
    "convmixer": "blocks",
}
FIELDS = {
    "resnet50": {"backbone.conv1": "7", "backbone.layer4.2.conv3": "427", "head.1": "all"},
    "vgg16": {"backbone.features.28": "196", "backbone.features.30": "212"},
    "swin_t": {"backbone.features.0.0": "4", "backbone.features.1.0.attn": "?", "head.1": "all"},
    "vit_b_16": {
        "backbone.conv_proj": "16",
        "backbone.encoder.layers.encoder_layer_0.self_attention": "all",
        "head.1": "all",
    },
    "airbench": {"whitening": "2", "blocks.0.conv1": "4", "blocks.0.conv2": "9", "head": "all"},
    "resnet18_cifar": {"backbone.conv1": "3", "backbone.layer1.1.conv2": "11", "backbone.fc": "all"},
    "vit": {"patches": "4", "encoder.0.self_attn": "all", "head": "all"},
    "convmixer": {"stem.0": "2", "blocks.0.depthwise.0": "10", "blocks.1.depthwise.0": "18", "head": "all"},
    "efficientnet_b0": {"backbone.features.0.0": "3", "backbone.features.1.0.block.1.fc1": "all"},
}
"""Sides in pixels: 212 of VGG-16 is the figure of Araujo et al. 2019; attention and squeeze-and-excitation see all."""


def count_multiply_adds(network: nn.Module, layers: list[Layer]) -> dict[str, int]:
    """Count by the shapes of inputs and outputs, for each kind of layer that multiplies."""
    counts = {}
    for layer in layers:
        module: Any = network.get_submodule(layer.name)
        if isinstance(module, nn.Conv2d):
            height, width = module.kernel_size
            counts[layer.name] = math.prod(layer.after) * height * width * module.in_channels // module.groups
        elif isinstance(module, nn.Linear):
            counts[layer.name] = math.prod(layer.before) * module.out_features
        elif isinstance(module, nn.MultiheadAttention):
            tokens, width = layer.before
            counts[layer.name] = 4 * tokens * width**2 + 2 * tokens**2 * width
        elif isinstance(module, ShiftedWindowAttention):
            height, width, channels = layer.before
            window = module.window_size[0]
            windows = -(-height // window) * -(-width // window)
            tokens = windows * window**2
            counts[layer.name] = 4 * tokens * channels**2 + 2 * tokens * window**2 * channels
    return counts


@pytest.mark.parametrize("model", MODELS)
def test_every_network_that_ships_has_the_numbers_of_other_counters(model: str) -> None:
    words = ["model.name=resnet18"] if model == "timm" else []
    cfg = compose_config([f"model={model}", "model.weights=null", "model.freeze=false", *words])
    with torch.device("meta"):  # shapes without values: nothing is computed
        network: Any = build_network(cfg, 3, 1000)
        layers, side = list_layers(network, 3), network.preprocess.image_size
        counts = count_multiply_adds(network, layers)
        facts = summarise_network(network, 3, 1000)
        assert find_map_layer(network.eval(), torch.empty(1, 3, side, side)) == GRAD_CAM_LAYERS[model]
    assert {layer.name: layer.multiply_adds for layer in layers if layer.multiply_adds} == counts
    assert sum(layer.parameters for layer in layers) == sum(p.numel() for p in network.parameters())
    assert facts["multiply_adds"] == sum(counts.values())
    fields = {layer.name: format_field(layer.field) for layer in layers}
    assert {name: fields[name] for name in FIELDS.get(model, {})} == FIELDS.get(model, {})
    if variant := cfg.model.get("variant"):
        meta = get_model_weights(variant)["DEFAULT"].value.meta
        assert sum(counts.values()) / 1e9 == pytest.approx(meta["_ops"], abs=6e-4)
        # The auxiliary head of Inception, which is left out here: two convolutions with batch norm, a linear layer.
        auxiliary = 768 * 128 + 2 * 128 + 25 * 128 * 768 + 2 * 768 + 768_000 + 1000 if variant == "inception_v3" else 0
        assert facts["parameters"] + auxiliary == meta["num_params"]
