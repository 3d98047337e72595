"""torchvision's classification networks with published weights under a new head."""

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor

from viewfinder.config.validate import Count, Share, Text
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.models.state_dict import load_into
from viewfinder.models.torchvision_backbone import (
    build_network,
    convert_state_dict,
    invalid_argument,
    list_networks,
    published_preprocess,
    published_weights,
    remove_head,
)  # fmt: skip
from viewfinder.models.transfer import Transferable, build_head
from viewfinder.models.weights import read_weights


class Pretrained(Transferable):
    """A torchvision classification network whose last linear layer is replaced by a new head.

    `backbone` maps images (N, 3, H, W) to features (N, D), and `head` maps those to logits (N, classes).

    Args:
        channels: from the data; must be 3.
        classes: from the data.
        variant: a name from torchvision.models, such as resnet18 (https://pytorch.org/vision/stable/models.html).
        weights: a published name, such as DEFAULT (downloaded once into TORCH_HOME); a file with its state_dict; a
            folder that contains the published file; a run of the same variant; or None for random weights.
        freeze: keep everything but the head bit for bit, including batch-norm statistics.
        hidden: units of fully connected layers before the last one, each followed by ReLU.
        dropout: probability before each layer of the head.
        preprocess: "weights" for the resize, crop and interpolation published with the weights; "resize" for a plain
            bilinear resize. Mean and standard deviation come from the weights. A file or run that does not name its
            published weights uses the values of DEFAULT.
        image_size: side of the images in pixels; None uses the size of the weights. A resize before a crop is scaled
            in proportion.
        cache_features: compute the features of a frozen backbone once, not every epoch.
        load_weights: set by Viewfinder, to False if a checkpoint of the run is loaded afterwards.

    Raises:
        UserError: if the variant is unknown, the weights are missing or do not match, or the images are grey.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        variant: Text,
        weights: Text | None = "DEFAULT",
        freeze: bool = True,
        hidden: list[Count] = [],  # noqa: B006
        dropout: Share = 0.2,
        preprocess: Literal["weights", "resize"] = "weights",
        image_size: Annotated[int, Field(ge=32)] | None = None,
        cache_features: bool = True,
        load_weights: bool = True,
    ):
        super().__init__()
        self.variant, self.cache_features = variant, cache_features
        _check_variant(variant)
        if channels != 3:
            rule = f"{variant} requires images with 3 channels; the data has {channels}"
            raise UserError("the configuration", [Problem("model", rule, remedy="Add data.channels=3.")])
        published = published_weights(variant)
        self.preprocess = published_preprocess(published, weights, preprocess, image_size)
        has_random_weights = weights is None and load_weights
        self.backbone = build_network(variant, self.preprocess.image_size, has_random_weights)
        old_head, features = remove_head(self.backbone, variant)
        if weights is not None and load_weights:
            loaded = read_weights(weights, published)
            self.check_architecture(weights, loaded.model)
            remedy = f"Pass a state_dict of torchvision.models.{variant}, a run of it, or model.weights=DEFAULT."
            load_into(self.backbone, convert_state_dict(loaded.state, self.backbone, old_head), weights, remedy)
        self.head = build_head(features, hidden, classes, dropout)
        self.head_name = "head"
        self.freeze_except([self.head_name] if freeze else [""])

    @property
    def architecture(self) -> str:
        return self.variant

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))


def _check_variant(variant: str) -> None:
    names = list_networks()
    if variant not in names:
        rule = did_you_mean(variant, names) or "is not a classification network of torchvision"
        family = [name for name in names if name[:3] == variant[:3]] or ["resnet18", "vgg16", "densenet121"]
        remedy = f"For example {join_names(family)}; torchvision.models lists all."
        raise invalid_argument("variant", rule, variant, remedy)
