"""``equissl doctor``."""

from __future__ import annotations

import importlib
import importlib.util
import platform

from equissl.cli.grammar.arguments import Arguments
from equissl.config.public import installed_version

_REQUIRED = ("torch", "torchvision", "timm", "lightning_fabric", "sklearn", "scipy", "PIL", "matplotlib")
_EXTRAS = {
    "tables": ("pyarrow",),
    "onnx": ("onnx", "onnxruntime", "onnxscript"),
    "wandb": ("wandb",),
    "mlflow": ("mlflow",),
}
_PACKAGES = {"lightning_fabric": "lightning-fabric", "sklearn": "scikit-learn", "PIL": "pillow"}


def run(args: Arguments) -> int:
    """Versions, devices and extras; the exit code is 1 if a required package cannot be imported."""
    args.check()
    print(
        f"equissl {installed_version('equissl')}, Python {platform.python_version()}, {platform.platform()}"
    )
    broken = [problem for name in _REQUIRED if (problem := _check(name))]
    for extra, modules in _EXTRAS.items():
        missing = [m for m in modules if importlib.util.find_spec(m) is None]
        print(f"extra {extra}:", f"not installed; pip install 'equissl[{extra}]'" if missing else "installed")
    _devices()
    _augmentations()
    for problem in broken:
        print(f"problem: {problem}")
    print("Reinstall the packages named above." if broken else "All required packages work.")
    return 1 if broken else 0


def _check(name: str) -> str:
    """Import a module and print its version; the problem, "" for none."""
    package = _PACKAGES.get(name, name)
    try:
        importlib.import_module(name)
        print(f"{package} {installed_version(package)}")
    except Exception as error:
        return f"{package} cannot be imported: {error}"
    return ""


def _devices() -> None:
    try:
        import torch
    except Exception:
        return
    from equissl.distributed import available_cores, limit_threads

    limit_threads()
    cores = available_cores()
    print(f"CPU threads: {torch.get_num_threads()} ({cores} core{'s' * (cores > 1)} for this process)")
    for k in range(torch.cuda.device_count()):
        memory = torch.cuda.get_device_properties(k).total_memory / 2**30
        print(f"cuda:{k}: {torch.cuda.get_device_name(k)}, {memory:.0f} GiB")
    if not torch.cuda.is_available():
        print("no CUDA device: training runs on the CPU")


def _augmentations() -> None:
    """What ``engine=auto`` is on the CPU, and why."""
    try:
        from equissl.augment import engine, native
    except Exception:  # one of the packages named above
        return
    reason, origin = native.unavailable_reason(), "of the wheel" if native.is_packaged() else "compiled here"
    native_code = f"native code {origin}, instruction set {native.instruction_set()}"
    print("augmentations on the CPU:", f"torch ({reason}). {engine.COST}" if reason else native_code)
