"""torchvision networks, files of their weights, and comparisons with them."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from viewfinder.errors import UserError
from viewfinder.models.pretrained import Pretrained


def torchvisions(variant: str, side: int) -> nn.Module:
    """torchvision's own network with random weights and batch-norm statistics, to be evaluated."""
    torch.manual_seed(1)
    options: dict[str, Any] = {"image_size": side} if variant.startswith("vit") else {}
    if variant in ("inception_v3", "googlenet"):
        options = {"init_weights": False, "transform_input": True}  # as torchvision does with published weights
    network = torchvision.models.get_model(variant, weights=None, **options)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.8, 1.2)
    return network.eval()


def as_published(network: nn.Module) -> dict[str, Tensor]:
    """Its state_dict under the names that files from before some changes of torch and torchvision hold."""
    found = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            name = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name)
            found[
                re.sub(r"(encoder_layer_\d+\.mlp)\.([03])\.", lambda m: f"{m[1]}.linear_{1 + int(m[2]) // 3}.", name)
            ] = value
    return found


def published_file(network: nn.Module, path: Path) -> Path:
    torch.save(as_published(network), path)
    return path


def train_steps(network: nn.Module, pictures: Tensor, steps: int = 2) -> None:
    network.train()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(pictures), torch.arange(len(pictures))).backward()
        optimizer.step()


def moved_by(network: nn.Module, pictures: Tensor, steps: int = 2) -> list[str]:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_steps(network, pictures, steps)
    after = network.state_dict()
    assert list(after) == list(before)
    return [name for name in before if not torch.equal(before[name], after[name])]


def build(weights: Path | str, variant: str = "resnet18", **options: Any) -> Pretrained:
    return Pretrained(3, 5, variant, str(weights), image_size=32, **options)


def error_of(make: Callable[[], Any], key: str = "model.weights") -> str:
    with pytest.raises(UserError) as caught:
        make()
    (problem,) = caught.value.problems
    assert problem.key == key
    assert problem.remedy
    return " ".join(str(caught.value).split())


def assert_backbone(network: Pretrained, state: dict[str, Tensor]) -> None:
    own = network.backbone.state_dict()
    expected = {name: value for name, value in state.items() if not name.startswith("fc.")}
    assert all(torch.equal(own[name], value) for name, value in expected.items())
    assert {name for name in own if not name.endswith("num_batches_tracked")} <= expected.keys()
