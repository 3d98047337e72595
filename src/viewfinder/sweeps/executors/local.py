"""Jobs in processes of their own: one that dies hard takes no other with it, and none waits for imports again."""

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
from viewfinder.training.callbacks.signals import NUMBERS

IMPORTED = ["viewfinder.experiment.run", "viewfinder.experiment.resume"]
"""What the process that the others are forked from has imported."""
Job = TypeVar("Job")
"""Whatever `work` takes."""


class Processes(Generic[Job]):
    """Runs jobs, each in a process of its own, so many at once. As a context it listens to signals.

    The processes are forked from a server that has imported everything, or started anew where a system cannot fork.
    SIGINT, SIGTERM and SIGUSR1 are handed on to those that run, and no other begins. When this process is killed,
    they get SIGTERM.

    Args:
        work: called with a job in its process, whose exit code it returns; a function of a module.
        at_once: processes that run at the same time; of several, each sees one GPU where there are some.
        output: of a job, the file that takes what its process prints; None leaves it where this process prints.
    """

    def __init__(
        self, work: Callable[[Job], int], at_once: int = 1, output: Callable[[Job], Path | None] | None = None
    ):
        self.work, self.at_once, self.output = work, at_once, output
        self.requested: int | None = None
        """the first signal that has arrived"""
        self.is_over = False
        """set to begin no other job"""
        self.running: dict[BaseProcess, tuple[Job, int]] = {}
        """each with its job and its place, from 0 to at_once - 1"""
        self.context = _context()
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Processes[Job]":
        self.before = {number: signal.signal(number, self._arrived) for number in NUMBERS}
        _start_server()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.join()

    def run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, int]]:
        """Each job as it ends, with its process's exit code: negative, the number of the signal that it died of.

        Args:
            jobs: asked for the next one when it can begin.
        """
        while True:
            while len(self.running) < self.at_once and not self.is_over and self.requested is None:
                job = next(jobs, None)
                if job is None:
                    self.is_over = True
                    break
                self._start(job)
            if not self.running:
                return
            ended = wait([process.sentinel for process in self.running])
            for process in [each for each in self.running if each.sentinel in ended]:
                process.join()
                job, _ = self.running.pop(process)
                assert process.exitcode is not None
                yield job, process.exitcode

    def _start(self, job: Job) -> None:
        place = min(set(range(self.at_once)).difference(place for _, place in self.running.values()))
        output = self.output(job) if self.output else None
        start = Start(place if self.at_once > 1 else None, output, sys.orig_argv, multiprocessing.get_start_method())
        process = self.context.Process(target=_live, args=(self.work, job, start))  # type: ignore[attr-defined]
        # A signal that arrives while there is a process and nobody knows it would not be handed on.
        with _blocked(*self.before):
            process.start()
            self.running[process] = job, place

    def _arrived(self, number: int, _: FrameType | None) -> None:
        if self.requested is None and self.at_once > 1:  # one alone says so itself
            print(f"{signal.Signals(number).name}: each finishes its step and saves; Ctrl-C stops at once", flush=True)
        self.requested = self.requested or number
        for process in self.running:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid or 0, number)


def ask(function: Callable[[Any], Any], questions: Sequence[Any]) -> tuple[list[Any], int | None]:
    """What a function of a module answers to each question, one process after another; and a signal that came.

    Returns:
        Answers as JSON has them, None where the process died or was not begun; the signal's number, or None.
    """
    with TemporaryDirectory() as folder, Processes(_answer) as processes:
        files = [Path(folder) / str(number) for number in range(len(questions))]
        for _ in processes.run((function, question, file) for question, file in zip(questions, files, strict=True)):
            pass
        return [read_json(file) if file.exists() else None for file in files], processes.requested


def _answer(job: tuple[Callable[[Any], Any], Any, Path]) -> int:
    function, question, file = job
    write_json(file, function(question))
    return 0


def cause_of_death(code: int) -> str:
    """Why a process ended that did not say so itself, by its exit code."""
    if code >= 0:
        return f"its process ended with exit code {code}"
    name = signal.Signals(-code).name
    hint = ", perhaps since memory was full" if name == "SIGKILL" else ""
    return f"its process died of {name}{hint}"


def _start_server() -> None:
    """Let it begin with its imports, if it has not."""
    if (context := _context()).get_start_method() != "forkserver":
        return
    from multiprocessing.forkserver import ensure_running

    # It would be asked for by NVIDIA's management library alone: a process that has used CUDA cannot be forked.
    os.environ.setdefault("PYTORCH_NVML_BASED_CUDA_CHECK", "1")
    context.set_forkserver_preload(IMPORTED)  # type: ignore[attr-defined]
    # A signal does nothing to it, and waits for a process that is forked from it until that is ready for signals.
    with _blocked(*NUMBERS):
        ensure_running()


def _context() -> BaseContext:
    # On macOS a process that has imported as much as the server cannot be forked safely.
    return multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")


@contextlib.contextmanager
def _blocked(*numbers: int) -> Iterator[None]:
    """Signals that arrive in this block are delivered after it, where the system can."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Start(NamedTuple):
    """What a job's process is told of the one that starts it."""

    place: int | None
    output: Path | None
    argv: list[str]
    start_method: str


def _live(work: Callable[[Any], int], job: Any, start: Start) -> None:
    """The whole life of a job's process."""
    sys.orig_argv = start.argv  # which run.json tells
    # Or processes that decode pictures would be started by a server of their own, which a hard death would leave.
    multiprocessing.set_start_method(start.start_method, force=True)
    if hasattr(os, "setpgid"):
        os.setpgid(0, 0)  # or a Ctrl-C would arrive twice: from the terminal, and handed on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, NUMBERS)
        if start.place is not None:
            _take_gpu(start.place)
        if start.output is not None:
            with start.output.open("a", encoding="utf-8") as file:
                os.dup2(file.fileno(), sys.stdout.fileno())
                os.dup2(file.fileno(), sys.stderr.fileno())
        code = work(job)
    except KeyboardInterrupt:  # before there was a run that could say so
        code = 128 + signal.SIGINT
    raise SystemExit(code)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)  # not raise_signal: the main thread may be waiting for something


def _take_gpu(place: int) -> None:
    import torch

    if count := torch.cuda.device_count():
        seen = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")
        devices = seen if len(seen) == count else [str(number) for number in range(count)]
        os.environ["CUDA_VISIBLE_DEVICES"] = devices[place % count]
