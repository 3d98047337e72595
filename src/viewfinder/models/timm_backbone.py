"""timm's networks as backbones: their names, published preprocessing, construction and weights."""

import difflib
import math
from collections.abc import Mapping
from types import ModuleType
from typing import Any, Literal

from torch import nn

from viewfinder.data.preprocess import Preprocess
from viewfinder.data.resize import RESAMPLING
from viewfinder.errors import Problem, UserError, did_you_mean, format_exception, join_first, join_names

Argument = bool | int | float | list[bool | int | float]
"""Value of an argument of timm.create_model; text could name a file to load."""
RESERVED_ARGUMENTS = {
    "num_classes": "The data supply the classes.",
    "in_chans": "Set data.channels.",
    "img_size": "Set model.image_size.",
    "input_size": "Set model.image_size.",
    "drop_rate": "Set model.dropout.",
    "pretrained": "Set model.weights.",
    "pretrained_strict": "Set model.weights.",
    "features_only": "The backbone returns pooled features.",
}
"""Arguments of timm.create_model that follow from other keys, and those keys."""
OUR_PREFIX = "backbone."
"""Prefix of the backbone's keys in a run's weights."""


def import_timm() -> ModuleType:
    """Import timm.

    Raises:
        UserError: if it is not installed.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        if error.name != "timm":
            raise
        remedy = 'pip install "viewfinder[timm]"'
        raise UserError(
            "the installation", [Problem("model=timm", "needs timm, which is not installed here", remedy=remedy)]
        ) from error
    return timm


def find_published(name: str) -> Any:
    """Return what timm publishes under a name: a timm.models.PretrainedCfg with `architecture` and `tag`.

    Raises:
        UserError: if the name is not in timm.list_models(), or has no such tag.
    """
    timm = import_timm()
    architecture, _, tag = name.partition(".")
    names = timm.list_models()
    if architecture not in names:
        raise _unknown_name(name, architecture, names)
    tagged = timm.list_models(f"{architecture}.*", include_tags=True)
    if tag and name not in tagged:
        remedy = f"timm has {join_first(tagged, 6)}." if tagged else f"Set model.name={architecture}."
        rule = did_you_mean(name, tagged) or f"{architecture} has no weights with the tag {tag}"
        raise invalid_argument("name", rule, name, remedy)
    published = timm.get_pretrained_cfg(name) or timm.models.PretrainedCfg()
    published.architecture = architecture
    return published


def published_preprocess(
    published: Any, kind: Literal["weights", "resize"], image_size: int | None, channels: int
) -> Preprocess:
    """Return the preprocessing that timm publishes for validation; see timm.data.create_transform.

    Args:
        kind: "weights" for the published resize and crop, "resize" for a plain resize.
        image_size: side in pixels instead of the published one.
        channels: channels of the images; grey ones get the averages over the published channels.

    Raises:
        UserError: if the published images are not square, or the resize is of a kind that Viewfinder does not have.
    """
    from timm.data.config import resolve_data_config

    facts = resolve_data_config(pretrained_cfg=published.to_dict())
    _, height, width = facts["input_size"]
    if image_size is None and height != width:
        rule = f"must be set: {published.architecture} expects images of {height} x {width}, not square ones"
        raise invalid_argument("image_size", rule, "null", f"For example model.image_size={max(height, width)}.")
    side = image_size or height
    mean, std = facts["mean"], facts["std"]
    if channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    if kind == "resize":
        return Preprocess(side, mean, std)
    mode, interpolation = facts["crop_mode"], facts["interpolation"]
    resized_side = math.floor(side / facts["crop_pct"])
    is_plain = mode == "squash" and resized_side == side
    if interpolation not in RESAMPLING or not (mode == "center" or is_plain):
        rule = f"cannot be the published one: {interpolation}, {mode} to {resized_side} pixels, then a crop to {side}"
        raise invalid_argument("preprocess", rule, kind, "Set model.preprocess=resize.")
    return Preprocess(side, mean, std, None if is_plain else resized_side, interpolation)


def collect_options(published: Any, channels: int, image_size: int, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of timm.create_model, besides those for classes and weights.

    Args:
        published: from `find_published`.
        image_size: side of the images; timm takes it for networks that are built for one size.
        arguments: further arguments, from the configuration.

    Raises:
        UserError: if one of the arguments follows from the data or another key.
    """
    rule = "cannot be set here, because it follows from the data or another key"
    problems = [
        Problem(f"model.arguments.{key}", rule, str(arguments[key]), remedy)
        for key, remedy in RESERVED_ARGUMENTS.items()
        if key in arguments
    ]
    if problems:
        raise UserError("the configuration", problems)
    return {"in_chans": channels, **({"img_size": image_size} if published.fixed_input_size else {}), **arguments}


def build_backbone(published: Any, options: Mapping[str, Any]) -> nn.Module:
    """Build a network of timm without its classifier, with random weights.

    Args:
        published: from `find_published`.
        options: from `collect_options`.

    Raises:
        UserError: if timm rejects an argument.
    """
    try:
        return _create(published, num_classes=0, **options)
    except (TypeError, ValueError, AssertionError) as error:
        given = {key: value for key, value in options.items() if key not in ("in_chans", "img_size")}
        key, received = ("arguments", str(given)) if given else ("image_size", str(options.get("img_size")))
        rule = f"makes {published.architecture} of timm fail: {format_exception(error)}"
        raise invalid_argument(key, rule, received, f"See timm's documentation of {published.architecture}.") from error


def check_patches(backbone: nn.Module, architecture: str, image_size: int) -> None:
    """Raise UserError if a network would ignore the pixels after the last whole patch of an image."""
    patch = getattr(getattr(backbone, "patch_embed", None), "patch_size", None)
    patch = max(patch) if isinstance(patch, tuple) else patch
    if isinstance(patch, int) and image_size % patch:
        rule = f"{architecture} divides images into patches of {patch} pixels"
        raise invalid_argument("image_size", rule, str(image_size), f"Set a multiple of {patch}.")


def convert_state_dict(
    state: Mapping[str, Any], backbone: nn.Module, published: Any, options: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Convert a state_dict of timm, of a network's authors or of a run to the keys and shapes of a backbone.

    timm itself loads all but those of a run, into a whole network with as many classes as the weights have: it knows
    the keys of other projects, adapts the first layer to grey images, and resizes position embeddings.

    Args:
        options: arguments with which the backbone was built.

    Raises:
        RuntimeError: if timm finds that keys are missing, unexpected or of another shape.
    """
    ours = {key.removeprefix(OUR_PREFIX): value for key, value in state.items() if key.startswith(OUR_PREFIX)}
    if ours:
        return ours
    expected = backbone.state_dict()
    classifiers = [published.classifier] if isinstance(published.classifier, str) else published.classifier or ()
    sizes = [len(state[f"{name}.weight"]) for name in classifiers if f"{name}.weight" in state]
    classes = sizes[0] if sizes else 0 if state.keys() == expected.keys() else published.num_classes
    overlay = {"state_dict": dict(state), "num_classes": classes}
    whole = _create(published, num_classes=classes, pretrained=True, pretrained_cfg_overlay=overlay, **options)
    return {key: value for key, value in whole.state_dict().items() if key in expected}


def _create(published: Any, **options: Any) -> nn.Module:
    name = ".".join(filter(None, (published.architecture, published.tag)))
    return import_timm().create_model(name, **options)


def invalid_argument(key: str, rule: str, received: str, remedy: str) -> UserError:
    return UserError("the configuration", [Problem(f"model.{key}", rule, received, remedy)])


def _unknown_name(name: str, architecture: str, names: list[str]) -> UserError:
    timm = import_timm()
    if any(letter in name for letter in ":/\\"):
        rule = "is not a name of timm.list_models(); folders and repositories such as hf-hub:owner/name are not read"
        remedy = "Set model.name to the architecture, such as resnet18, and model.weights to the file of weights."
        return invalid_argument("name", rule, name, remedy)
    if successor := timm.models.get_deprecated_models().get(architecture):
        return invalid_argument("name", "is a former name in timm", name, f"Set model.name={successor}.")
    near = difflib.get_close_matches(architecture, names, n=4)
    rule = did_you_mean(architecture, names) or "is not a network of timm"
    remedy = f"For example {join_names(near or ['resnet18', 'convnext_tiny', 'vit_small_patch16_224'])}"
    return invalid_argument("name", rule, name, f"{remedy}; timm.list_models() lists all.")
