"""What run folders name that were made when ResNet-50 was the one pre-trained network."""

from typing import Annotated

from pydantic import Field

from viewfinder.config.validate import Share, Text
from viewfinder.models.pretrained import Pretrained


class ResNet50(Pretrained):
    """`Pretrained` as conf/model/resnet50.yaml has it, with the same arguments."""

    def __init__(
        self,
        channels: int,
        classes: int,
        weights: Text | None = "DEFAULT",
        freeze: bool = True,
        dropout: Share = 0.2,
        image_size: Annotated[int, Field(ge=32)] = 224,
        load_weights: bool = True,
    ):
        super().__init__(
            channels, classes, "resnet50", weights, freeze, [], dropout, "resize", image_size, True, load_weights
        )
