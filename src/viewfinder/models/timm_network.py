"""timm's networks, by name, under a new head."""

from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from viewfinder.config.validate import Count, Share, Text
from viewfinder.models.state_dict import WeightsMismatchError, invalid_weights, load_into
from viewfinder.models.timm_backbone import (
    Argument,
    build_backbone,
    check_patches,
    collect_options,
    convert_state_dict,
    find_published,
    published_preprocess,
)  # fmt: skip
from viewfinder.models.timm_weights import find_weights_file
from viewfinder.models.transfer import Transferable, build_head
from viewfinder.models.weights import read_weights


class TimmNetwork(Transferable):
    """A network of timm (https://github.com/huggingface/pytorch-image-models) whose classifier is a new head.

    `backbone` maps images (N, C, H, W) to pooled features (N, D), and `head` maps those to logits (N, classes).

    Args:
        channels: from the data; the first layer of published weights is adapted to grey images.
        classes: from the data.
        name: a name from timm.list_models(), such as resnet18; with a tag, such as resnet18.a1_in1k, it also names one
            of several published weights.
        weights: DEFAULT for the weights that timm publishes under the name, downloaded once into HF_HOME; a file with a
            state_dict of this network, as safetensors or written by torch.save; a downloaded folder with such a file;
            a run of the same network; or None for random weights.
        freeze: keep everything but the head bit for bit, including batch-norm statistics.
        hidden: units of fully connected layers before the last one, each followed by ReLU.
        dropout: probability before each layer of the head.
        preprocess: "weights" for the resize, crop and interpolation published under the name; "resize" for a plain
            bilinear resize. Mean and standard deviation are the published ones.
        image_size: side of the images in pixels; None uses the published size.
        arguments: other arguments of timm.create_model: numbers, true or false, or lists of these.
        cache_features: compute the features of a frozen backbone once, not every epoch.
        load_weights: set by Viewfinder, to False if a checkpoint of the run is loaded afterwards.

    Raises:
        UserError: if timm is not installed, does not know the name or rejects the arguments, or the weights are missing
            or do not match.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        name: Text,
        weights: Text | None = "DEFAULT",
        freeze: bool = True,
        hidden: list[Count] = [],  # noqa: B006
        dropout: Share = 0.2,
        preprocess: Literal["weights", "resize"] = "weights",
        image_size: Count | None = None,
        arguments: dict[str, Argument] = {},  # noqa: B006
        cache_features: bool = True,
        load_weights: bool = True,
    ):
        super().__init__()
        self.name, self.cache_features = name, cache_features
        published = find_published(name)
        self.preprocess = published_preprocess(published, preprocess, image_size, channels)
        options = collect_options(published, channels, self.preprocess.image_size, arguments)
        self.backbone = build_backbone(published, options)
        if image_size is not None:
            check_patches(self.backbone, published.architecture, image_size)
        if weights is not None and load_weights:
            self._load_backbone(weights, published, options)
        self.head = build_head(self.backbone.head_hidden_size, hidden, classes, dropout)  # type: ignore[arg-type]
        self.head_name = "head"
        self.freeze_except([self.head_name] if freeze else [""])

    @property
    def architecture(self) -> str:
        return f"timm/{self.name.partition('.')[0]}"

    def check_architecture(self, weights: str, model: Mapping[str, Any] | None) -> None:
        if model is not None and str(model.get("_target_")).endswith(f".{type(self).__name__}"):
            model = {"variant": f"timm/{str(model.get('name')).partition('.')[0]}"}  # tags name weights
        super().check_architecture(weights, model)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def _load_backbone(self, weights: str, published: Any, options: Mapping[str, Any]) -> None:
        loaded = read_weights(find_weights_file(weights, published))
        self.check_architecture(weights, loaded.model)
        remedy = f"Pass a state_dict of timm's {published.architecture}, a run of it, or model.weights=DEFAULT."
        try:
            state = convert_state_dict(loaded.state, self.backbone, published, options)
        except Exception as error:  # raised by timm, or by its conversion of older weights
            rule = f"does not match {published.architecture}: {' '.join(str(error).split())[:300]}"
            raise invalid_weights(weights, rule, remedy, WeightsMismatchError) from error
        load_into(self.backbone, state, weights, remedy)
