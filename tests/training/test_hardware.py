"""Threads, precision and CUDA graph follow from hardware, network and settings alone."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import train_into
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from ranks import srun_variables
from torch import nn

from viewfinder.config.overrides import compose_config
from viewfinder.models.simple_cnn import SimpleCNN
from viewfinder.training import hardware, precision
from viewfinder.training.ddp import Launcher
from viewfinder.training.hardware import HardwareSettings, choose_settings

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend a CPU of 16 cores on which bfloat16 is fast."""
    monkeypatch.setattr(hardware, "DEFAULT_THREADS", 16)
    monkeypatch.setattr(hardware, "count_cores", lambda: 16)
    monkeypatch.setattr(precision, "choose_precision", lambda network, device: ("bf16-mixed", "CPU has AVX512-BF16"))


def choose(**arguments: Any) -> HardwareSettings:
    trainer = {"precision": "auto", **arguments.pop("trainer", {})}
    return choose_settings(SimpleCNN(3, 2, 16), None, CPU, trainer, **arguments)


@pytest.mark.parametrize(
    ("trainer", "threads"),
    [
        ({}, 16),
        ({"threads": 3}, 3),
        ({"deterministic": True}, 16),
        ({"devices": 4}, 4),
        ({"devices": 32}, 1),
        ({"devices": 4, "threads": 7}, 7),
    ],
)
def test_processes_share_the_cores_unless_threads_are_set(trainer: dict[str, Any], threads: int) -> None:
    settings = choose(trainer=trainer)
    assert settings.threads == threads
    assert settings.device == f"cpu, {threads} thread{'s' * (threads > 1)}"


@pytest.mark.parametrize(
    ("trainer", "arguments", "expected", "reason"),
    [
        ({}, {}, "bf16-mixed", "CPU has AVX512-BF16"),
        ({"precision": "32-true"}, {}, "32-true", "trainer.precision"),
        ({"precision": "bf16-mixed", "deterministic": True}, {}, "bf16-mixed", "trainer.precision"),
        ({"deterministic": True}, {}, "32-true", "trainer.deterministic"),
        ({"devices": 2}, {}, "32-true", "several devices"),
        ({}, {"trains_head_only": True}, "32-true", "only the head trains"),
        ({}, {"resumed": {"threads": 2, "precision": "32-true"}}, "32-true", "as before"),
        ({"precision": "32-true"}, {"resumed": {"threads": 2, "precision": "bf16-mixed"}}, "bf16-mixed", "as before"),
        ({}, {"resumed": {"threads": 2}}, "32-true", "as before"),
        ({}, {"resumed": {}}, "bf16-mixed", "CPU has AVX512-BF16"),
    ],
)
def test_precision_is_as_set_or_as_before_or_follows_from_the_hardware(
    trainer: dict[str, Any], arguments: dict[str, Any], expected: str, reason: str
) -> None:
    settings = choose(trainer=trainer, **arguments)
    assert settings.precision == expected
    assert settings.log_lines[1] == f"precision  {expected} ({reason})"


@pytest.mark.parametrize(("before", "threads"), [(2, 2), (256, 256), (100_000, 256)])
def test_a_resumed_run_keeps_its_threads_up_to_a_limit(before: int, threads: int) -> None:
    assert choose(trainer={"threads": 5}, resumed={"threads": before}).threads == threads


@pytest.mark.parametrize(("threads", "is_warned"), [(16, False), (17, True)])
def test_more_threads_than_cores_are_used_with_a_warning(threads: int, is_warned: bool) -> None:
    settings = choose(trainer={"threads": threads})
    warning = " on 16 cores, which is many times slower than one thread per core"
    assert settings.log_lines[0] == f"device   cpu, {threads} threads{warning if is_warned else ''}"


def test_the_shipped_trainer_settings_choose_what_their_names_promise() -> None:
    for trainer, threads, expected in (
        (["trainer=cpu"], 16, "bf16-mixed"),
        (["trainer=cpu", "trainer.deterministic=true"], 16, "32-true"),
        (["trainer=cpu", "trainer.devices=2"], 8, "32-true"),
    ):
        settings = choose(trainer=dict(compose_config(trainer).trainer))
        assert (settings.threads, settings.precision) == (threads, expected)


def test_lightning_keeps_the_threads_of_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    count: list[int] = []
    monkeypatch.setattr(torch, "set_num_threads", count.append)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")  # so that no process is started
    assert Launcher(LightningEnvironment(), num_processes=4, num_nodes=1).launch(os.getpid) == os.getpid()
    assert (count, os.environ.get("OMP_NUM_THREADS")) == ([], None)


@pytest.mark.parametrize(("own", "on_node", "threads"), [(4, "8", 4), (8, "8", 4), (8, "", 4)])
def test_a_task_that_srun_binds_to_its_own_cores_has_a_thread_on_each(
    monkeypatch: pytest.MonkeyPatch, own: int, on_node: str, threads: int
) -> None:
    monkeypatch.setattr(hardware, "DEFAULT_THREADS", own)
    monkeypatch.setattr(hardware, "count_cores", lambda: own)
    for name, value in srun_variables(0, 2, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", on_node)
    assert hardware.count_threads(2) == threads


def test_a_run_without_threads_uses_all_cores_also_after_a_run_with_fewer(
    monkeypatch: pytest.MonkeyPatch, tiny: list[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(hardware, "DEFAULT_THREADS", 2)
    before = torch.get_num_threads()
    try:
        counts: list[int] = []
        monkeypatch.setattr(hardware, "log_wrapped", lambda _: counts.append(torch.get_num_threads()))
        runs = [
            train_into(tmp_path / name, *tiny, *more) for name, *more in (("one",), ("all", "trainer.threads=null"))
        ]
        assert [run.read_run()["threads"] for run in runs] == [1, 2]
        assert set(counts[:2]) == {1}
        assert set(counts[2:]) == {2}
    finally:
        torch.set_num_threads(before)


def test_a_run_logs_its_precision_and_the_reason(
    tiny: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = train_into(tmp_path / "run", *tiny, "trainer.precision=auto", "trainer.max_epochs=1")
    out = capsys.readouterr().out
    assert all(len(line) <= 80 for line in out.splitlines() if str(tmp_path) not in line)
    assert re.findall(r"^precision  (.*)$", out, re.MULTILINE) == ["bf16-mixed (CPU has AVX512-BF16)"]
    assert run.read_run()["precision"] == "bf16-mixed"


def test_bfloat16_is_used_in_training_and_never_in_evaluation(
    tiny: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: set[tuple[bool, bool]] = set()
    forward = nn.Conv2d.forward

    def record(self: nn.Conv2d, images: torch.Tensor) -> torch.Tensor:
        out = forward(self, images)
        if len(images) > 1:  # a single image is used for the graph and the summary
            calls.add((self.training, out.dtype == torch.bfloat16))
        return out

    monkeypatch.setattr(nn.Conv2d, "forward", record)
    train_into(tmp_path / "run", *tiny, "trainer.precision=bf16-mixed", "trainer.max_epochs=1")
    assert calls == {(True, True), (False, False)}
