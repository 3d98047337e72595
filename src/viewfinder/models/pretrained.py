"""torchvision's classification networks, with weights trained on ImageNet or elsewhere, under a new head."""

import itertools
import re
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field
from torch import Tensor, nn

from viewfinder.config.validate import Count, Share, Text
from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError, did_you_mean, join_names
from viewfinder.models.transfer import Transferable, find_head
from viewfinder.models.weights import fill, read_weights

AUXILIARY = ("AuxLogits.", "aux1.", "aux2.")
"""Second heads of inception_v3 and googlenet, which only their own training has a use for."""
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""Keys in the published files of densenet; torchvision renames them when it loads those."""


class Pretrained(Transferable):
    """A classification network of torchvision whose last linear layer is replaced by a head of one or several.

    `backbone` maps pictures (N, 3, H, W) to features (N, D), and `head` those to logits (N, classes).

    Args:
        channels: from the data; must be 3.
        classes: from the data.
        variant: a name from torchvision.models, such as resnet18 (https://pytorch.org/vision/stable/models.html).
        weights: a name of weights, such as DEFAULT (downloaded once into TORCH_HOME); a file with such a state_dict; a
            folder that holds the published file; the folder of a run of the same variant; or None for random weights.
        freeze: keep everything but the head as it is, bit for bit: parameters and batch-norm statistics.
        hidden: units of fully connected layers before the last one, each followed by ReLU.
        dropout: probability before each layer of the head.
        preprocess: "weights" for the resize, crop and interpolation published with the weights; "resize" for a plain
            bilinear resize. Mean and standard deviation are those of the weights.
        image_size: side of the pictures in pixels, of which the resize before a crop keeps its proportion; None takes
            that of the weights.
        cache_features: compute a frozen backbone's features once, not every epoch; see viewfinder.features.
        load_weights: handed over by Viewfinder; False where a run's checkpoint will bring them.

    What is published with weights of an unknown file, or of a run, is taken to be that of DEFAULT.

    Raises:
        UserError: if there is no such network, the weights cannot be had or do not fit, or the pictures are grey.
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
        from torchvision import models

        names = models.list_models(module=models)
        if variant not in names:
            rule = did_you_mean(variant, names) or "torchvision has no such classification network"
            family = [name for name in names if name[:3] == variant[:3]] or ["resnet18", "vgg16", "densenet121"]
            raise _refused("variant", rule, variant, f"Such as {join_names(family)}; or another of torchvision.models.")
        if channels != 3:
            rule = f"{variant} takes pictures of 3 channels, and the data's have {channels}"
            raise UserError("the configuration", [Problem("model", rule, remedy="Add data.channels=3.")])
        self.cache_features = cache_features
        self.variant, published = variant, models.get_model_weights(variant)
        self.preprocess = _preprocess(_described_by(published, weights).transforms(), preprocess, image_size)
        self.backbone = _build(variant, self.preprocess.image_size, is_random=weights is None and load_weights)
        name, features = _remove_head(self.backbone, variant)
        if weights is not None and load_weights:
            found = read_weights(weights, published)
            self.check_same_kind(weights, found.model)
            remedy = f"Give a state_dict of torchvision.models.{variant}, a run of it, or model.weights=DEFAULT."
            fill(self.backbone, _of_backbone(self.backbone, found.state, name), weights, remedy)
        sizes = [features, *hidden, classes]
        layers = [(nn.Dropout(dropout), nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(sizes)]
        self.head = nn.Sequential(*itertools.chain(*layers))[:-1]
        self.head_name = "head"
        self.train_only([self.head_name] if freeze else [""])

    @property
    def kind(self) -> str:
        return self.variant

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.backbone(pictures))


def _described_by(published: Any, weights: str | None) -> Any:
    """The published weights that a name means, or a file of their name; else the default ones."""
    if weights in published.__members__:
        return published[weights]
    file = Path(weights or "").name
    return next((each for each in published if Path(each.url).name == file), published["DEFAULT"])


def _preprocess(transforms: Any, how: str, image_size: int | None) -> Preprocess:
    """That of torchvision.transforms._presets.ImageClassification, or a plain resize to its size."""
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    side = image_size or crop
    if how == "resize":
        return Preprocess(side, transforms.mean, transforms.std)
    return Preprocess(
        side, transforms.mean, transforms.std, round(side * resize / crop), transforms.interpolation.value
    )


def _build(variant: str, image_size: int, is_random: bool) -> nn.Module:
    """The network without weights."""
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if variant in ("inception_v3", "googlenet"):
        # Their published weights want the normalisation of their first authors, which they make of the usual one.
        options = {"transform_input": True, "aux_logits": False, "init_weights": is_random}
    elif variant.startswith("vit_"):
        options = {"image_size": image_size}
    try:
        return get_model(variant, weights=None, **options)
    except AssertionError as error:
        patch = variant.rpartition("_")[2]
        rule = f"{variant} cuts pictures into patches of {patch} pixels"
        raise _refused("image_size", rule, str(image_size), f"Give a multiple of {patch}.") from error


def _remove_head(backbone: nn.Module, variant: str) -> tuple[str, int]:
    """The name of the last linear layer and how many features it took; with a dropout just before it, it is gone."""
    name = find_head(backbone)
    if not name:
        rule = "does not end in a linear layer that could be replaced"
        raise _refused("variant", rule, variant, "Such as resnet18; or another of torchvision.models.")
    head = backbone.get_submodule(name)
    modules = list(backbone.modules())
    before = modules[modules.index(head) - 1]
    if isinstance(before, nn.Dropout):
        before.p = 0.0
    backbone.set_submodule(name, nn.Identity())
    assert isinstance(head, nn.Linear)
    return name, head.in_features


def _of_backbone(backbone: nn.Module, state: dict[str, Any], head: str) -> dict[str, Any]:
    """What of a state_dict, torchvision's or one of our own, goes into the backbone, under its names of today."""
    ours = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    wanted: Any = OrderedDict()
    for key, value in (ours or state).items():
        if not key.startswith((f"{head}.", *AUXILIARY)):
            wanted[OLD_DENSENET.sub(r"\1\2", key)] = value
    # By these versions torch knows which names were others once; what a checkpoint of ours holds has those of today.
    versions = getattr(backbone.state_dict() if ours else state, "_metadata", None)
    if versions is not None:
        wanted._metadata = versions
    positions, size = "encoder.pos_embedding", getattr(backbone, "image_size", None)
    if size is not None and positions in wanted and getattr(wanted[positions], "ndim", 0) == 3:
        from torchvision.models.vision_transformer import interpolate_embeddings

        wanted = interpolate_embeddings(size, backbone.patch_size, wanted)  # type: ignore[arg-type]
    return wanted


def _refused(key: str, rule: str, received: str, remedy: str) -> UserError:
    return UserError("the configuration", [Problem(f"model.{key}", rule, received, remedy)])
