"""The built wheel in a fresh environment without a compiler: native code with the same bits, or one line."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from equissl.augment import native, native_compile

ROOT = Path(__file__).parents[1]
SCRIPT = """
import hashlib, json, torch, equissl
from equissl import augment
from equissl.augment import presets
images = (torch.arange(16 * 3 * 48 * 48) * 2654435761 % 251).view(16, 3, 48, 48).to(torch.uint8)
views, record = augment.views(images, presets.equimod_byol(2, 32), engine="auto")
digest = hashlib.sha256(b"".join(v.numpy().tobytes() for v in views)).hexdigest()
print(json.dumps([equissl.__file__, record.engine, record.instruction_set, digest]))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.name == "nt", reason="compiled augmentations are not supported on Windows"),
    pytest.mark.skipif(shutil.which("uv") is None, reason="needs uv, which installs the wheel"),
]


def build(folder: Path, **variables: str) -> tuple[Path, str]:
    """The wheel of this checkout, and what the build said."""
    command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder)]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True, check=True
    )
    (wheel,) = folder.iterdir()
    return wheel, done.stderr + done.stdout


def install(wheel: Path, folder: Path) -> Path:
    """Python of a new environment with the wheel; what it depends on comes from this one."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    subprocess.run(
        ["uv", "pip", "install", "--quiet", "--offline", "--no-deps", "--python", str(python), str(wheel)],
        check=True,
    )
    # After the installation, so that this environment's editable equissl is not found first.
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def run(python: Path, cache: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A program on a machine that has no compiler."""
    environment = {"CC": "/bin/false", "PATH": "/nowhere", "XDG_CACHE_HOME": str(cache), **variables}
    done = subprocess.run(
        [str(python), *arguments], cwd=python.parent, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done


@pytest.mark.skipif(not native.available(), reason="needs a C compiler")
def test_a_wheel_has_compiled_code_and_the_same_bits(tmp_path: Path) -> None:
    wheel, _ = build(tmp_path / "dist")
    assert "-py3-none-" in wheel.name and platform.machine() in wheel.name
    names = {name for name in zipfile.ZipFile(wheel).namelist() if name.endswith(".so")}
    assert names == {
        f"equissl/augment/compiled/native-{name}.so" for name in native_compile.instruction_sets()
    }
    python, cache = install(wheel, tmp_path / "fresh"), tmp_path / "cache"
    here = json.loads(subprocess.check_output([sys.executable, "-c", SCRIPT], text=True, cwd=ROOT))
    found = run(python, cache, "-c", SCRIPT)
    file, engine, instruction_set, digest = json.loads(found.stdout)
    assert Path(file).is_relative_to(tmp_path / "fresh") and not found.stderr
    assert [engine, instruction_set, digest] == here[1:] == ["native", native.instruction_set(), here[3]]
    lowest = json.loads(run(python, cache, "-c", SCRIPT, ATEN_CPU_CAPABILITY="default").stdout)
    assert lowest[1:] == ["native", "baseline", here[3]]
    said = run(python, cache, "-m", "equissl", "doctor").stdout
    assert f"native code of the wheel, instruction set {native.instruction_set()}" in said
    assert not (cache / "equissl").exists()
    source = Path("augment", "native.c")  # the same instructions, so the same speed
    given = native_compile.arguments(ROOT / "equissl" / source, instruction_set)
    compiled = native_compile.compile_library(native_compile.compiler(), given)
    assert native_compile.packaged(Path(file).parent / source, instruction_set).read_bytes() == compiled


def test_a_wheel_built_without_a_compiler_is_a_pure_one_and_runs_on_torch(tmp_path: Path) -> None:
    wheel, said = build(tmp_path / "dist", CC="/bin/false")
    assert wheel.name.endswith("-py3-none-any.whl")
    assert "the wheel is a pure one, without compiled augmentations: the C compiler '/bin/false'" in said
    python = install(wheel, tmp_path / "fresh")
    found = run(python, tmp_path / "cache", "-c", SCRIPT)
    assert json.loads(found.stdout)[1:3] == ["torch", None]
    assert found.stderr.count("augmentations run on torch") == 1
    doctor = run(python, tmp_path / "cache", "-m", "equissl", "doctor").stdout
    assert "augmentations on the CPU: torch (the C compiler '/bin/false' made no library" in doctor
