"""Blocks of a network are those of its family's paper, in order."""

import torch
from torch import nn

from viewfinder.models.blocks import list_blocks
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.transfer import is_within


def test_blocks_are_what_each_familys_paper_stacks() -> None:
    stacked = {
        "resnet50": 3 + 4 + 6 + 3 + 1,  # bottlenecks, and a convolution before them
        "vgg16": 13 + 2,  # convolutions and linear layers
        "alexnet": 5 + 2,
        "inception_v3": 11 + 5,  # modules, and convolutions
        "densenet121": 4 + 3 + 1,  # dense blocks, transitions, a convolution
        "mobilenet_v3_large": 15 + 3,  # inverted residuals; a convolution before, one and a linear layer after
        "efficientnet_b0": 16 + 2,
        "vit_b_16": 12 + 1,  # transformer blocks, and the embedding of patches
        "convnext_tiny": 3 + 3 + 9 + 3 + 4,  # blocks, and what makes the picture smaller before each stage
        "swin_t": 2 + 2 + 6 + 2 + 4,
    }
    for variant, count in stacked.items():
        with torch.device("meta"):
            network = Pretrained(3, 7, variant, None)
        blocks = list_blocks(network, "head")
        assert len(blocks) == count, variant
        for name, _ in network.named_parameters():
            assert sum(is_within(name, block) for block in blocks) == (not name.startswith("head.")), name


def test_a_class_token_and_positions_belong_to_the_first_block_of_a_vision_transformer() -> None:
    with torch.device("meta"):
        blocks = list_blocks(Pretrained(3, 7, "vit_b_16", None), "head")
    assert {"backbone.class_token", "backbone.encoder.pos_embedding", "backbone.conv_proj"} <= {*blocks[0]}


def test_a_batch_norm_and_a_dropout_belong_to_the_layer_before_them() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 3), nn.Dropout())
            self.rest = nn.ModuleDict({"linear": nn.Linear(4, 4), "last": nn.Linear(4, 2)})

    assert list_blocks(Own(), "rest.last") == [["first.0", "first.1"], ["first.2", "first.3"], ["rest.linear"]]


def test_the_tutorials_blocks_are_blocks() -> None:
    network = CustomCNN(3, 10)
    blocks = [["features.0"], ["features.1"], ["features.2"], ["features.3", "head.0"], ["head.1"], ["head.2"]]
    assert list_blocks(network, network.head_name) == blocks
