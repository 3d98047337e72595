"""Signal handlers of a run: the first stops it once the current step is saved, a second Ctrl-C at once.

Within `deferred`, a signal is only recorded; callbacks/checkpointing.py then saves and stops the run. Signals that are
ignored when the run starts stay ignored: SIGHUP under nohup, SIGINT in the background of a shell script.
"""

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import Any

from viewfinder.errors import Stopped
from viewfinder.runs.stop_signals import STOP_SIGNALS

log = logging.getLogger("viewfinder")
AT_ONCE = [getattr(signal, name) for name in ("SIGINT", "SIGQUIT") if hasattr(signal, name)]
"""Signals of the keyboard, which stop a run at once when they follow another."""


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
            self.previous_handlers = get_handlers()
            self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self.previous_handlers.items():
            signal.signal(number, handler)

    def listen(self) -> None:
        """Install the handlers; call it again after Lightning has installed its own."""
        for number, previous in self.previous_handlers.items():
            signal.signal(number, previous if previous == signal.SIG_IGN else self._handle)

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
        if not self.is_deferring or (not is_first and number in AT_ONCE):
            raise Stopped(number)
        if is_first:
            text = f"{signal.Signals(number).name}: finishing this step, then saving; Ctrl-C stops at once"
            # In a thread, because the signal may have interrupted a write to the same stream.
            with contextlib.suppress(RuntimeError):  # no more threads
                threading.Thread(target=log.info, args=(text,)).start()


def get_handlers() -> dict[int, Any]:
    """Return the handler of each stop signal, without those that no Python code has installed."""
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    return {number: handler for number, handler in handlers.items() if handler is not None}
