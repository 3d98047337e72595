"""timm's networks keep their features under a new head, and its published preprocessing."""

import sys
from typing import Any

import pytest
import torch
from PIL import Image
from sklearn.datasets import load_sample_image
from torch import nn
from weight_files import read_error, train_and_list_changed

from viewfinder.config.overrides import compose_config
from viewfinder.data.resize import Resize
from viewfinder.errors import UserError
from viewfinder.experiment.check import check_config
from viewfinder.models.timm_backbone import find_published, published_preprocess
from viewfinder.models.timm_network import TimmNetwork
from viewfinder.models.transfer import is_within
from viewfinder.training.phases import Phases

timm = pytest.importorskip("timm")

FAMILIES: dict[str, tuple[int, dict[str, Any]]] = {
    "resnet10t": (32, {}),
    "efficientnet_lite0": (32, {}),
    "vit_tiny_patch16_224": (32, {"depth": 2}),
    "convnext_atto": (32, {}),
    "swin_tiny_patch4_window7_224": (32, {"embed_dim": 24, "depths": [1, 1, 2, 1], "num_heads": [1, 2, 4, 8]}),
    "mobilenetv3_small_050": (32, {}),
    "regnetx_002": (32, {}),
    "densenet121": (32, {"growth_rate": 8, "block_config": [2, 2, 2, 2]}),
    "mixer_s32_224": (64, {"mlp_ratio": [0.25, 1.0]}),
    "deit_tiny_distilled_patch16_224": (32, {"depth": 2}),
    "efficientformerv2_s0": (64, {}),
}
"""Names in timm, each with a side in pixels and arguments that make it small."""


@pytest.mark.parametrize("name", FAMILIES)
def test_each_family_keeps_timms_features_under_a_head_that_alone_is_trained(name: str) -> None:
    side, arguments = FAMILIES[name]
    torch.manual_seed(0)
    network = TimmNetwork(3, 4, name, None, image_size=side, arguments=arguments)
    theirs = timm.create_model(name, num_classes=5, **timm_options(name, side), **arguments).eval()
    found = theirs.load_state_dict(network.backbone.state_dict(), strict=False)
    assert not found.unexpected_keys
    assert all(key.startswith(("fc", "classifier", "head")) for key in found.missing_keys)
    images = torch.rand(4, 3, side, side)
    network.train()  # frozen: no difference to the features
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
        features = network.backbone(images)
        torch.testing.assert_close(features, expected)
        assert features.std() > 0
        network.eval()
        linear = network.head[-1]
        torch.testing.assert_close(network(images), features @ linear.weight.T + linear.bias)
    assert train_and_list_changed(network, images) == ["head.1.weight", "head.1.bias"]
    phases = Phases({"last": {"train": 1}}, network, 1, 1e-2)
    phases.enter(0)
    trained = {key for key, _ in network.named_parameters() if is_within(key, ["head", *phases.blocks[-1]])}
    changed = train_and_list_changed(network, images)
    assert set(changed) & {key for key, _ in network.named_parameters()} == trained
    assert all(is_within(key, ["head", *phases.blocks[-1]]) for key in changed)


def timm_options(name: str, side: int) -> dict[str, int]:
    return {"img_size": side} if timm.get_pretrained_cfg(name).fixed_input_size else {}


def test_unfrozen_means_that_weights_and_statistics_move() -> None:
    network = TimmNetwork(3, 4, "resnet10t", None, freeze=False, image_size=32)
    assert train_and_list_changed(network, torch.rand(4, 3, 32, 32)) == list(network.state_dict())


def test_a_head_may_have_several_layers_and_parts_are_named_as_in_timm() -> None:
    network = TimmNetwork(3, 4, "resnet10t", None, hidden=[6], dropout=0.3, image_size=32)
    assert [type(layer) for layer in network.head] == [nn.Dropout, nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    phases = Phases({"part": {"train": ["head", "layer4"]}}, network, 1, 1e-2)
    assert phases.parts["part"] == ["head", "backbone.layer4"]


PUBLISHED = (
    "resnet18.a1_in1k", "inception_v3.tf_in1k", "vit_tiny_patch16_224.augreg_in21k_ft_in1k", "convnext_atto.d2_in1k",
    "vit_base_patch16_siglip_224.webli", "test_resnet.r160_in1k", "mobilenetv3_large_100.ra_in1k",
)  # fmt: skip
"""Bilinear and bicubic, crops from larger images and whole images."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_preprocessing_is_timms_own_on_a_real_image(name: str) -> None:
    published = find_published(name)
    preprocess = published_preprocess(published, "weights", None, 3)
    facts = timm.data.resolve_data_config(pretrained_cfg=published.to_dict())
    transform = timm.data.create_transform(**facts, is_training=False)
    image = Image.fromarray(load_sample_image("china.jpg"))
    for photo in (image, image.crop((100, 0, 400, 427))):
        expected = transform(photo)[None]
        # Decoded straight to the size, as files are, to the bit; and resized on the device, to a level.
        pixels = torch.from_numpy(load_levels(preprocess.resize.resize_image(photo)))
        preprocess.is_fitted = True
        assert ((preprocess(pixels) - expected).abs() / preprocess.scale).max() < 1e-3
        preprocess.is_fitted = False
        difference = (preprocess(torch.from_numpy(load_levels(photo))) - expected).abs() / preprocess.scale
        assert difference.max() < 1.01


def load_levels(image: Image.Image) -> Any:
    """(1, 3, H, W) uint8"""
    import numpy as np

    return np.array(image).transpose(2, 0, 1)[None]


def test_every_published_preprocessing_is_taken_or_refused_by_name() -> None:
    refused = {}
    for name in timm.list_models(include_tags=True):
        published = timm.get_pretrained_cfg(name)
        try:
            preprocess = published_preprocess(published, "weights", None, 3)
        except UserError as error:
            (problem,) = error.problems
            refused[name] = problem.key
        else:
            facts = timm.data.resolve_data_config(pretrained_cfg=published.to_dict())
            assert (preprocess.image_size, preprocess.image_size) == tuple(facts["input_size"][1:])
            assert preprocess.resize.interpolation == facts["interpolation"]
    assert set(refused.values()) <= {"model.preprocess", "model.image_size"}
    assert len(refused) < 60


def test_another_size_scales_the_resize_and_grey_images_get_the_average_normalisation() -> None:
    network = TimmNetwork(1, 3, "resnet10t.c3_in1k", None, image_size=112)
    assert network.preprocess.resize == Resize(112, 112, (128, 128), "bicubic")
    assert network.preprocess.mean == pytest.approx([(0.485 + 0.456 + 0.406) / 3])
    assert network(torch.rand(2, 1, 112, 112)).shape == (2, 3)
    plain = TimmNetwork(3, 3, "resnet10t.c3_in1k", None, image_size=112, preprocess="resize").preprocess
    assert (plain.resize, plain.mean) == (Resize(112, 112), (0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet81", "Did you mean resnet18?"),
        ("resnet18.a1_in2k", "Did you mean resnet18.a1_in1k?"),
        ("hf-hub:timm/resnet18.a1_in1k", "repositories such as hf-hub:owner/name are not read"),
        ("hf_hub:timm/resnet18.a1_in1k", "repositories such as hf-hub:owner/name are not read"),
        ("local-dir:/tmp/network", "and model.weights to the file"),
        ("timm/resnet18.a1_in1k", "are not read"),
        ("vit_tiny_patch16_224_in21k", "Set model.name=vit_tiny_patch16_224.augreg_in21k."),
        ("lraspp", "is not a network of timm"),
    ],
)
def test_a_name_that_timm_does_not_list_is_refused_with_the_nearest(name: str, expected: str) -> None:
    assert expected in read_error(lambda: TimmNetwork(3, 5, name, None), "model.name")


def test_arguments_that_follow_from_other_keys_or_that_timm_refuses_are_named() -> None:
    with pytest.raises(UserError) as caught:
        TimmNetwork(3, 5, "resnet10t", None, arguments={"num_classes": 7, "pretrained": True})
    assert [problem.key for problem in caught.value.problems] == [
        "model.arguments.num_classes", "model.arguments.pretrained",
    ]  # fmt: skip
    message = read_error(lambda: TimmNetwork(3, 5, "resnet10t", None, arguments={"depht": 7}), "model.arguments")
    assert "unexpected keyword argument 'depht'" in message


def test_a_size_that_is_no_whole_patches_is_refused() -> None:
    options = {"arguments": {"depth": 1}}
    message = read_error(
        lambda: TimmNetwork(3, 5, "vit_tiny_patch16_224", None, image_size=40, **options), "model.image_size"
    )
    assert "Set a multiple of 16" in message
    message = read_error(lambda: TimmNetwork(3, 5, "xcit_nano_12_p16_224", None, image_size=30), "model.image_size")
    assert "`patch_size` should divide image dimensions evenly" in message


def test_arguments_are_added_with_a_plus_and_hold_no_text() -> None:
    words = ["model=timm", "model.name=resnet10t", "data=digits"]
    cfg = compose_config([*words, "+model.arguments.drop_path_rate=0.1", "+model.arguments.depths=[1,2]"])
    check_config(cfg)
    assert cfg.model.arguments == {"drop_path_rate": 0.1, "depths": [1, 2]}
    for word in ("model.arguments={drop_path_rate: 0.1}", "model.arguments.drop_path_rate=0.1"):
        with pytest.raises(UserError) as caught:
            compose_config([*words, word])
        assert "Add it with a plus: +model.arguments." in caught.value.problems[0].remedy
    for value in ("w.pth", "[w.pth]", "{file: w.pth}"):
        with pytest.raises(UserError) as caught:
            check_config(compose_config([*words, f"+model.arguments.checkpoint_path={value}"]))
        assert caught.value.problems[0].key == "model.arguments"


def test_without_timm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    assert 'pip install "viewfinder[timm]"' in read_error(lambda: TimmNetwork(3, 5, "resnet10t", None), "model=timm")
