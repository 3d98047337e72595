"""What a signal does to a run: the first lets the step end and everything be saved, a second Ctrl-C stops at once."""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from viewfinder.errors import Stopped

log = logging.getLogger("viewfinder")
NUMBERS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""Ctrl-C; what ends a process kindly; what SLURM sends ahead of a time limit (sbatch --signal=USR1@60)."""


class Signals:
    """Listens while a run goes on. A signal raises Stopped where it arrives; where it is held back, it is noted.

    Outside the main thread, where Python hands out no signals, it listens to none.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        """the signal that has arrived while they were held back"""
        self.is_holding = False
        self.before: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.getsignal(number) for number in NUMBERS}
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.before.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Also after others, such as Lightning, have put themselves in the way."""
        for number in self.before:
            signal.signal(number, self._arrived)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Within this block a signal is noted in `requested`; whoever sees it there saves and raises Stopped."""
        self.is_holding = True
        try:
            yield
        finally:
            self.is_holding = False
        if self.requested is not None:
            raise Stopped(self.requested)

    def _arrived(self, number: int, _: FrameType | None) -> None:
        is_first, self.requested = self.requested is None, self.requested or number
        # Noted even so: an exception in a callback of the garbage collector, say, would be swallowed.
        if not self.is_holding or (not is_first and number == signal.SIGINT):
            raise Stopped(number)
        if is_first:
            log.info(f"{signal.Signals(number).name}: finishing this step, then saving; Ctrl-C stops at once")
