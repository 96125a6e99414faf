"""SIGINT and SIGTERM as a flag to read between two steps, when everything can be saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any


@contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Within, SIGTERM raises ``KeyboardInterrupt`` as SIGINT does; it names the signal."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt(signal.Signals(number).name)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def signal_name(error: KeyboardInterrupt) -> str:
    """ " by SIGTERM", or "" where the keyboard interrupted."""
    return f" by {error.args[0]}" if error.args else ""


class Interruption:
    """While active, the first SIGINT or SIGTERM only sets ``requested``; a second one acts at once."""

    def __init__(self) -> None:
        self.requested = False
        self._handlers: dict[int, Any] = {}  # those in place before

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._restore()

    def _request(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
