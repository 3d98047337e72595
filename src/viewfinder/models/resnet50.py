"""The tutorial's third network: a pre-trained ResNet-50 under a new head."""

from pathlib import Path
from typing import Annotated, Any
from urllib.error import URLError

import torch
from pydantic import Field
from torch import Tensor, nn

from viewfinder.build import Share, Text
from viewfinder.errors import Problem, ViewfinderError, listed
from viewfinder.preprocess import Preprocess

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ResNet50(nn.Module):
    """torchvision's ResNet-50 (He et al. 2016) whose last layer is replaced by dropout and a linear layer.

    Args:
        channels: from the data; must be 3.
        classes: from the data.
        weights: a name from torchvision.models.ResNet50_Weights (downloaded once into TORCH_HOME), a file with such a
            state_dict, or None for random weights.
        freeze: keep everything but the head as it is, bit for bit: parameters and batch-norm statistics.
        dropout: probability before the linear layer.
        image_size: side that pictures are resized to, in pixels.

    Raises:
        ViewfinderError: if the weights cannot be had or do not fit, or the pictures are grey.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        weights: Text | None = "DEFAULT",
        freeze: bool = True,
        dropout: Share = 0.2,
        image_size: Annotated[int, Field(ge=32)] = 224,
    ):
        super().__init__()
        if channels != 3:
            rule = f"resnet50 takes pictures of 3 channels, and the data's have {channels}"
            raise ViewfinderError("the configuration", [Problem("model", rule, remedy="Add data.channels=3.")])
        from torchvision.models import resnet50

        self.preprocess = Preprocess(image_size, IMAGENET_MEAN, IMAGENET_STD)
        self.backbone = resnet50(weights=None)
        if weights is not None:
            _load(self.backbone, _state_dict(weights), weights)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.backbone.fc.in_features, classes))
        self.backbone.fc = nn.Identity()  # type: ignore[assignment]
        self.freeze = freeze
        if freeze:
            self.backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "ResNet50":
        super().train(mode)
        if self.freeze:
            self.backbone.eval()  # or batch norm would go on averaging
        return self

    def forward(self, pictures: Tensor) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.freeze):
            features = self.backbone(pictures)
        return self.head(features)


def _state_dict(weights: str) -> dict[str, Any]:
    from torchvision.models import ResNet50_Weights

    path = Path(weights)
    if weights in ResNet50_Weights.__members__:
        try:
            return dict(ResNet50_Weights[weights].get_state_dict(progress=True, check_hash=True))
        except (URLError, OSError, RuntimeError) as error:
            cached = Path(torch.hub.get_dir()) / "checkpoints" / Path(ResNet50_Weights[weights].url).name
            rule = f"cannot be downloaded: {getattr(error, 'reason', error)}"
            remedy = (
                f"Two ways out: download {ResNet50_Weights[weights].url} where there is a network and put it at "
                f"{cached}, or give any file with ResNet-50 weights by model.weights=PATH."
            )
            raise _problem(weights, rule, remedy) from error
    if not path.is_file():
        names = listed(ResNet50_Weights.__members__)
        raise _problem(weights, "is neither a file nor a name of weights", f"Names: {names}.")
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises a dozen kinds for a file that is not a checkpoint
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise _problem(weights, f"cannot be read as weights: {reason}", "It may be cut off; get it again.") from error
    return loaded


def _load(network: nn.Module, state: Any, weights: str) -> None:
    if not isinstance(state, dict):
        raise _problem(
            weights, f"holds a {type(state).__name__}, not a state_dict", "Save network.state_dict() instead."
        )
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    shapes = [n for n in wanted if n in state and getattr(state[n], "shape", None) != wanted[n].shape]
    differences = [
        f"{len(names)} {what} ({listed(names[:3])}{', ...' if len(names) > 3 else ''})"
        for what, names in (("missing", missing), ("unknown", unknown), ("of another shape", shapes))
        if names
    ]
    if differences:
        raise _problem(
            weights,
            f"does not fit torchvision's ResNet-50: {'; '.join(differences)}",
            "Give the state_dict of torchvision.models.resnet50, saved by torch.save, or model.weights=DEFAULT.",
        )
    network.load_state_dict(state)


def _problem(received: str | None, rule: str, remedy: str) -> ViewfinderError:
    return ViewfinderError("the weights", [Problem("model.weights", rule, received, remedy)])
