"""Blender in a worker process, with timeouts and restarts."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from equissl.errors import UserError

WORKER = Path(__file__).with_name("worker.py")
Channels = Literal["rgb", "bgr"]
Device = Literal["cpu", "cuda", "optix", "hip", "metal", "oneapi"]


@dataclass(frozen=True, kw_only=True)
class RenderSettings:
    """Image size, quality and channel order.

    Args:
        size: side in pixels.
        samples: maximum light paths per pixel; Blender stops earlier where there is no noise.
        channels: "rgb", or "bgr" as in the original code (see docs/3diebench.md).
    """

    size: int = 256
    samples: int = 100
    channels: Channels = "rgb"

    def __post_init__(self) -> None:
        for name, minimum in (("size", 8), ("samples", 1)):
            if getattr(self, name) < minimum:
                raise UserError(f"{name} must be at least {minimum}, got {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class BlenderOptions:
    """Options of the Blender process; only the device changes images, by rounding.

    Args:
        python: an interpreter that can import ``bpy``; this one if empty.
        device: of Blender's Cycles.
        threads: 0 for one per core.
        timeout: seconds without an image after which an object fails.
    """

    python: str = ""
    device: Device = "cpu"
    threads: int = 0
    timeout: float = 600.0


class RenderFailed(Exception):
    """An object could not be rendered; the message is the reason."""


class Blender:
    """The worker process; started on first use, and again after it died."""

    def __init__(self, settings: RenderSettings, options: BlenderOptions):
        self._settings, self._options = settings, options
        self._process: subprocess.Popen[str] | None = None
        self._answers: queue.Queue[str] = queue.Queue()
        self._log: IO[str] | None = None

    def __enter__(self) -> Blender:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def render(self, job: dict[str, Any], on_image: Callable[[dict[str, Any]], None]) -> None:
        """Render the views of one object.

        Raises:
            RenderFailed: Blender reported an error, died, or timed out.
        """
        process = self._process or self._start()
        self._send(process, job)
        while True:
            answer = self._answer(process)
            if "failed" in answer:
                raise RenderFailed(answer["failed"])
            if "done" in answer:
                return
            on_image(answer)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._log):
                if stream is not None:
                    stream.close()
        self._process = None

    def _start(self) -> subprocess.Popen[str]:
        python = self._options.python or sys.executable
        self._log = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115 - closed by stop()
        self._answers = queue.Queue()
        try:
            process = subprocess.Popen(
                [python, str(WORKER)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._log,
                text=True,
                env={**os.environ, "PYTHONPATH": ""},
            )
        except OSError as error:
            raise UserError(f"python={python!r} cannot be started: {error}") from error
        self._process = process
        threading.Thread(target=_listen, args=(process, self._answers), daemon=True).start()
        settings, options = self._settings, self._options
        try:
            self._send(
                process,
                {
                    "size": settings.size,
                    "samples": settings.samples,
                    "device": options.device,
                    "threads": options.threads,
                },
            )
            self._answer(process)
        except RenderFailed as failure:
            raise UserError(
                f"Blender could not be started with {python!r}: {failure}. Install it with `pip install "
                "'equissl[render]'` (Python 3.11), or name an interpreter that has bpy: python=PATH"
            ) from failure
        return process

    def _send(self, process: subprocess.Popen[str], job: dict[str, Any]) -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        except OSError:
            self._died()

    def _answer(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        try:
            line = self._answers.get(timeout=self._options.timeout)
        except queue.Empty:
            self.stop()
            raise RenderFailed(f"no image within {self._options.timeout:g} seconds") from None
        if not line:
            self._died()
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _died(self) -> None:
        reason = ""
        if self._log is not None:
            self._log.seek(0)
            reason = " ".join(self._log.read().split())[-300:]
        self.stop()
        raise RenderFailed(f"Blender ended ({reason or 'no message'})")


def _listen(process: subprocess.Popen[str], answers: queue.Queue[str]) -> None:
    assert process.stdout is not None
    try:
        for line in process.stdout:
            answers.put(line)
    except ValueError:  # closed while it was read
        pass
    answers.put("")
