"""Residual network for small images."""

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, ResNet

from viewfinder.config.validate import Count, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.models.transfer import Transferable


class CifarResNet(Transferable):
    """torchvision's ResNet of basic blocks, whose stem is a 3x3 convolution without stride or max-pool.

    From He et al. 2016, "Deep Residual Learning for Image Recognition" (arXiv 1512.03385).

    Args:
        channels, classes: from the data.
        image_size: side of the images in pixels.
        blocks: residual blocks of each of the four stages; [2, 2, 2, 2] is ResNet-18.
        weights: a run of this network, or a file with its state_dict, from which all but the last layer is loaded; None
            for random weights.
        freeze: train the last layer only.
        cache_features: compute the features of a frozen network once, not every epoch.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        image_size: Count = 32,
        blocks: Annotated[list[Count], Field(min_length=4, max_length=4)] = [2, 2, 2, 2],  # noqa: B006
        weights: Text | None = None,
        freeze: bool = False,
        cache_features: bool = True,
    ):
        super().__init__()
        self.preprocess = Preprocess(image_size, mean=(0.5,), std=(0.25,))
        self.backbone = ResNet(BasicBlock, blocks, num_classes=classes)
        stem = nn.Conv2d(channels, self.backbone.conv1.out_channels, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")  # as torchvision
        self.backbone.conv1, self.backbone.maxpool = stem, nn.Identity()  # type: ignore[assignment]
        self.transfer(weights, freeze, cache_features)

    def forward(self, images: Tensor) -> Tensor:
        return self.backbone(images)
