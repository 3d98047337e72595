"""The precision of `auto` is a function of hardware and architecture."""

import pytest
import torch
from tf32 import read_tf32
from torch import nn

from viewfinder.config.overrides import compose_config, find_conf
from viewfinder.experiment.build import build_network
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.mlp import MLP
from viewfinder.models.summary import get_architecture
from viewfinder.models.timm_network import TimmNetwork
from viewfinder.training import precision
from viewfinder.training.precision import (
    CPU_SPEEDUPS,
    MIN_SPEEDUP,
    TF32,
    choose_precision,
    step_context,
)

CPU, GPU = torch.device("cpu"), torch.device("cuda", 0)


class OwnNetwork(nn.Module):
    pass


def pretend_cpu(monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, amx: bool) -> None:
    monkeypatch.setattr(precision, "has_avx512_bf16", lambda: avx512_bf16)
    monkeypatch.setattr(precision, "has_amx", lambda: amx)


@pytest.mark.parametrize(
    ("avx512_bf16", "amx", "expected"),
    [
        (False, False, ("32-true", "CPU has neither AVX512-BF16 nor AMX")),
        (True, False, ("bf16-mixed", "CPU has AVX512-BF16")),
        (True, True, ("bf16-mixed", "CPU has AVX512-BF16")),
        (False, True, ("bf16-mixed", "CPU has AMX")),
    ],
)
def test_a_cpu_uses_bfloat16_only_with_instructions_for_it(
    monkeypatch: pytest.MonkeyPatch, avx512_bf16: bool, amx: bool, expected: tuple[str, str]
) -> None:
    pretend_cpu(monkeypatch, avx512_bf16, amx)
    assert choose_precision(CustomCNN(3, 4, 16, widths=[4], hidden=[8]), CPU) == expected


def test_a_network_that_gains_little_or_was_not_measured_stays_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_cpu(monkeypatch, avx512_bf16=True, amx=True)
    assert choose_precision(MLP(3, 2, 16), CPU) == ("32-true", "MLP gains little from bf16-mixed")
    assert choose_precision(OwnNetwork(), CPU) == ("32-true", "no measurement of OwnNetwork in bf16-mixed")


@pytest.mark.parametrize(
    ("capability", "network", "expected"),
    [
        ((7, 5), MLP(3, 2, 16), "32-true"),
        ((8, 0), MLP(3, 2, 16), "bf16-mixed"),
        ((9, 0), MLP(3, 2, 16), "bf16-mixed"),
        ((12, 0), MLP(3, 2, 16), "bf16-mixed"),
        ((7, 5), OwnNetwork(), "32-true"),
        ((9, 0), OwnNetwork(), "tf32"),
    ],
)
def test_a_gpu_uses_what_its_compute_capability_has(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], network: nn.Module, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    reason = f"GPU has compute capability {capability[0]}.{capability[1]}"
    assert choose_precision(network, GPU) == (expected, reason)


def test_tf32_is_allowed_during_training_steps_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for precision_of_steps, is_allowed in ((TF32, True), ("32-true", False)):
        with step_context(precision_of_steps):
            assert read_tf32() == (is_allowed, is_allowed)
        assert read_tf32() == (False, False)


def test_every_measured_architecture_is_a_shipped_network() -> None:
    shipped = set()
    for path in find_conf().glob("model/*.yaml"):
        text = path.read_text(encoding="utf-8")
        weights = ["model.weights=null"] if "weights:" in text else []
        weights += ["model.name=resnet10t"] if "name: ???" in text else []
        with torch.device("meta"):
            shipped.add(get_architecture(build_network(compose_config([f"model={path.stem}", *weights]), 3, 10)))
    assert set(CPU_SPEEDUPS) <= shipped


def test_no_network_of_timm_counts_as_measured_even_if_torchvision_has_one_of_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend_cpu(monkeypatch, avx512_bf16=True, amx=True)
    with torch.device("meta"):
        network = TimmNetwork(3, 10, "resnet50", None, image_size=32)
    assert "resnet50" in CPU_SPEEDUPS
    assert choose_precision(network, CPU) == ("32-true", "no measurement of timm/resnet50 in bf16-mixed")


def test_networks_that_gain_are_listed_apart_from_those_that_do_not() -> None:
    gains = {name for name, speedup in CPU_SPEEDUPS.items() if speedup >= MIN_SPEEDUP}
    assert {"CustomCNN", "resnet50", "vit_b_16"} <= gains
    assert not {"MLP", "mobilenet_v3_large"} & gains
