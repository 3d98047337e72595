"""The networks for small images are those of other implementations, with the same weights."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest
import timm.models.convmixer
import timm.models.vision_transformer
import torch
import torchvision
from conftest import noise, raises_user_error
from torch import Tensor, nn
from torch.nn import functional as F

from viewfinder.experiment.export.files import trace, write_onnx
from viewfinder.models.airbench import AirBench
from viewfinder.models.cifar_resnet import CifarResNet
from viewfinder.models.conv_mixer import ConvMixer
from viewfinder.models.inference import InferenceNetwork
from viewfinder.models.vision_transformer import VisionTransformer


def shake(network: nn.Module) -> None:
    """Give every parameter and statistic a value that shows where it is applied."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if value.ndim > 1:
                value.copy_(torch.randn(value.shape, generator=generator) * (2 / value[0].numel()) ** 0.5)
            elif value.is_floating_point():
                drawn = torch.rand(value.shape, generator=generator)
                value.copy_(drawn - 0.5 if name.endswith(("bias", "running_mean")) else drawn + 0.5)


def copy_in_order(source: nn.Module, target: nn.Module) -> None:
    ours, theirs = source.state_dict(), target.state_dict()
    target.load_state_dict(dict(zip(theirs, ours.values(), strict=True)))


def assert_same_outputs(
    expected: Callable[[Tensor], Tensor], network: Callable[[Tensor], Tensor], images: Tensor
) -> None:
    with torch.no_grad():
        outputs = expected(images)
        assert outputs.std(0).max() > 0.01
        torch.testing.assert_close(network(images), outputs, rtol=1e-4, atol=1e-5)


def count(network: nn.Module, trained: bool = False) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad or not trained)


@pytest.mark.parametrize(("image_size", "training"), [(32, True), (19, False)])
def test_airbench_is_the_published_sequence_of_operations(image_size: int, training: bool) -> None:
    network = AirBench(3, 5, image_size, widths=[8, 12, 12])
    shake(network)
    values = {name: value.clone() for name, value in network.state_dict().items()}

    def forward(images: Tensor) -> Tensor:
        maps = F.gelu(F.conv2d(images, values["whitening.weight"], values["whitening.bias"]))
        for block in range(3):
            for index in (1, 2):
                maps = F.conv2d(maps, values[f"blocks.{block}.conv{index}.weight"], padding=1)
                maps = F.max_pool2d(maps, 2) if index == 1 else maps
                norm = f"blocks.{block}.norm{index}."
                statistics = (values[f"{norm}running_mean"], values[f"{norm}running_var"])
                affine = (values[f"{norm}weight"], values[f"{norm}bias"])
                maps = F.gelu(F.batch_norm(maps, *statistics, *affine, training))
        return F.linear(maps.amax((2, 3)), values["head.weight"]) / 9

    assert_same_outputs(forward, network.train(training), torch.rand(4, 3, image_size, image_size))


def test_airbench_has_the_published_number_of_parameters_and_trains_all_but_whitening_and_scales() -> None:
    with torch.device("meta"):
        network = AirBench(3, 10)
    assert count(network) == 1_972_792  # 1.97 million in the paper
    fixed = {name for name, parameter in network.named_parameters() if not parameter.requires_grad}
    scales = {f"blocks.{block}.norm{index}.weight" for block in range(3) for index in (1, 2)}
    assert fixed == {"whitening.weight", *scales}
    network.freeze_except(["head"])
    network.freeze_except([""])
    assert {name for name, parameter in network.named_parameters() if not parameter.requires_grad} == fixed
    with torch.device("meta"):
        assert AirBench(3, 10, whitening=False).whitening.weight.requires_grad


def test_a_convolution_of_airbench_begins_as_the_identity_of_its_input() -> None:
    network, maps = AirBench(1, 2, widths=[10, 6], whitening_size=2), torch.rand(1, 8, 5, 5)
    first, second = network.blocks[0].conv1, network.blocks[1].conv1
    assert torch.equal(first(maps)[:, :8], maps)
    assert not torch.equal(first(maps)[:, 8:], torch.zeros(1, 2, 5, 5))
    maps = torch.rand(1, 10, 5, 5)
    assert torch.equal(second(maps), maps[:, :6])
    assert not torch.equal(AirBench(1, 2, widths=[10], dirac=False).blocks[0].conv1(maps[:, :8])[:, :8], maps[:, :8])


def test_resnet18_is_torchvisions_with_a_stem_for_small_images() -> None:
    expected = torchvision.models.resnet18(num_classes=7)
    expected.conv1, expected.maxpool = nn.Conv2d(1, 64, 3, 1, 1, bias=False), nn.Identity()  # type: ignore[assignment]
    network = CifarResNet(1, 7, image_size=16)
    copy_in_order(network, expected)
    assert_same_outputs(expected.eval(), network.eval(), torch.rand(2, 1, 16, 16))
    with torch.device("meta"):
        assert count(CifarResNet(3, 10)) == 11_173_962  # of the implementations that report 95% on CIFAR-10
    std = network.backbone.conv1.weight.std().item()
    assert std == pytest.approx((2 / (9 * 64)) ** 0.5, rel=0.1)  # He et al. 2015, over the outputs


VIT_NAMES = {
    "cls_token": "token", "pos_embed": "positions", "patch_embed.proj": "patches", "blocks": "encoder",
    "attn.qkv.": "self_attn.in_proj_", "attn.proj": "self_attn.out_proj", "mlp.fc1": "linear1", "mlp.fc2": "linear2",
}  # fmt: skip


@pytest.mark.parametrize("pooling", ["mean", "token"])
def test_a_vision_transformer_is_timms(pooling: Any) -> None:
    network = VisionTransformer(3, 5, 16, patch_size=4, depth=2, width=24, heads=2, mlp_ratio=3, pooling=pooling)
    expected = timm.models.vision_transformer.VisionTransformer(
        16, 4, 3, 5, "avg" if pooling == "mean" else "token", 24, 2, 2, 3, class_token=pooling == "token", fc_norm=False
    )
    shake(network)
    state = network.state_dict()
    for name, value in expected.state_dict().items():
        for theirs, ours in VIT_NAMES.items():
            name = name.replace(theirs, ours)
        value.copy_(state.pop(name))
    assert not state
    images = torch.rand(2, 3, 16, 16)
    assert_same_outputs(expected.eval(), network.train(), images)
    assert_same_outputs(expected, network.eval(), images)


def test_a_conv_mixer_is_timms() -> None:
    network = ConvMixer(3, 5, 16, depth=2, width=8, kernel_size=3, patch_size=2)
    expected = timm.models.convmixer.ConvMixer(8, 2, 3, 2, 3, 5)
    shake(network)
    copy_in_order(network, expected)
    images = torch.rand(2, 3, 16, 16)
    for training in (True, False):
        assert_same_outputs(expected.train(training), network.train(training), images)


WRONG: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "airbench": (lambda: AirBench(3, 2, 8), "model.image_size = 8 must be at least 9: each of the 3 blocks halves"),
    "patches": (lambda: ConvMixer(3, 2, 9), r"model.patch_size = 2 must divide the side.*model.image_size=8"),
    "kernels": (lambda: ConvMixer(3, 2, kernel_size=4), "model.kernel_size = 4 must be odd"),
    "heads": (lambda: VisionTransformer(3, 2, heads=5), "model.heads = 5 must divide model.width=192.*width=190"),
    "tokens": (lambda: VisionTransformer(3, 2, patch_size=5), "model.patch_size = 5 must divide"),
}


@pytest.mark.parametrize("case", WRONG)
def test_sizes_that_do_not_fit_are_refused(case: str) -> None:
    build, message = WRONG[case]
    with raises_user_error(message):
        build()


@pytest.mark.slow
@pytest.mark.parametrize(
    "build",
    [
        lambda: AirBench(3, 5, 9, widths=[4, 6, 6]),
        lambda: CifarResNet(3, 5, 8, [1, 1, 1, 1]),
        lambda: VisionTransformer(3, 5, 8, width=12, depth=2, heads=2),
        lambda: VisionTransformer(3, 5, 8, width=12, depth=1, heads=2, pooling="token"),
        lambda: ConvMixer(3, 5, 8, width=8, depth=2),
    ],
    ids=["airbench", "resnet18_cifar", "vit", "vit with a token", "convmixer"],
)
def test_an_exported_network_answers_as_the_network(build: Callable[[], Any], tmp_path: Path) -> None:
    network, path, images = build(), tmp_path / "model", torch.from_numpy(noise(5, 3, 11, 14))
    shake(network)
    inference = InferenceNetwork(network.eval(), (11, 14)).eval()
    write_onnx(trace(inference, 3, "network"), {}, path, "network")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(images: Tensor) -> Tensor:
        return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])

    assert_same_outputs(run, lambda images: inference(images)[1], images)


def test_airbench_takes_several_sizes_as_progressive_resizing_needs() -> None:
    network = AirBench(3, 2).eval()
    for side in (9, 24, 32):
        assert network(torch.rand(1, 3, side, side)).shape == (1, 2)


def test_airbench_takes_the_smallest_images_that_its_blocks_leave_pixels_of() -> None:
    assert AirBench(3, 2, 9).eval()(torch.rand(1, 3, 9, 9)).shape == (1, 2)
