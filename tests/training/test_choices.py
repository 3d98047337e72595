"""What is chosen by trying: by a clear margin, once a machine, and without a trace in the run."""

import os
import platform
import re
import subprocess
import sys
from collections import namedtuple
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch
from conftest import train_into
from torch import Tensor, nn

from viewfinder.config.overrides import compose_config
from viewfinder.models.custom_cnn import CustomCNN
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.training import choices, trial
from viewfinder.training.choices import Choices, choose
from viewfinder.training.precision import FAST
from viewfinder.training.trial import Trial

CPU = torch.device("cpu")
BATCH = (8, 3, 16, 16)


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


BUSY_SECONDS = trial._busy_seconds


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else runs here."""
    monkeypatch.setattr(trial, "_busy_seconds", lambda: 0.0)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def found(monkeypatch: pytest.MonkeyPatch, *speedups: float) -> list[float]:
    """Let trying find these, one after the other; what is left of them."""
    left = list(speedups)
    monkeypatch.setattr(choices, "gains", lambda _: {FAST: left.pop(0)})
    return left


def precision_of(network: nn.Module, batch: tuple[int, ...] = BATCH, **trainer: Any) -> tuple[str, str]:
    chosen = choose(network, batch, CPU, {"precision": "auto", "threads": 1, **trainer})
    return chosen.precision, chosen.said


@pytest.mark.parametrize(
    ("speedup", "chosen"), [(0.5, "32-true"), (1.19, "32-true"), (1.2, "bf16-mixed"), (3.0, "bf16-mixed")]
)
def test_float32_is_left_only_by_a_clear_margin(monkeypatch: pytest.MonkeyPatch, speedup: float, chosen: str) -> None:
    found(monkeypatch, speedup)
    precision, reason = precision_of(SimpleCNN(3, 2, 16))
    assert precision == chosen
    assert f"{speedup:.2f} times" in reason


def test_beside_a_busy_neighbour_float32_stays_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [0.0]

    def busy() -> float:  # every core, all the time
        seconds[0] += 1000.0
        return seconds[0]

    monkeypatch.setattr(trial, "_busy_seconds", busy)
    precision, reason = precision_of(SimpleCNN(3, 2, 16))
    assert precision == "32-true"
    assert "busy" in reason
    found(monkeypatch)  # a second trial would have nothing to find
    assert precision_of(SimpleCNN(3, 2, 16)) == (precision, reason)


def test_equal_commands_make_equal_choices_and_others_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    left = found(monkeypatch, 2.0, 0.7, 0.8, 0.9)
    first = precision_of(SimpleCNN(3, 2, 16))
    assert precision_of(SimpleCNN(3, 2, 16)) == first
    assert left == [0.7, 0.8, 0.9]
    precision_of(SimpleCNN(3, 2, 16, width=4))
    precision_of(SimpleCNN(3, 2, 16), (9, 3, 16, 16))
    precision_of(SimpleCNN(3, 2, 32))
    assert left == []


def machine(monkeypatch: pytest.MonkeyPatch, cores: int, seconds: dict[int, float], others: float = 0.0) -> None:
    """Let this be a machine of so many cores, where a step takes these seconds with so many threads.

    Args:
        others: of all cores' time, what other programs take.
    """
    threads, clock = [cores], [0.0]

    class Step(Trial):
        def step(self, precision: str) -> float:
            if not seconds:
                pytest.fail("nothing was to be tried")
            taken = seconds[threads[-1]]
            clock[0] += taken
            return taken

    monkeypatch.setattr(choices, "ALL_THREADS", cores)
    monkeypatch.setattr(choices, "Trial", Step)
    monkeypatch.setattr(trial, "_busy_seconds", lambda: others * cores * clock[0])
    monkeypatch.setattr(trial.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads[-1])
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)


def threads_of(**trainer: Any) -> Choices:
    return choose(SimpleCNN(3, 2, 16), BATCH, CPU, {"precision": "32-true", **trainer})


@pytest.mark.parametrize(
    ("seconds", "chosen"),
    [
        ({16: 0.010, 8: 0.006, 4: 0.004, 2: 0.006, 1: 0.009}, 4),
        ({16: 0.010, 8: 0.011, 4: 0.004, 2: 0.007, 1: 0.009}, 4),  # not stopped by a small step back
        ({16: 0.010, 8: 0.013, 4: 0.001, 2: 0.001, 1: 0.001}, 16),  # but by a large one
        ({16: 0.010, 8: 0.009, 4: 0.012, 2: 0.012, 1: 0.012}, 16),  # no clear margin
        ({16: 0.010, 8: 0.009, 4: 0.008, 2: 0.007, 1: 0.006}, 1),
        ({16: 0.100, 8: 0.001, 4: 0.001, 2: 0.001, 1: 0.001}, 16),  # steps so slow that there is work for all
    ],
)
def test_fewer_threads_are_taken_where_they_are_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, seconds: dict[int, float], chosen: int
) -> None:
    machine(monkeypatch, 16, seconds)
    first = threads_of()
    assert first.threads == torch.get_num_threads() == chosen
    assert first.device == f"cpu, {chosen} thread{'s' * (chosen > 1)}"
    if chosen != 16:
        assert f"({seconds[16] / seconds[chosen]:.2f} times as fast as 16)" in first.said
    machine(monkeypatch, 16, {})  # a second trial would find no seconds at all
    assert threads_of() == first


def test_threads_tried_beside_a_busy_neighbour_stay_what_they_were_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 16, {16: 0.01, 8: 0.004, 4: 0.004, 2: 0.004, 1: 0.004}, others=0.3)
    first = threads_of()
    assert first.threads == 16
    assert "busy" in first.said
    machine(monkeypatch, 16, {})
    assert threads_of() == first


@pytest.mark.parametrize("typed", [{"threads": 3}, {}, {"deterministic": True}])
def test_threads_that_are_asked_for_are_taken_untried(monkeypatch: pytest.MonkeyPatch, typed: dict[str, Any]) -> None:
    machine(monkeypatch, 16, {})
    if not typed:
        monkeypatch.setenv("OMP_NUM_THREADS", "16")
    assert threads_of(**typed).threads == typed.get("threads", 16)


@pytest.mark.parametrize(
    ("threads", "said"), [(17, "17 threads on 16 cores, which is many times"), (16, "16 threads;")]
)
def test_more_threads_than_cores_are_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, threads: int, said: str
) -> None:
    machine(monkeypatch, 16, {})
    monkeypatch.setattr(choices.os, "cpu_count", lambda: 16)
    chosen = threads_of(threads=threads)
    assert chosen.threads == threads
    assert said in chosen.said


def test_several_processes_share_the_threads_and_lightning_leaves_them_so(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, 16, {})
    monkeypatch.setenv("OMP_NUM_THREADS", "a value to be restored")
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert threads_of(devices=4).threads == 4
    assert os.environ["OMP_NUM_THREADS"] == "4"


def test_what_other_programs_take_is_all_that_is_taken_less_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    everyone = namedtuple("everyone", "user nice system idle iowait irq softirq steal guest guest_nice")
    own = SimpleNamespace(user=1.5, system=0.25)
    monkeypatch.setattr(psutil, "cpu_times", lambda: everyone(10, 1, 2, 500, 50, 0.125, 0.25, 0.5, 3, 1))
    monkeypatch.setattr(psutil, "Process", lambda: SimpleNamespace(cpu_times=lambda: own))
    # guest and guest_nice are counted in user and nice as well
    assert BUSY_SECONDS() == 10 + 1 + 2 + 0.125 + 0.25 + 0.5 - 1.5 - 0.25


def test_a_run_takes_all_threads_again_after_one_that_took_fewer(
    monkeypatch: pytest.MonkeyPatch, tiny: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(choices, "ALL_THREADS", 2)
    runs = [train_into(tmp_path / name, *tiny, *more) for name, *more in (("one",), ("all", "trainer.threads=null"))]
    assert [run.read_run()["threads"] for run in runs] == [1, 2]
    assert torch.get_num_threads() == 2


def test_what_is_asked_for_is_taken_untried(monkeypatch: pytest.MonkeyPatch) -> None:
    found(monkeypatch)
    assert precision_of(SimpleCNN(3, 2, 16), precision="bf16-mixed")[0] == "bf16-mixed"


@pytest.mark.parametrize("typed", ["trainer.deterministic=true", "trainer.devices=2"])
def test_where_bits_must_not_depend_on_the_machine_nothing_is_tried(
    monkeypatch: pytest.MonkeyPatch, typed: str
) -> None:
    found(monkeypatch)
    machine(monkeypatch, 8, {})
    monkeypatch.setenv("OMP_NUM_THREADS", "a value to be restored")
    monkeypatch.delenv("OMP_NUM_THREADS")
    chosen = choose(SimpleCNN(3, 2, 16), BATCH, CPU, compose_config(["trainer=cpu", typed]).trainer)
    assert (chosen.precision, chosen.threads) == ("32-true", 4 if "devices" in typed else 8)


def test_trying_leaves_the_network_and_the_random_numbers_as_they_were() -> None:
    network = CustomCNN(3, 4, 16, widths=[4], hidden=[8]).train(False)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    assert precision_of(network)[0] in ("32-true", "bf16-mixed")
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
    precision, reason = precision_of(Picky(3, 2, 16))
    assert precision == "32-true"
    assert "RuntimeError" in reason


def test_a_step_that_cannot_be_a_graph_is_tried_as_it_will_be_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(work: object, gpu: torch.device) -> None:
        raise RuntimeError("a layer waits for the GPU")

    monkeypatch.setattr(trial, "capture", refuse)
    tried = Trial(SimpleCNN(3, 2, 16), BATCH, CPU, is_graphed=True)
    assert tried.step(FAST) > 0
    assert not tried.is_graphed


@pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}'])
def test_a_damaged_cache_is_begun_anew(monkeypatch: pytest.MonkeyPatch, cache: Path, content: str) -> None:
    left = found(monkeypatch, 2.0)
    file = cache / "viewfinder" / "choices.json"
    file.parent.mkdir(parents=True)
    file.write_text(content)
    for _ in range(2):
        assert precision_of(SimpleCNN(3, 2, 16))[0] == "bf16-mixed"
    assert left == []


def test_a_home_that_cannot_be_written_only_costs_another_try(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    left = found(monkeypatch, 2.0, 2.0)
    cache.write_text("a file where the folder would be")
    for _ in range(2):
        assert precision_of(SimpleCNN(3, 2, 16))[0] == "bf16-mixed"
    assert left == []


RESIDENT = """
import ctypes, sys
from viewfinder.training.runtime import keep_freed_memory

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
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines() if str(tmp_path) not in line)
    (said,) = re.findall(r"^device   (.*(?:\n {9}.*)*)", out, re.MULTILINE)
    assert f"; {run.read_run()['precision']}, " in " ".join(said.split())
    assert "times as fast" in " ".join(said.split())


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
