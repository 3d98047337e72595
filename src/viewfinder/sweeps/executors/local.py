"""Executor that runs each job in its own process on this machine."""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import wait
from multiprocessing.context import BaseContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import Any, Generic, NamedTuple, TypeVar

from viewfinder.runs.atomic import read_json, write_json
from viewfinder.runs.stop_signals import STOP_SIGNALS
from viewfinder.runs.streams import prepare_streams
from viewfinder.training.callbacks.signals import get_handlers

PRELOADED_MODULES = ["viewfinder.experiment.run", "viewfinder.experiment.resume"]
"""Modules that the fork server imports once for all workers; it ignores a name that does not exist."""
Job = TypeVar("Job")


class LocalExecutor(Generic[Job]):
    """Context manager that runs jobs in worker processes, and forwards signals to them.

    Workers are forked from a server that has imported PRELOADED_MODULES, or spawned where forking is unsafe. A worker
    that dies affects no other job. After a stop signal, which running workers receive too, no new job starts; signals
    that are ignored when the executor starts stay ignored. When this process is killed, its workers receive SIGTERM.

    Args:
        work: module-level function that runs a job in its worker, and returns the worker's exit code.
        max_parallel: number of jobs that run at the same time; if greater than 1, each sees one GPU, if there is any.
        log_path: returns the file for a job's output, or None to leave it on this process's output.
    """

    def __init__(
        self, work: Callable[[Job], int], max_parallel: int = 1, log_path: Callable[[Job], Path | None] | None = None
    ):
        self.work, self.max_parallel, self.log_path = work, max_parallel, log_path
        self.stop_signal: int | None = None
        """number of the first signal received"""
        self.is_draining = False
        """set to start no further job"""
        self.running: dict[BaseProcess, tuple[Job, int]] = {}
        """job of each worker, and its slot from 0 to max_parallel - 1"""
        self.context = _process_context()
        self.previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "LocalExecutor[Job]":
        self.previous_handlers = get_handlers()
        for number in self._handled_signals():
            signal.signal(number, self._forward_signal)
        _start_fork_server()
        return self

    def __exit__(self, *_: object) -> None:
        for number in self._handled_signals():
            signal.signal(number, self.previous_handlers[number])
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.join()

    def _handled_signals(self) -> list[int]:
        return [number for number, previous in self.previous_handlers.items() if previous != signal.SIG_IGN]

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, int]]:
        """Yield each job when it ends, with its worker's exit code, which is -n if signal n killed the worker.

        Args:
            jobs: advanced only when the next job can start.
        """
        while True:
            while len(self.running) < self.max_parallel and not self.is_draining and self.stop_signal is None:
                job = next(jobs, None)
                if job is None:
                    self.is_draining = True
                    break
                self._start_job(job)
            if not self.running:
                return
            ready = wait([process.sentinel for process in self.running])
            for process in [process for process in self.running if process.sentinel in ready]:
                process.join()
                job, _ = self.running.pop(process)
                assert process.exitcode is not None
                yield job, process.exitcode

    def _start_job(self, job: Job) -> None:
        slot = min(set(range(self.max_parallel)).difference(slot for _, slot in self.running.values()))
        log_path = self.log_path(job) if self.log_path else None
        ignored = sorted(set(self.previous_handlers).difference(self._handled_signals()))
        slot_or_all = slot if self.max_parallel > 1 else None
        setup = WorkerSetup(slot_or_all, log_path, sys.orig_argv, multiprocessing.get_start_method(), ignored)
        arguments = (self.work, job, setup)
        process = self.context.Process(target=_worker_main, args=arguments)  # type: ignore[attr-defined]
        # A signal between the start and the entry in `running` would not reach the worker.
        with _block_signals(*self.previous_handlers):
            process.start()
            self.running[process] = job, slot

    def _forward_signal(self, number: int, _: FrameType | None) -> None:
        if self.stop_signal is None and self.max_parallel > 1:  # a single job reports it itself
            name = signal.Signals(number).name
            with contextlib.suppress(OSError):  # the terminal is closed
                print(f"{name}: each job finishes its step and saves; Ctrl-C stops at once", flush=True)
        self.stop_signal = self.stop_signal or number
        for process in self.running:
            assert process.pid is not None  # the id 0 would address every process of the terminal's job
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)


def run_in_subprocess(function: Callable[[Any], Any], arguments: Sequence[Any]) -> tuple[list[Any], int | None]:
    """Call a module-level function with each argument, each time in a new process.

    Returns:
        Results as read back from JSON, None where the process died or was not started; and the number of the signal
        that stopped the calls, or None.
    """
    with TemporaryDirectory() as folder, LocalExecutor(_write_result) as executor:
        files = [Path(folder) / str(number) for number in range(len(arguments))]
        for _ in executor.run((function, argument, file) for argument, file in zip(arguments, files, strict=True)):
            pass
        return [read_json(file) if file.exists() else None for file in files], executor.stop_signal


def _write_result(job: tuple[Callable[[Any], Any], Any, Path]) -> int:
    function, argument, file = job
    write_json(file, function(argument))
    return 0


def describe_exit(code: int) -> str:
    """Describe the unexpected end of a process by its exit code."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", possibly because memory was full" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"


def _start_fork_server() -> None:
    """Start the fork server and its imports, unless it runs already."""
    if (context := _process_context()).get_start_method() != "forkserver":
        return
    from multiprocessing.forkserver import ensure_running

    # The server must not initialize CUDA, which does not survive a fork: count devices through NVML alone.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context.set_forkserver_preload(PRELOADED_MODULES)  # type: ignore[attr-defined]
    # The server ignores signals, and a worker inherits them blocked until it can handle them.
    with _block_signals(*STOP_SIGNALS):
        ensure_running()


def _process_context() -> BaseContext:
    # Windows cannot fork, and on macOS a process with this many libraries cannot be forked safely.
    return multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")


@contextlib.contextmanager
def _block_signals(*numbers: int) -> Iterator[None]:
    """Delay the delivery of signals until the end of the block, on systems that can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


class WorkerSetup(NamedTuple):
    """State of the parent process that a worker takes over."""

    slot: int | None
    """number that selects the GPU; None to see all of them"""
    log_path: Path | None
    argv: list[str]
    start_method: str
    ignored_signals: list[int]


def _worker_main(work: Callable[[Any], int], job: Any, setup: WorkerSetup) -> None:
    """Run a job in this worker process, and exit with its code."""
    prepare_streams()
    sys.orig_argv = setup.argv  # recorded in run.json
    # A fork server of its own would outlive a killed worker, with the worker's image-decoding processes.
    multiprocessing.set_start_method(setup.start_method, force=True)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # otherwise Ctrl-C would arrive twice, from the terminal and from the parent
    threading.Thread(target=_terminate_with_parent, daemon=True).start()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in setup.ignored_signals:
            signal.signal(number, signal.SIG_IGN)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
        if setup.slot is not None:
            _select_gpu(setup.slot)
        if setup.log_path is not None:
            with setup.log_path.open("a", encoding="utf-8") as file:
                os.dup2(file.fileno(), sys.stdout.fileno())
                os.dup2(file.fileno(), sys.stderr.fileno())
        code = work(job)
    except KeyboardInterrupt:  # before a run could handle it
        code = 128 + signal.SIGINT
    raise SystemExit(code)


def _terminate_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)  # unlike raise_signal, it interrupts a waiting main thread


def _select_gpu(slot: int) -> None:
    """Make one GPU visible to this process; slots share GPUs if there are more slots than GPUs."""
    import torch

    if count := torch.cuda.device_count():
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        devices = visible if len(visible) == count else [str(number) for number in range(count)]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[slot % count]
