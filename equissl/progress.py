"""What a person sees while long work runs: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TaskID, TextColumn
from rich.progress import Progress as Bar
from rich.text import Text

from equissl.errors import UserError
from equissl.text import printable

Progress = Callable[[str, int, int], None]  # description, number done, total

ShowProgress = bool | Progress  # what functions take as ``progress=``
PLAIN_EVERY = 10.0  # seconds between plain lines
MEASURED = 5.0  # seconds of work before anything is said of the time left
BAR, LEAST_BAR, LEFT = 24, 10, 12  # columns of the bar and of the time left: "0:00:00 left"


def no_progress(description: str, done: int, total: int) -> None:
    """The progress callback that shows nothing (the default everywhere)."""


def seconds_since(start: float) -> float:
    """Seconds since ``time.perf_counter()`` gave ``start``; never 0, also where a clock is coarse."""
    return max(time.perf_counter() - start, 1e-9)


def say_nothing(line: str) -> None:
    """The callback for lines that shows nothing."""


@dataclass(frozen=True)
class _Named:
    progress: Progress
    name: str

    def __call__(self, what: str, done: int, total: int) -> None:
        self.progress(f"{self.name}: {what}", done, total)


def named(progress: Progress, name: str) -> Progress:
    """The callback with a name before each description ("run: features"), in place of one it has."""
    return _Named(progress.progress if isinstance(progress, _Named) else progress, name)


def duration(seconds: float) -> str:
    """``3725`` -> "1 h 2 min"; below a minute and a half in seconds.

    >>> duration(75), duration(200), duration(3725)
    ('75 s', '3 min', '1 h 2 min')
    """
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{round(seconds)} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


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
        self._began = ("", 0.0, 0)

    def __enter__(self) -> Display:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.finish()

    def __call__(self, what: str, done: int, total: int, notes: Sequence[str] = ()) -> None:
        """``done`` of ``total`` steps of ``what``, and the first ``notes``, as many as there is room for."""
        what, notes = printable(what), [printable(n) for n in notes]
        if self.live:
            self._show(what, done, total, notes)
            return
        now = time.monotonic()
        if self._began[0] != what:
            self._began, self._last = (what, now, done), 0.0
        if done >= total or now - self._last >= PLAIN_EVERY:
            self._last = now
            left = seconds_left(now - self._began[1], done - self._began[2], total - done)
            words = "" if left is None else f", {duration(left)} left"
            self.say(f"{what}: {done}/{total}{words}  {' · '.join(notes)}".rstrip())

    def say(self, line: str) -> None:
        """A line that stays."""
        console = self._bar.console if self._bar else self.console
        console.print(printable(line), markup=False, highlight=False, soft_wrap=True)

    def finish(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._bar, self._task = None, None

    def _show(self, what: str, done: int, total: int, notes: Sequence[str]) -> None:
        shown, bar, note = fitted(self.console.width, what, f"{total}/{total}", notes)
        if self._bar is None or self._task is None or self._task[0] != what:
            self.finish()
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=bar),
                TextColumn("{task.completed:.0f}/{task.total:.0f}"),
                _TimeLeft(),
                TextColumn("{task.fields[note]}"),
            )
            self._bar = Bar(*columns, console=self.console, refresh_per_second=4)
            self._bar.start()
            task = self._bar.add_task(shown, total=total, completed=done, first=done, note=note)
            self._task = (what, task)
        self._bar.update(self._task[1], completed=done, total=total, note=note)


class _TimeLeft(ProgressColumn):
    """From all that was done since the bar began; nothing before that says something."""

    max_refresh = 0.5

    def render(self, task: Task) -> Text:
        done = round(task.completed) - task.fields["first"]
        left = seconds_left(task.elapsed or 0.0, done, round(task.remaining or 0))
        return Text(" " * LEFT if left is None else f"{timedelta(seconds=round(left))} left")


def fitted(width: int, what: str, count: str, notes: Sequence[str]) -> tuple[str, int, str]:
    """What a line of a terminal has room for: the description, columns of the bar, and the notes.

    Bar, count and time left always stay: the bar gets shorter first, then notes go, the last of them first,
    then letters of the description.
    """
    room = width - len(what) - len(count) - LEFT - 4  # gaps of one column
    kept = list(notes)
    while kept and len(" · ".join(kept)) > room - LEAST_BAR:
        kept.pop()
    note = " · ".join(kept)
    bar = min(BAR, max(room - len(note), LEAST_BAR))
    longest = max(width - len(count) - LEFT - 4 - bar, 1)
    shown = what if len(what) <= longest else f"{what[: longest - 1]}…"
    return shown, bar, note


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


def seconds_left(seconds: float, done: int, rest: int) -> float | None:
    """How long ``rest`` steps take if ``done`` took ``seconds``; None where that is too little to tell."""
    if done <= 0 or rest <= 0 or seconds < MEASURED:
        return None
    return seconds / done * rest
