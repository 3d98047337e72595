"""Connections between the processes of a distributed run: when one of them ends before the others, all end.

gloo notices a lost process at the next exchange, but NCCL waits for it for many minutes.
"""

import contextlib
import os
import secrets
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener, wait
from typing import Any

from viewfinder.errors import FAILED, Problem, UserError, printable
from viewfinder.runs import rendezvous
from viewfinder.runs.folder import RunFolder
from viewfinder.runs.launcher import Count, end_with_parent, is_distributed, is_helper
from viewfinder.runs.naming import RUN_VARIABLE
from viewfinder.runs.provenance import now
from viewfinder.runs.rendezvous import LOCAL, Rendezvous

POLL_SECONDS = 0.3
GRACE_SECONDS = 3.0
"""Time for a process to end by itself after another one was lost."""
LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "NCCL", "gloo")
"""Parts of torch's errors about another process that has ended."""
started: list[subprocess.Popen[Any]] = []
"""helper processes that Lightning has started in this process, in the order of their numbers from 1"""


class HelperConnections:
    """The first process's connections to all others.

    Args:
        meeting: the run's rendezvous.
    """

    def __init__(self, meeting: Rendezvous):
        if any(process.poll() is not None for process in started):
            rule = "cannot start its processes again in the same program, because those of an earlier run have ended"
            raise UserError("the launcher", [Problem("trainer.devices", rule, remedy="Start the program again.")])
        self.loss = ""
        """which process has ended too early, and why; '' if none has"""
        self.is_over = False
        self.ranks: dict[Connection, int] = {}
        self.finished: set[Connection] = set()
        key = secrets.token_bytes(16)
        self.listener = Listener((LOCAL if meeting.is_on_one_node else "", 0), "AF_INET", backlog=128, authkey=key)
        meeting.publish("peers", f"{self.listener.address[1]} {key.hex()}")
        for target in (self._accept, self._follow):
            threading.Thread(target=target, daemon=True).start()

    def leave(self, error: BaseException | None) -> None:
        """Tell the others that the run is over, or end them by closing the connections."""
        self.is_over = True
        for connection in list(self.ranks):
            with contextlib.suppress(OSError):
                if error is None or isinstance(error, SystemExit):
                    connection.send("")
            connection.close()
        self.listener.close()

    def _accept(self) -> None:
        while not self.is_over:
            with contextlib.suppress(OSError, EOFError, AuthenticationError, ValueError):
                connection = self.listener.accept()
                self.ranks[connection] = int(connection.recv())

    def _follow(self) -> None:
        """Wait until a helper process ends too early; then end this process, unless it ends by itself."""
        while not self.is_over and not self.loss:
            for rank, process in enumerate(started, 1):
                if process.poll():
                    self.loss = f"process {rank} {_describe_exit(process)}"
            followed = [connection for connection in list(self.ranks) if connection not in self.finished]
            try:
                ready = wait(followed, POLL_SECONDS)
            except (OSError, ValueError):  # `leave` has closed them
                return
            for connection in ready:
                assert isinstance(connection, Connection)
                self.finished.add(connection)
                try:
                    reason = connection.recv()
                except (EOFError, OSError):
                    reason = self._find_exit(self.ranks[connection])
                if reason and not self.is_over:
                    self.loss = self.loss or f"process {self.ranks[connection]} {reason}"
            if not followed:
                time.sleep(POLL_SECONDS)
        if self.loss:
            time.sleep(GRACE_SECONDS)
            if not self.is_over:
                _give_up(self.loss)

    def _find_exit(self, rank: int) -> str:
        with contextlib.suppress(IndexError, subprocess.TimeoutExpired):
            started[rank - 1].wait(POLL_SECONDS)
            return _describe_exit(started[rank - 1])
        return "has ended"


class FirstConnection:
    """A helper process's connection to the first one.

    Args:
        meeting: the run's rendezvous.
        rank: number of this process.
    """

    def __init__(self, meeting: Rendezvous, rank: int):
        port, key = meeting.receive("peers").split()
        address = LOCAL if meeting.is_on_one_node else meeting.address
        try:
            self.connection = Client((address, int(port)), "AF_INET", authkey=bytes.fromhex(key))
            self.connection.send(rank)
        except (ConnectionError, EOFError) as error:  # the first process has failed, and shows why
            raise SystemExit(FAILED) from error
        self.is_over = False
        self.ended = threading.Event()
        threading.Thread(target=self._follow, daemon=True).start()

    def leave(self, error: BaseException | None) -> None:
        """Wait for the end of the first process's run, or tell it why this process fails."""
        if error is None or (isinstance(error, SystemExit) and not error.code):  # stopped with all others
            self._send("")
        else:
            self._send(f"fails: {' '.join(str(error).split()) or type(error).__name__}")
            if is_loss(error):
                self.ended.wait(GRACE_SECONDS)
        if error is None:
            self.ended.wait()
        self.is_over = True
        if isinstance(error, UserError):  # which the first process shows
            raise SystemExit(FAILED)

    def _send(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self.connection.send(text)

    def _follow(self) -> None:
        try:
            self.connection.recv()
        except (EOFError, OSError):
            if not self.is_over:
                os._exit(FAILED)
        self.ended.set()


current: HelperConnections | FirstConnection | None = None
"""connections of the distributed run that this process trains"""


@contextlib.contextmanager
def connected_processes(devices: Count, nodes: Count = 1) -> Iterator[None]:
    """Connect the processes of a distributed run within this block; otherwise do nothing.

    Args:
        devices: `trainer.devices`.
        nodes: `trainer.num_nodes`.

    Raises:
        UserError: if the processes cannot be connected.
        SystemExit: in a helper process, in place of a UserError, which the first process shows.
    """
    global current
    if not is_distributed(devices, nodes):
        yield
        return
    with contextlib.closing(Rendezvous()) as meeting:
        rendezvous.current = meeting
        if meeting.place is not None and meeting.place.launcher == "torchrun":
            end_with_parent(os.getppid())
        try:
            current = FirstConnection(meeting, meeting.rank) if is_helper() else HelperConnections(meeting)
            with _leaving(current):
                yield
        finally:
            current = rendezvous.current = None


@contextlib.contextmanager
def _leaving(peers: HelperConnections | FirstConnection) -> Iterator[None]:
    try:
        yield
    except BaseException as error:
        peers.leave(error)
        raise
    peers.leave(None)


def is_loss(error: BaseException) -> bool:
    """Return whether an error may mean that another process has ended."""
    return isinstance(error, RuntimeError) and any(part in str(error) for part in LOST)


def describe_loss(error: BaseException) -> str:
    """Return which process has ended, if this is why the first process fails with an error; otherwise ''."""
    if not isinstance(current, HelperConnections):
        return ""
    end = time.monotonic() + (GRACE_SECONDS if is_loss(error) else 0)
    while not current.loss and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
    return current.loss


def _describe_exit(process: "subprocess.Popen[Any]") -> str:
    code = process.returncode
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    return f"has ended with exit code {code}"


def _give_up(loss: str) -> None:
    """End the first process, which waits for a lost one, with a message and a record in run.json."""
    resume = ""
    if path := os.environ.get(RUN_VARIABLE):
        resume = f"\nResume with: {shlex.join(['viewfinder', 'resume', path])}"
        with contextlib.suppress(OSError, UserError):
            RunFolder(path).update_run(status="failed", error=loss, ended=now())  # type: ignore[arg-type]
    print(f"The run ends, because {printable(loss)}{resume}", file=sys.stderr, flush=True)
    os._exit(FAILED)
