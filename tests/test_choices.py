"""What is chosen by trying: by a clear margin, once a machine, and without a trace in the run."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import train_into
from torch import Tensor, nn

import viewfinder.choices as choices
from viewfinder.choices import choose_precision
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.overrides import compose_config
from viewfinder.trainer import build_trainer, loop_of

CPU = torch.device("cpu")
BATCH = (8, 3, 16, 16)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def found(monkeypatch: pytest.MonkeyPatch, *speedups: float) -> list[float]:
    """Let trying find these, one after the other; what is left of them."""
    left = list(speedups)
    monkeypatch.setattr(choices, "_speedup", lambda *_: left.pop(0))
    return left


@pytest.mark.parametrize(
    ("speedup", "chosen"), [(0.5, "32-true"), (1.19, "32-true"), (1.2, "bf16-mixed"), (3.0, "bf16-mixed")]
)
def test_float32_is_left_only_by_a_clear_margin(monkeypatch: pytest.MonkeyPatch, speedup: float, chosen: str) -> None:
    found(monkeypatch, speedup)
    precision, reason = choose_precision(SimpleCNN(3, 2, 16), BATCH, CPU, "auto")
    assert precision == chosen
    assert f"{speedup:.2f} times" in reason


def test_equal_commands_make_equal_choices_and_others_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    left = found(monkeypatch, 2.0, 0.7, 0.8, 0.9)
    first = choose_precision(SimpleCNN(3, 2, 16), BATCH, CPU, "auto")
    assert choose_precision(SimpleCNN(3, 2, 16), BATCH, CPU, "auto") == first
    assert left == [0.7, 0.8, 0.9]
    choose_precision(SimpleCNN(3, 2, 16, width=4), BATCH, CPU, "auto")
    choose_precision(SimpleCNN(3, 2, 16), (9, 3, 16, 16), CPU, "auto")
    choose_precision(SimpleCNN(3, 2, 32), BATCH, CPU, "auto")
    assert left == []


def test_what_is_asked_for_is_taken_untried(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch)
    assert choose_precision(SimpleCNN(3, 2, 16), BATCH, CPU, "bf16-mixed").precision == "bf16-mixed"


@pytest.mark.parametrize("typed", ["trainer.deterministic=true", "trainer.devices=2"])
def test_where_bits_must_not_depend_on_the_machine_nothing_is_tried(typed: str) -> None:
    options = dict(compose_config(["trainer=cpu", typed]).trainer)
    options.pop("_target_")
    assert loop_of(build_trainer(**options)).precision == "32-true"


def test_trying_leaves_the_network_and_the_random_numbers_as_they_were() -> None:
    network = CustomCNN(3, 4, 16, widths=[4], hidden=[8]).train(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert choose_precision(network, BATCH, CPU, "auto").precision in ("32-true", "bf16-mixed")
    assert torch.equal(torch.get_rng_state(), state)
    assert not network.training
    assert all(parameter.grad is None for parameter in network.parameters())
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name])


class Picky(SimpleCNN):
    def forward(self, pictures: Tensor) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("only float32")
        return super().forward(pictures)


def test_a_network_that_cannot_be_tried_is_trained_in_float32() -> None:
    precision, reason = choose_precision(Picky(3, 2, 16), BATCH, CPU, "auto")
    assert precision == "32-true"
    assert "RuntimeError" in reason


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}'])
def test_a_damaged_cache_is_begun_anew(monkeypatch: pytest.MonkeyPatch, cache: Path, content: str) -> None:
    left = found(monkeypatch, 2.0)
    file = cache / "viewfinder" / "precision.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    for _ in range(2):
        assert choose_precision(SimpleCNN(3, 2, 16), BATCH, CPU, "auto").precision == "bf16-mixed"
    assert left == []


def test_a_home_that_cannot_be_written_only_costs_another_try(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    left = found(monkeypatch, 2.0, 2.0)
    cache.write_text("a file where the folder would be")
    for _ in range(2):
        assert choose_precision(SimpleCNN(3, 2, 16), BATCH, CPU, "auto").precision == "bf16-mixed"
    assert left == []


RESIDENT = """
import ctypes, sys
from viewfinder.process import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
libc = ctypes.CDLL("libc.so.6")
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
block = libc.malloc(16 << 20)
ctypes.memset(block, 1, 16 << 20)
before = int(open("/proc/self/statm").read().split()[1])
libc.free(block)
print((before - int(open("/proc/self/statm").read().split()[1])) * 4096 >> 20)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="mallopt is glibc's")
def test_freed_memory_is_kept_only_when_asked() -> None:
    def given_back(how: str) -> int:
        done = subprocess.run([sys.executable, "-c", RESIDENT, how], capture_output=True, text=True, check=True)
        return int(done.stdout)

    assert given_back("keep") <= 1
    assert given_back("leave") >= 15


def test_a_run_says_which_precision_it_took_and_why(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_into(tmp_path / "run", *tiny, "trainer.precision=auto", "trainer.max_epochs=1")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("device ")]
    assert f"; {run.read_run()['precision']}, " in line
    assert "times as fast" in line


def test_bfloat16_is_used_in_training_and_never_in_evaluation(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[tuple[bool, bool]] = set()
    forward = nn.Conv2d.forward

    def noting(self: nn.Conv2d, pictures: Tensor) -> Tensor:
        out = forward(self, pictures)
        if len(pictures) > 1:  # one picture is what the graph and the counts are made with
            seen.add((self.training, out.dtype == torch.bfloat16))
        return out

    monkeypatch.setattr(nn.Conv2d, "forward", noting)
    train_into(tmp_path / "run", *tiny, "trainer.precision=bf16-mixed", "trainer.max_epochs=1")
    assert seen == {(True, True), (False, False)}
