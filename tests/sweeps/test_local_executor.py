"""Worker processes of the local executor."""

import importlib
import os
import signal
import sys

import pytest

from viewfinder.sweeps.executors.local import PRELOADED_MODULES, describe_exit, run_in_subprocess


def find_loaded(names: list[str]) -> list[str]:
    return [name for name in names if name in sys.modules]


def exit_with(code: int) -> None:
    os._exit(code)


def find_ignored(names: list[str]) -> list[str]:
    return [name for name in names if signal.getsignal(getattr(signal, name)) == signal.SIG_IGN]


@pytest.mark.parametrize("name", PRELOADED_MODULES)
def test_each_preloaded_module_exists(name: str) -> None:
    importlib.import_module(name)  # the fork server would ignore an ImportError


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux alone")
def test_a_worker_starts_with_the_preloaded_modules() -> None:
    results, stop_signal = run_in_subprocess(find_loaded, [PRELOADED_MODULES])
    assert results == [PRELOADED_MODULES]
    assert stop_signal is None


def test_a_process_that_dies_has_no_result_and_the_next_one_runs() -> None:
    results, stop_signal = run_in_subprocess(exit_with, [3])
    assert (results, stop_signal) == ([None], None)
    results, _ = run_in_subprocess(find_loaded, [["os"], ["no_such_module"]])
    assert results == [["os"], []]


def test_a_worker_ignores_the_signals_that_are_ignored_where_it_starts() -> None:
    names = ["SIGHUP", "SIGINT", "SIGTERM"]
    previous = {name: signal.getsignal(getattr(signal, name)) for name in names}
    try:
        for name in names[:2]:
            signal.signal(getattr(signal, name), signal.SIG_IGN)
        results, stop_signal = run_in_subprocess(find_ignored, [names])
    finally:
        for name, handler in previous.items():
            signal.signal(getattr(signal, name), handler)
    assert (results, stop_signal) == ([["SIGHUP", "SIGINT"]], None)


@pytest.mark.parametrize(
    ("code", "description"),
    [
        (3, "its process ended with exit code 3"),
        (-9, "its process was killed by SIGKILL, possibly because memory was full"),
        (-11, "its process was killed by SIGSEGV"),
    ],
)
def test_an_unexpected_exit_is_described_by_its_code_or_signal(code: int, description: str) -> None:
    assert describe_exit(code) == description
