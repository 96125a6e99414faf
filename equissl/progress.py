"""What a person sees while long work runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.progress import Progress as Bar

from equissl.errors import UserError
from equissl.text import printable

Progress = Callable[[str, int, int], None]  # description, number done, total

ShowProgress = bool | Progress  # what functions take as ``progress=``
PLAIN_EVERY = 10.0  # seconds between plain lines


def no_progress(description: str, done: int, total: int) -> None:
    """The progress callback that shows nothing (the default everywhere)."""


def seconds_since(start: float) -> float:
    """Seconds since ``time.perf_counter()`` gave ``start``; never 0, also where a clock is coarse."""
    return max(time.perf_counter() - start, 1e-9)


def say_nothing(line: str) -> None:
    """The callback for lines that shows nothing."""


class Display:
    """Progress of one piece of work after another; use as a context manager.

    Args:
        silent: show nothing (other ranks, tests).
    """

    def __init__(self, silent: bool = False):
        self.console = Console(stderr=True, quiet=silent)
        # In a notebook rich draws with ipywidgets, and without them nothing.
        in_notebook = self.console.is_jupyter and find_spec("ipywidgets") is not None
        self.live = not silent and (self.console.is_terminal or in_notebook)
        self._bar: Bar | None = None
        self._task: tuple[str, TaskID] | None = None
        self._last = 0.0
        self._began = ("", 0.0)

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None:
        """``done`` of ``total`` steps of ``what``; ``note`` is shown behind it."""
        what, note = printable(what), printable(note)
        if self.live:
            self._show(what, done, total, note)
            return
        if self._began[0] != what:
            self._began, self._last = (what, time.monotonic()), 0.0
        now = time.monotonic()
        if done >= total or now - self._last >= PLAIN_EVERY:
            self._last = now
            self.say(f"{what}: {done}/{total}{_left(now - self._began[1], done, total)}  {note}".rstrip())

    def say(self, line: str) -> None:
        """A line that stays."""
        console = self._bar.console if self._bar else self.console
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task = None, None

    def _show(self, what: str, done: int, total: int, note: str) -> None:
        if self._bar is None or self._task is None or self._task[0] != what:
            self.finish()
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=self.console, refresh_per_second=4)
            self._bar.start()
            self._task = (what, self._bar.add_task(what, total=total, note=note))
        self._bar.update(self._task[1], completed=done, total=total, note=note)


@contextmanager
def shown(progress: ShowProgress) -> Iterator[Progress]:
    """The callback for what a function was given as ``progress=``.

    Args:
        progress: True for a live bar on a terminal or in a notebook (plain lines elsewhere), which stands
            still when the work ends; False for nothing; or a callback (description, number done, total).

    Raises:
        UserError: it is neither.

    >>> with shown(False) as progress:
    ...     progress("reading", 1, 2)
    """
    given: object = progress
    if isinstance(progress, bool):
        with Display(silent=not progress) as display:
            yield display
    elif callable(given):
        yield progress
    else:
        raise UserError(f"progress={given!r:.60}: expected True, False or a function")


def _left(seconds: float, done: int, total: int) -> str:
    if done <= 0 or done >= total or seconds < 1:
        return ""
    rest = seconds / done * (total - done)
    return f", {int(rest // 60)} min {int(rest % 60)} s left"
