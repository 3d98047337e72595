"""torchvision's networks as backbones, and the parts of them that torchvision does not document.

Undocumented are the position of the last layer, the keys of older weight files, and `interpolate_embeddings`; seen in
torchvision 0.21 to 0.28.
"""

import copy
import re
from pathlib import Path
from typing import Any, Literal

from torch import nn

from viewfinder.data.preprocess import Preprocess
from viewfinder.errors import Problem, UserError
from viewfinder.models.transfer import find_head

AUXILIARY_HEADS = ("AuxLogits.", "aux1.", "aux2.")
"""Second heads of inception_v3 and googlenet, used by their original training only."""
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")
"""Keys in the published files of densenet, which torchvision renames when it loads them."""
POSITIONS = "encoder.pos_embedding"
"""Key of a vision transformer's position embeddings."""


def list_networks() -> list[str]:
    """Return the names of torchvision's classification networks."""
    from torchvision import models

    return models.list_models(module=models)


def published_weights(variant: str) -> Any:
    """Return torchvision's enumeration of the published weights of a network."""
    from torchvision import models

    return models.get_model_weights(variant)


def published_preprocess(
    published: Any, weights: str | None, kind: Literal["weights", "resize"], image_size: int | None
) -> Preprocess:
    """Return the preprocessing published with weights.

    Args:
        published: enumeration of the network's published weights.
        weights: a published name, or a file with the name of a published one; any other means DEFAULT.
        kind: "weights" for the published resize and crop, "resize" for a plain resize to the size of the crop.
        image_size: side in pixels instead of the published one.
    """
    transforms = _find_published(published, weights).transforms()
    (crop,), (resize,) = transforms.crop_size, transforms.resize_size
    side = image_size or crop
    if kind == "resize":
        return Preprocess(side, transforms.mean, transforms.std)
    resized_side = round(side * resize / crop)
    return Preprocess(side, transforms.mean, transforms.std, resized_side, transforms.interpolation.value)


def build_network(variant: str, image_size: int, has_random_weights: bool) -> nn.Module:
    """Build a network without published weights.

    Args:
        has_random_weights: whether the network keeps its random values, drawn as its authors did.

    Raises:
        UserError: if a vision transformer cannot divide the images into patches.
    """
    from torchvision.models import get_model

    options: dict[str, Any] = {}
    if variant in ("inception_v3", "googlenet"):
        # The published weights expect another normalisation than ImageNet's; transform_input converts to it.
        options = {"transform_input": True, "aux_logits": False, "init_weights": has_random_weights}
    elif variant.startswith("vit_"):
        options = {"image_size": image_size}
    try:
        return get_model(variant, weights=None, **options)
    except AssertionError as error:
        patch = variant.rpartition("_")[2]
        rule = f"{variant} divides images into patches of {patch} pixels"
        raise invalid_argument("image_size", rule, str(image_size), f"Set a multiple of {patch}.") from error


def remove_head(network: nn.Module, variant: str) -> tuple[str, int]:
    """Replace the last linear layer by the identity and disable a dropout right before it.

    Returns:
        The name of the layer and its number of input features.

    Raises:
        UserError: if the network does not end in a linear layer.
    """
    name = find_head(network)
    if not name:
        rule = "does not end in a linear layer that can be replaced"
        raise invalid_argument("variant", rule, variant, "For example resnet18; torchvision.models lists all.")
    head = network.get_submodule(name)
    modules = list(network.modules())
    previous = modules[modules.index(head) - 1]
    if isinstance(previous, nn.Dropout):
        previous.p = 0.0
    network.set_submodule(name, nn.Identity())
    assert isinstance(head, nn.Linear)
    return name, head.in_features


def convert_state_dict(state: dict[str, Any], backbone: nn.Module, head: str) -> dict[str, Any]:
    """Convert a state_dict of torchvision, or of Pretrained, to the present keys of a backbone without its head.

    Args:
        head: name of torchvision's own head.
    """
    ours = {key.removeprefix("backbone."): value for key, value in state.items() if key.startswith("backbone.")}
    # A copy keeps the module versions, which torch needs to convert keys of earlier releases; ours need none.
    converted: Any = copy.copy(backbone.state_dict() if ours else state)
    converted.clear()
    for key, value in (ours or state).items():
        if not key.startswith((f"{head}.", *AUXILIARY_HEADS)):
            converted[OLD_DENSENET.sub(r"\1\2", key)] = value
    size: Any = getattr(backbone, "image_size", None)
    if size is not None and POSITIONS in converted and getattr(converted[POSITIONS], "ndim", 0) == 3:
        from torchvision.models.vision_transformer import interpolate_embeddings

        converted = interpolate_embeddings(size, backbone.patch_size, converted)  # type: ignore[arg-type]
    return converted


def invalid_argument(key: str, rule: str, received: str, remedy: str) -> UserError:
    return UserError("the configuration", [Problem(f"model.{key}", rule, received, remedy)])


def _find_published(published: Any, weights: str | None) -> Any:
    if weights in published.__members__:
        return published[weights]
    file_name = Path(weights or "").name
    return next((member for member in published if Path(member.url).name == file_name), published["DEFAULT"])
