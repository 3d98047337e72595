"""torchvision's networks keep their features under a new head, which alone is trained when they are frozen."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from omegaconf import OmegaConf
from torch import nn
from weight_files import build_pretrained, build_reference, published_file, read_error, train_and_list_changed

from viewfinder.config.overrides import find_conf
from viewfinder.models.pretrained import Pretrained
from viewfinder.models.transfer import is_within
from viewfinder.training.phases import Phases

pytestmark = pytest.mark.usefixtures("quick_random_weights")

FAMILIES = {
    "alexnet": (64, "classifier.6"), "vgg11": (32, "classifier.6"), "resnet18": (32, "fc"), "inception_v3": (75, "fc"),
    "mobilenet_v3_small": (32, "classifier.3"), "densenet121": (32, "classifier"), "googlenet": (32, "fc"),
    "efficientnet_b0": (32, "classifier.1"), "vit_b_16": (32, "heads.head"), "convnext_tiny": (32, "classifier.2"),
    "swin_t": (32, "head"),
}  # fmt: skip
"""A small variant of each family, a supported side in pixels, and the name of torchvision's own head."""
SHIPPED = [path.stem for path in find_conf().glob("model/*.yaml") if "Pretrained" in OmegaConf.load(path)["_target_"]]


@pytest.mark.parametrize("variant", FAMILIES)
def test_each_family_keeps_torchvisions_features_under_a_head_that_alone_is_trained(
    variant: str, tmp_path: Path
) -> None:
    side, head = FAMILIES[variant]
    theirs = build_reference(variant, side)
    network = Pretrained(3, 4, variant, str(published_file(theirs, tmp_path / "w.pth")), image_size=side)
    network.train()  # frozen: no difference to the features
    images, inputs = torch.rand(4, 3, side, side), []
    theirs.get_submodule(head).register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
    with torch.no_grad():
        theirs(images)
        features = network.backbone(images)
        torch.testing.assert_close(features, inputs[0])
        assert features.std() > 0
        assert network(images).shape == (4, 4)
        network.eval()
        linear = network.head[-1]
        torch.testing.assert_close(network(images), features @ linear.weight.T + linear.bias)
    assert train_and_list_changed(network, images) == ["head.1.weight", "head.1.bias"]
    assert network.backbone.get_submodule(head).__class__ is nn.Identity
    phases = Phases({"last": {"train": 1}}, network, 1, 1e-2)
    phases.enter(0)
    wanted = [name for name in network.state_dict() if is_within(name, ["head", *phases.blocks[-1]])]
    constant = "relative_position_index"  # a buffer of swin_t
    assert train_and_list_changed(network, images) == [name for name in wanted if not name.endswith(constant)]


@pytest.mark.parametrize("variant", [*SHIPPED, "mnasnet0_5", "shufflenet_v2_x0_5", "maxvit_t", "efficientnet_v2_s"])
def test_a_head_gives_a_logit_a_class_at_the_published_size(variant: str) -> None:
    with torch.device("meta"):
        network = Pretrained(3, 7, variant, None, freeze=False)
        side = torchvision.models.get_model_weights(variant)["DEFAULT"].transforms().crop_size[0]
        assert network.preprocess.image_size == side
        network.train()  # where inception_v3 of torchvision gives a pair
        assert network(torch.zeros(2, 3, side, side)).shape == (2, 7)


def test_each_yaml_is_of_the_family_that_it_is_called_after() -> None:
    assert len(SHIPPED) == 10
    for name in SHIPPED:
        cfg = OmegaConf.load(find_conf() / "model" / f"{name}.yaml")
        assert (cfg.variant, cfg.weights, cfg.freeze) == (name, "DEFAULT", True)
        assert cfg.preprocess == ("resize" if name == "resnet50" else "weights")


def test_unfrozen_means_that_weights_and_statistics_move() -> None:
    network = Pretrained(3, 4, "resnet18", None, freeze=False, image_size=32)
    assert train_and_list_changed(network, torch.rand(4, 3, 32, 32), 1) == list(network.state_dict())


def test_resnet50_has_the_published_number_of_parameters() -> None:
    network = Pretrained(3, 10, "resnet50", None, image_size=64)
    assert sum(p.numel() for p in network.parameters() if p.requires_grad) == 2048 * 10 + 10
    # torchvision documents 25,557,032 parameters with its own head of 2048 x 1000 + 1000.
    assert sum(p.numel() for p in network.parameters()) == 25_557_032 - (2048 * 1000 + 1000) + 2048 * 10 + 10


def test_a_head_of_several_layers_is_linear_relu_and_dropout_in_turn() -> None:
    torch.manual_seed(0)
    network = Pretrained(3, 5, "resnet18", None, hidden=[16, 8], dropout=0.3, image_size=32)
    layers = [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert [type(layer) for layer in network.head] == layers
    assert {layer.p for layer in network.head if isinstance(layer, nn.Dropout)} == {0.3}
    features = torch.rand(6, 512)
    expected = features.numpy().astype(float)
    linear = [layer for layer in network.head if isinstance(layer, nn.Linear)]
    for number, layer in enumerate(linear):
        expected = expected @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()
        expected = np.maximum(expected, 0) if number < 2 else expected
    np.testing.assert_allclose(network.eval().head(features).detach(), expected, atol=1e-5)


def test_dropout_before_torchvisions_own_head_goes_with_it() -> None:
    network = Pretrained(3, 5, "efficientnet_b0", None, freeze=False, image_size=32)
    assert [m.p for m in network.backbone.modules() if isinstance(m, nn.Dropout)] == [0.0]
    inner = Pretrained(3, 5, "alexnet", None, freeze=False, image_size=64).backbone
    assert [m.p for m in inner.modules() if isinstance(m, nn.Dropout)] == [0.5, 0.5]


def test_a_variant_that_torchvision_lacks_or_that_has_no_linear_head_is_refused() -> None:
    assert "Did you mean resnet18?" in read_error(lambda: build_pretrained("DEFAULT", "resnet81"), "model.variant")
    assert "is not a classification network of torchvision" in read_error(
        lambda: build_pretrained("x", "lraspp"), "model.variant"
    )
    message = read_error(lambda: Pretrained(3, 5, "squeezenet1_0", None), "model.variant")
    assert "does not end in a linear layer" in message


def test_grey_pictures_and_pictures_that_are_no_whole_patches_are_refused_with_what_to_type() -> None:
    assert "data.channels=3" in read_error(lambda: Pretrained(1, 5, "resnet18", None), "model")
    message = read_error(lambda: Pretrained(3, 5, "vit_b_16", None, image_size=40), "model.image_size")
    assert "Set a multiple of 16" in message


def test_a_vision_transformer_takes_weights_of_another_size(tmp_path: Path) -> None:
    theirs = build_reference("vit_b_32", 96)
    path = published_file(theirs, tmp_path / "vit.pth")
    positions = Pretrained(3, 5, "vit_b_32", str(path), image_size=64).backbone.get_parameter("encoder.pos_embedding")
    old = theirs.get_parameter("encoder.pos_embedding")
    grid = old[:, 1:].unflatten(1, (3, 3))
    assert torch.equal(positions[:, 0], old[:, 0])
    new = positions[:, 1:].unflatten(1, (2, 2))
    for row, column in ((0, 0), (0, -1), (-1, 0), (-1, -1)):  # the corners stay
        torch.testing.assert_close(new[:, row, column], grid[:, row, column])
