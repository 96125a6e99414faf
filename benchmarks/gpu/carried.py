"""What a bare machine needs beside torch and torchvision: wheels, a data archive, and runs to go on with."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

MAX_BYTES = 64 << 20
ON_THE_MACHINE = "torch and torchvision, with what they need (numpy, pillow, sympy, jinja2, filelock, fsspec)"
# Module -> the distribution whose wheel offers it. Tests compare this with what the kit has imported.
WHEELS = {
    "lightning_fabric": "lightning-fabric",
    "lightning_utilities": "lightning-utilities",
    "timm": "timm",
    "safetensors": "safetensors",
    "huggingface_hub": "huggingface-hub",
    "httpx2": "httpx2",
    "httpcore2": "httpcore2",
    "h11": "h11",
    "anyio": "anyio",
    "idna": "idna",
    "truststore": "truststore",
    "tqdm": "tqdm",
    "yaml": "pyyaml",
    "packaging": "packaging",
    "rich": "rich",
    "markdown_it": "markdown-it-py",
    "mdurl": "mdurl",
    "pygments": "pygments",
    "click": "click",
    "pydantic": "pydantic",
    "pydantic_core": "pydantic-core",
    "annotated_types": "annotated-types",
    "typing_inspection": "typing-inspection",
    "pytest": "pytest",
    "pluggy": "pluggy",
    "iniconfig": "iniconfig",
    "joblib": "joblib",
    "cloudpickle": "cloudpickle",
    "threadpoolctl": "threadpoolctl",
}
OPTIONAL = {"kornia": "kornia", "kornia_rs": "kornia-rs"}  # to compare with
ARCHIVE = "cifar10-jpeg.tar.xz"  # train/CLASS/*.jpg and test/CLASS/*.jpg


def append_wheels() -> None:
    """Let what run.sh unpacked be imported, after all that is installed."""
    if folder := os.environ.get("CARRIED"):
        sys.path.append(folder)


def missing(modules: dict[str, str]) -> list[str]:
    """The distributions of the modules that cannot be found."""
    return sorted({d for m, d in modules.items() if importlib.util.find_spec(m) is None})


def instructions(folder: Path) -> str:
    """What to put into the carried folder, on a machine with a network, before the kit runs."""
    names = " ".join(sorted({*WHEELS.values(), *OPTIONAL.values()}))
    return f"""\
The machine must have: python 3.11 or newer, {ON_THE_MACHINE}.
Put into {folder} (ignored by git, at most {MAX_BYTES >> 20} MiB in all):
- wheels, for its Python and system:
    python3 -m pip download --no-deps --only-binary=:all: -d {folder} {names}
- {ARCHIVE}: CIFAR-10 as files train/CLASS/NAME.jpg; without it the recipes run on random images
- runs/: that of an earlier call's OUT; its runs are gone on with"""


def state(folder: Path) -> list[str]:
    """What the folder holds, and what is missing on this machine, in lines."""
    files = [p for p in folder.rglob("*") if p.is_file()] if folder.is_dir() else []
    size = sum(p.stat().st_size for p in files)
    lines = [f"{folder}: {len(files)} files, {size / 2**20:.0f} MiB"]
    if size > MAX_BYTES:
        lines.append(f"{folder} holds more than {MAX_BYTES >> 20} MiB, which may not be carried")
    for kind, modules in (("needed", WHEELS), ("to compare with", OPTIONAL)):
        if names := missing(modules):
            lines.append(f"missing, {kind}: {', '.join(names)}")
    if not (folder / ARCHIVE).is_file():
        lines.append(f"missing: {ARCHIVE}; the recipes run on random images")
    return lines
