"""The line that a person watches: what stays on it at each width, and when it tells the time left."""

from __future__ import annotations

import io
import re
import time

import pytest
from rich.console import Console

from equissl import progress
from equissl.progress import BAR, LEAST_BAR, Display, duration, fitted, named, seconds_left
from equissl.training.callbacks import progress_notes

ROW = {"loss": 12.3456, "images_per_second": 1234.0, "data_wait": 0.12, "augment_fraction": 0.1}
SPEED, WAITING, LOSS = "1234 img/s", "data 12 % · aug 10 %", "loss 12.346"


def live_line(width: int, seconds: float = 100.0) -> str:
    """The last line that a terminal of this width shows after so many seconds of training."""
    now = [1000.0]
    display, out = Display(), io.StringIO()
    display.console = Console(file=out, force_terminal=True, width=width, color_system=None)
    display.console.get_time = lambda: now[0]  # type: ignore[method-assign]
    display.live = True
    for done in (500, 600, 700):  # a run that was resumed at step 500
        display("training", done, 100000, progress_notes(ROW))
        now[0] += seconds / 3
    assert display._bar is not None
    display._bar.refresh()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", out.getvalue())
    display.finish()
    return [line for line in re.split(r"[\r\n]", text) if "/100000" in line][-1]


@pytest.mark.parametrize(
    ("width", "shown"),
    [
        (120, (SPEED, WAITING, LOSS)),
        (100, (SPEED, WAITING, LOSS)),
        (80, (SPEED, WAITING)),
        (60, (SPEED,)),
        (46, ()),
    ],
)
def test_width_drops_loss_then_waiting_then_speed(width: int, shown: tuple[str, ...]) -> None:
    line = live_line(width)
    assert len(line) <= width and "700/100000" in line and re.search(r"\d:\d\d:\d\d left", line)
    assert [note in line for note in (SPEED, WAITING, LOSS)] == [n in shown for n in (SPEED, WAITING, LOSS)]


@pytest.mark.parametrize("width", range(36, 140))
def test_bar_count_and_time_left_always_have_room(width: int) -> None:
    what, bar, note = fitted(width, "invariant: features of training images", "592/592", progress_notes(ROW))
    assert LEAST_BAR <= bar <= BAR and what
    assert len(what) + bar + len("592/592") + len("0:00:00 left") + len(note) + 4 <= width


def test_no_time_left_before_five_seconds() -> None:
    assert "left" not in live_line(100, seconds=4.0)
    assert seconds_left(4.9, 10, 90) is None and seconds_left(9.0, 10, 90) == 81.0


def test_plain_lines_count_from_where_a_run_went_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    display = Display()
    for done in (500, 520):
        display("training", done, 1000, progress_notes(ROW))
        now[0] += 20
    assert (
        capsys.readouterr()
        .err.splitlines()[-1]
        .startswith("training: 520/1000, 8 min left  1234 img/s · data")
    )


def test_names_and_durations() -> None:
    seen: list[str] = []
    by_name = named(lambda what, done, total: seen.append(what), "run")
    named(by_name, "the untrained network")("features", 1, 2)
    assert seen == ["the untrained network: features"]
    assert [duration(s) for s in (3, 89, 90, 3600, 7322)] == [
        "3 s",
        "89 s",
        "2 min",
        "1 h 0 min",
        "2 h 2 min",
    ]
    assert progress.no_progress("", 0, 0) is None  # type: ignore[func-returns-value]
