"""What docs/platforms.md says of macOS and Windows, by taking away what is missing there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from equissl.data.files.reader import ImageReader
from equissl.distributed import resolve_device
from equissl.errors import UserError

IMPORTS = """
import os, sys
import torch, torchvision, timm, lightning_fabric, sklearn.linear_model  # theirs may use what is missing
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
for name in ("sched_getaffinity", "register_at_fork", "geteuid", "getuid", "killpg", "fork"):
    delattr(os, name)
from equissl.augment.base import Augmentation
from equissl.config import registry
import equissl.api, equissl.cli.main, equissl.report
print(len(registry.subclasses(Augmentation)))
from equissl.augment import native
os.name = "nt"
print(native.unavailable_reason())
"""


@pytest.mark.slow
def test_everything_is_imported_without_the_modules_of_unix() -> None:
    done = subprocess.run([sys.executable, "-c", IMPORTS], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    count, reason = done.stdout.splitlines()
    assert int(count) > 30 and reason == "compiled augmentations are not supported on Windows"


def test_decoding_threads_without_an_affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setitem(sys.modules, "psutil", None)  # joblib asks it for the affinity, if it is there
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert ImageReader(8, "crop").threads == 7


def test_a_gpu_of_apple_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(UserError, match="device=mps: expected auto, cpu, cuda or cuda:N"):
        resolve_device("mps")
