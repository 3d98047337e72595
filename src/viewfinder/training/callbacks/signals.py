"""Signal handlers of a run: the first signal stops it after the current step is saved, a second Ctrl-C at once.

Within `deferred`, callbacks/checkpointing.py saves and stops.
"""

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
"""Ctrl-C, kill, and the warning before SLURM's time limit (sbatch --signal=USR1@60)."""


class Signals:
    """Signal handlers of a run: a signal raises Stopped, or is recorded within `deferred`.

    Outside the main thread, where Python delivers no signals, nothing is handled.
    """

    def __init__(self) -> None:
        self.requested: int | None = None
        """the signal that has arrived"""
        self.is_deferring = False
        self.previous_handlers: dict[int, Any] = {}

    def __enter__(self) -> "Signals":
        if threading.current_thread() is threading.main_thread():
            self.previous_handlers = {number: signal.getsignal(number) for number in NUMBERS}
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Install the handlers; call it again after Lightning has installed its own."""
        for number in self.previous_handlers:
            signal.signal(number, self._handle)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Record signals in `requested` within this block, for a caller that saves and raises Stopped."""
        self.is_deferring = True
        try:
            yield
        finally:
            self.is_deferring = False
        if self.requested is not None:
            raise Stopped(self.requested)

    def _handle(self, number: int, _: FrameType | None) -> None:
        is_first, self.requested = self.requested is None, self.requested or number
        # Recorded in any case, because an exception within garbage collection is swallowed.
        if not self.is_deferring or (not is_first and number == signal.SIGINT):
            raise Stopped(number)
        if is_first:
            log.info(f"{signal.Signals(number).name}: finishing this step, then saving; Ctrl-C stops at once")
