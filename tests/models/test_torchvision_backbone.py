"""The undocumented parts of torchvision that models/torchvision_backbone.py uses exist."""

import inspect

import pytest
import torchvision
from torchvision.models import ResNet18_Weights
from torchvision.models.vision_transformer import interpolate_embeddings

SEEN = f"as in torchvision 0.21 to 0.28, found {torchvision.__version__}"


def test_position_embeddings_are_interpolated_by_the_known_function() -> None:
    parameters = [*inspect.signature(interpolate_embeddings).parameters]
    assert parameters[:3] == ["image_size", "patch_size", "model_state"], SEEN


@pytest.mark.parametrize("name", ["crop_size", "resize_size", "mean", "std", "interpolation"])
def test_published_transforms_state_their_sizes_and_statistics(name: str) -> None:
    assert hasattr(ResNet18_Weights.DEFAULT.transforms(), name), SEEN
