"""Data sets of torchvision with class labels, and the arguments of their classes."""

import inspect
from collections.abc import Mapping
from typing import Any

from viewfinder.data.sources.torchvision_internals import list_accepted_values
from viewfinder.errors import Problem, did_you_mean, format_exception, join_names

WITHOUT_LABELS = frozenset((
    "CREStereo", "CarlaStereo", "CelebA", "Cityscapes", "CocoCaptions", "CocoDetection", "DatasetFolder", "ETH3DStereo",
    "FakeData", "FallingThingsStereo", "Flickr30k", "Flickr8k", "FlyingChairs", "FlyingThings3D", "HD1K", "HMDB51",
    "ImageFolder", "InStereo2k", "Kinetics", "Kitti", "Kitti2012Stereo", "Kitti2015Stereo", "KittiFlow", "LFWPairs",
    "LSUN", "LSUNClass", "Middlebury2014Stereo", "MovingMNIST", "PhotoTour", "SBDataset", "SBU", "SceneFlowStereo",
    "Sintel", "SintelStereo", "UCF101", "VOCDetection", "VOCSegmentation", "VisionDataset", "WIDERFace",
))  # fmt: skip
"""Sets of torchvision for other tasks, of videos, or without images of their own."""
SPLIT_PARAMETERS = ("train", "split", "image_set")
"""Parameters that select a split; the first of them that a class has."""
SPLIT_VALUES = {
    "train": ("train", "train-standard", "trainval"),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
"""Split -> values of the parameter that select it; the first of them that the class accepts."""
SUPPLIED = ("root", "download", "loader", "transform", "transforms", "target_transform", "target_type", "target_types")
"""Arguments that Viewfinder passes, or that would change what an image or a label is."""


def list_names() -> list[str]:
    """Return the names of torchvision's sets of images with classes."""
    import torchvision.datasets

    names = set(torchvision.datasets.__all__) - WITHOUT_LABELS
    return sorted(name for name in names if isinstance(get_class(name), type))


def get_class(name: str) -> type[Any]:
    import torchvision.datasets

    return getattr(torchvision.datasets, name)


def read_parameters(cls: type[Any]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a class and, if it passes **kwargs on, of its base class."""
    found: dict[str, inspect.Parameter] = {}
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        parameters = [*inspect.signature(vars(base)["__init__"]).parameters.values()][1:]
        variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        found = {p.name: p for p in parameters if p.kind not in variadic} | found
        if not any(p.kind is p.VAR_KEYWORD for p in parameters):
            break
    return found


def find_split_parameter(cls: type[Any]) -> str:
    """Return the name of the parameter that selects a split; '' if there is none."""
    parameters = read_parameters(cls)
    return next((name for name in SPLIT_PARAMETERS if name in parameters), "")


def find_split_values(cls: type[Any]) -> dict[str, Any]:
    """Return split -> value of the parameter that selects it; {} if the class does not divide its images.

    Raises:
        Exception: any error of a class that needs another package.
    """
    parameter = find_split_parameter(cls)
    if parameter == "train":
        return {"train": True, "test": False}
    accepted = list_accepted_values(cls, parameter) if parameter else []
    found = {
        split: next(value for value in values if value in accepted)
        for split, values in SPLIT_VALUES.items()
        if any(value in accepted for value in values)
    }
    if found.get("train") == "trainval":
        found.pop("val", None)
    return found if "train" in found else {}


def find_invalid(name: str, arguments: Mapping[str, Any]) -> list[Problem]:
    """Return the problems of a set's name and of further arguments of its class."""
    names = list_names()
    if name not in names:
        suggestion = did_you_mean(name, names)
        rule = "is a set of torchvision without classes of images" if name in WITHOUT_LABELS else suggestion
        remedy = f"Sets: {join_names(names)}."
        return [Problem("data.name", rule or "is not a set of torchvision", name, remedy)]
    cls = get_class(name)
    parameters, split_parameter = read_parameters(cls), find_split_parameter(cls)
    allowed = [key for key in parameters if key not in (*SUPPLIED, split_parameter)]
    problems = []
    for key, value in arguments.items():
        if key in SUPPLIED or (key and key == split_parameter):
            problems.append(Problem(f"data.arguments.{key}", "is set by Viewfinder", str(value), "Remove it."))
        elif key not in allowed:
            remedy = f"Arguments of {name}: {join_names(allowed)}." if allowed else f"{name} has no further arguments."
            rule = did_you_mean(key, allowed) or f"is not an argument of torchvision.datasets.{name}"
            problems.append(Problem(f"data.arguments.{key}", rule, str(value), remedy))
    for key in allowed:
        if parameters[key].default is inspect.Parameter.empty and key not in arguments:
            try:
                values = list_accepted_values(cls, key)
            except Exception as error:
                values = [format_exception(error)]
            example = f"'data.arguments={{{key}: {values[-1] if values else 'VALUE'}}}'"
            remedy = f"For example {example}. Values: {join_names(values)}."
            problems.append(Problem(f"data.arguments.{key}", f"is required by {name}", remedy=remedy))
    return problems
