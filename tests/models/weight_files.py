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


def build_reference(variant: str, side: int) -> nn.Module:
    """Build torchvision's network with random weights and batch-norm statistics, in evaluation mode."""
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


def to_published_keys(network: nn.Module) -> dict[str, Tensor]:
    """Return the state_dict with the keys of files that earlier releases of torch and torchvision wrote."""
    published = {}
    for name, value in network.state_dict().items():
        if not name.endswith("num_batches_tracked"):
            name = re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name)
            key = re.sub(r"(encoder_layer_\d+\.mlp)\.([03])\.", lambda m: f"{m[1]}.linear_{1 + int(m[2]) // 3}.", name)
            published[key] = value
    return published


def published_file(network: nn.Module, path: Path) -> Path:
    torch.save(to_published_keys(network), path)
    return path


def train_steps(network: nn.Module, images: Tensor, steps: int = 2) -> None:
    network.train()
    optimizer = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2, weight_decay=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(images), torch.arange(len(images))).backward()
        optimizer.step()


def train_and_list_changed(network: nn.Module, images: Tensor, steps: int = 2) -> list[str]:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    train_steps(network, images, steps)
    after = network.state_dict()
    assert list(after) == list(before)
    return [name for name in before if not torch.equal(before[name], after[name])]


def build_pretrained(weights: Path | str, variant: str = "resnet18", **options: Any) -> Pretrained:
    return Pretrained(3, 5, variant, str(weights), image_size=32, **options)


def read_error(make: Callable[[], Any], key: str = "model.weights") -> str:
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
