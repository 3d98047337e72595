"""Compiled training steps train what uncompiled ones train, and leave nothing else different."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import Train, raises_user_error
from torch import nn

from viewfinder.experiment.load import open_run
from viewfinder.experiment.resume import resume_experiment
from viewfinder.training import compile as compile_module
from viewfinder.training.compile import CompiledNetwork, check_compile, find_obstacle
from viewfinder.training.torch_internals import is_compile_error


def test_what_a_machine_lacks_for_a_compiler_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setattr(compile_module, "find_spec", lambda name: None)
    with raises_user_error(r"trainer\.compile = true needs the package triton, which is not installed"):
        check_compile(is_on_gpu=True, is_parallel=False, deterministic=False)
    monkeypatch.setattr(compile_module.sysconfig, "get_path", lambda name: str(tmp_path))
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}" if name in ("g++", "clang++") else None)
    with raises_user_error(r"needs the header files of Python.*python3-dev.*trainer\.compile=false"):
        check_compile(is_on_gpu=False, is_parallel=False, deterministic=False)
    (tmp_path / "Python.h").touch()
    check_compile(is_on_gpu=False, is_parallel=False, deterministic=False)
    monkeypatch.setenv("CXX", "icpx")
    with raises_user_error(r"needs a compiler \(icpx\), which is not found"):
        check_compile(is_on_gpu=False, is_parallel=False, deterministic=False)


def test_compilation_is_refused_where_it_could_change_results_or_is_not_tried() -> None:
    with raises_user_error("requires that one device trains"):
        check_compile(is_on_gpu=False, is_parallel=True, deterministic=False)
    with raises_user_error(r"cannot be combined with trainer\.deterministic"):
        check_compile(is_on_gpu=True, is_parallel=False, deterministic=True)


@pytest.mark.slow  # imports torch's compiler
def test_only_whole_batches_are_compiled_and_a_compilers_error_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import Unsupported

    network = CompiledNetwork(nn.Identity(), batch_size=3)
    calls: list[int] = []

    def fail(images: torch.Tensor) -> torch.Tensor:
        calls.append(len(images))
        raise Unsupported("a loop over a list")

    network.compiled = fail
    assert len(network(torch.zeros(2))) == 2
    with raises_user_error("trainer.compile = true fails for Identity: Unsupported: a loop over a list"):
        network(torch.zeros(3))
    assert calls == [3]
    assert not is_compile_error(ValueError("a shape"))


@pytest.mark.slow
@pytest.mark.skipif(bool(find_obstacle(is_on_gpu=False)), reason="this machine has no compiler")
def test_compiled_steps_train_what_uncompiled_ones_train(train: Train, tmp_path: Path) -> None:
    words = ["model=airbench", "model.widths=[4]", "data.batch_size=8", "logger=none"]
    words += ["optimizer=sgd", "optimizer.lr=0.05"]  # Adam magnifies the rounding of small gradients
    plain = train(tmp_path / "plain", *words)
    whole = train(tmp_path / "whole", *words, "trainer.compile=true")
    run = train(tmp_path / "run", *words, "trainer.compile=true", "trainer.max_epochs=1")
    resume_experiment(run, ["trainer.max_epochs=2"])
    assert run.metrics.read_bytes() == whole.metrics.read_bytes()
    assert run.predictions.read_bytes() == whole.predictions.read_bytes()
    ours, theirs = (pd.read_csv(each.metrics) for each in (whole, plain))
    np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    ours, theirs = (torch.load(each.last, weights_only=True)["state_dict"] for each in (whole, plain))
    assert list(ours) == list(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-5)
    assert open_run(whole.path, [], "best").classifier.compiled is None
