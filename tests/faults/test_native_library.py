"""The compiled library in the cache: damaged, foreign, unwritable, and compilers that are none."""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
import sys
import time
import warnings
from pathlib import Path

import pytest

from equissl.augment import engine, native, native_build, native_compile
from equissl.errors import UserError

pytestmark = pytest.mark.skipif(not native.available(), reason="needs a C compiler")

ENGINE = (
    "from equissl.augment.engine import resolve_engine; print(resolve_engine('auto'), resolve_engine('auto'))"
)


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A C file that compiles at once, and an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    path = tmp_path / "seven.c"
    path.write_text("int seven(void) { return 7; }\n")
    return path


def seven(source: Path) -> int:
    """The result of the library, in a process of its own: a damaged library kills the process."""
    script = (
        "import sys, pathlib; from equissl.augment import native_build;"
        "print(native_build.load(pathlib.Path(sys.argv[1]), 'seven', 'baseline').seven())"
    )
    done = subprocess.run([sys.executable, "-c", script, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return int(done.stdout)


def library(tmp_path: Path) -> Path:
    (path,) = (tmp_path / "cache" / "equissl" / "native").iterdir()  # nothing else is left there
    return path


def test_it_is_kept_and_nobody_else_may_write_to_it(source: Path, tmp_path: Path) -> None:
    umask = os.umask(0)
    try:
        assert native_build.load(source, "seven", "baseline").seven() == 7
    finally:
        os.umask(umask)
    path = library(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600 and path.parent.stat().st_mode & 0o777 == 0o700
    before = path.stat().st_mtime_ns
    assert native_build.load(source, "seven", "baseline").seven() == 7
    assert library(tmp_path) == path and path.stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["truncated", "empty", "another library"])
def test_a_damaged_library_of_the_wheel_ends_in_words(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    """Were it loaded here, a truncated one would end this process."""
    shipped = native_compile.packaged(source, "baseline")
    shipped.parent.mkdir()
    whole = native_compile.compile_library(
        native_compile.compiler(), native_compile.arguments(source, "baseline")
    )
    shipped.write_bytes(whole)
    assert native_build.load(source, "seven", "baseline").seven() == 7
    shipped.unlink()  # it stays in the memory of this process
    shipped.write_bytes({"truncated": whole[: len(whole) // 3], "empty": b""}.get(damage, whole))
    name = "eight" if damage == "another library" else "seven"
    with pytest.raises(native_compile.BuildError) as caught:
        native_build.load(source, name, "baseline")
    assert str(shipped) in str(caught.value) and "reinstall equissl" in str(caught.value)


@pytest.mark.parametrize("damage", ["truncated", "empty", "garbage", "one byte", "link", "mode"])
def test_a_damaged_library_is_rebuilt_once(source: Path, tmp_path: Path, damage: str) -> None:
    assert seven(source) == 7
    path = library(tmp_path)
    whole = path.read_bytes()
    match damage:
        case "truncated":
            path.write_bytes(whole[: len(whole) // 3])
        case "empty":
            path.write_bytes(b"")
        case "garbage":
            path.write_bytes(b"\x7fELF" + bytes(range(256)) * 50)
        case "one byte":
            path.write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
        case "link":
            path.rename(tmp_path / "elsewhere.so")
            path.symlink_to(tmp_path / "elsewhere.so")
        case "mode":
            path.chmod(0o666)
    assert seven(source) == 7
    rebuilt = library(tmp_path)
    assert rebuilt.read_bytes() == whole and not rebuilt.is_symlink() and rebuilt.stat().st_mode & 0o22 == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give files away")
def test_a_file_of_another_user_is_not_loaded(source: Path, tmp_path: Path) -> None:
    assert native_build.load(source, "seven", "baseline").seven() == 7
    os.chown(library(tmp_path), 65534, 65534)
    assert native_build.load(source, "seven", "baseline").seven() == 7
    assert library(tmp_path).stat().st_uid == 0


def foreign(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    monkeypatch.setattr(native_build.os, "geteuid", lambda: os.getuid() + 1)


def writable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.mkdir(parents=True)
    folder.chmod(0o777)


def file_in_the_way(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.mkdir(parents=True)
    folder.write_text("")


def read_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")  # not even root can write there


def no_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")

    def home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(native_build.Path, "home", home)


def relative_home(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "relative")


def no_execution(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> ctypes.CDLL:
        if str(folder) in path:
            raise OSError("failed to map segment from shared object")
        return ctypes.PyDLL(path)

    monkeypatch.setattr(native_build.ctypes, "CDLL", refuse)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (foreign, "belongs to another user"),
        (writable, "can be written to by others"),
        (file_in_the_way, "cannot be used"),
        (read_only, "cannot be used"),
        (no_home, "no home folder"),
        (relative_home, "not an absolute path"),
        (no_execution, "failed to map segment"),
    ],
)
def test_a_folder_that_cannot_be_used_is_said_and_the_library_built_elsewhere(
    spoil: object, said: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache" / "equissl" / "native"
    spoil(folder, monkeypatch)  # type: ignore[operator]
    with pytest.warns(UserWarning, match=said):
        assert native_build.load(source, "seven", "baseline").seven() == 7
    assert spoil is no_execution or not list(tmp_path.rglob("*.so"))


def test_two_processes_build_at_once(source: Path, tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from equissl.augment import native_build;"
        "print(native_build.load(pathlib.Path(sys.argv[1]), 'seven', 'baseline').seven())"
    )
    command = [sys.executable, "-c", script, str(source)]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.communicate()[0].strip() for process in both] == ["7", "7"]
    library(tmp_path)


def script(tmp_path: Path, *lines: str) -> str:
    path = tmp_path / "my cc"
    path.write_text("\n".join(("#!/bin/sh", *lines)))
    path.chmod(0o755)
    return str(path)


GARBAGE = 'while [ "$1" != -o ]; do shift; done; head -c 20000 /dev/zero > "$2"'
BROKEN = 'cc "$@"; while [ "$1" != -o ]; do shift; done; truncate -s 5000 "$2"'  # loading it ends in SIGBUS


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("/nowhere/cc", "cannot be run"),
        ("no such program", "cannot be run"),
        ("'unclosed", "is no command"),
        ("cc -nosuchflag", "nosuchflag"),
        ("/", "cannot be run"),
        ("true", "made no library"),
        ("false", "exit status 1"),
        ("\udcff\udcfe", "cannot be run"),
        (("printf 'a\\033[31mred' >&2", "exit 3"), r"exit status 3: 'a\x1b[31mred'"),
        ((GARBAGE,), "cannot be loaded"),
        ((BROKEN,), "cannot be loaded"),
    ],
    ids=str,
)
def test_a_compiler_that_is_none_ends_in_words(
    value: str | tuple[str, ...], said: str, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", value if isinstance(value, str) else script(tmp_path, *value))
    with pytest.raises(native_compile.BuildError) as caught:
        native_build.load(source, "seven", "baseline")
    assert said in str(caught.value) and str(caught.value).isprintable()
    assert not list(tmp_path.rglob("*.so"))


def test_a_compiler_with_arguments_and_one_with_spaces_in_its_path(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "cc -Wall '-DNAME=\"a b\"'")
    assert native_build.load(source, "seven", "baseline").seven() == 7
    monkeypatch.setenv("CC", script(tmp_path, 'exec cc "$@"'))
    assert native_build.load(source, "seven", "baseline").seven() == 7


def is_running(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().split()[2] != "Z"
    except OSError:
        return False


def test_a_compiler_that_hangs_is_ended_with_its_children(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", script(tmp_path, f"sleep 600 & echo $! > {tmp_path}/child", "wait"))
    monkeypatch.setattr(native_compile, "_TIMEOUT", 1.0)
    with pytest.raises(native_compile.BuildError, match="did not end within 1 s"):
        native_build.load(source, "seven", "baseline")
    child = int((tmp_path / "child").read_text())
    for _ in range(100):
        if not is_running(child):
            break
        time.sleep(0.1)
    assert not is_running(child)


def in_a_wheel(source: Path, content: bytes) -> None:
    path = native_compile.packaged(source, "baseline")
    path.parent.mkdir()
    path.write_bytes(content)


def test_the_library_of_a_wheel_needs_no_compiler_and_no_cache(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = native_compile.compiler(), native_compile.arguments(source, "baseline")
    in_a_wheel(source, native_compile.compile_library(*command))
    monkeypatch.setenv("CC", "/bin/false")
    assert native_build.load(source, "seven", "baseline").seven() == 7
    assert not (tmp_path / "cache").exists()


def test_a_library_of_a_wheel_that_cannot_be_loaded_is_said(source: Path) -> None:
    in_a_wheel(source, b"")
    with pytest.raises(native_compile.BuildError, match=r"seven-baseline\.so cannot be loaded .* reinstall"):
        native_build.load(source, "seven", "baseline")


def test_no_compiler_at_all(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_compile.shutil, "which", lambda name: None)
    with pytest.raises(native_compile.BuildError, match="there is no C compiler"):
        native_build.load(source, "seven", "baseline")


def test_windows_is_said(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_build.os, "name", "nt")
    with pytest.raises(native_compile.BuildError, match="not supported on Windows"):
        native_build.load(source, "seven", "baseline")


def test_the_fallback_to_torch_is_said_once(tmp_path: Path) -> None:
    variables = {**os.environ, "CC": "false", "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", ENGINE], capture_output=True, text=True, env=variables)
    assert done.stdout.split() == ["torch", "torch"]
    assert done.stderr.count("augmentations run on torch") == 1 and "'false' made no library" in done.stderr


def test_an_engine_that_was_asked_for_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_library", functools.cache(lambda: "the C compiler 'x' cannot be run"))
    with pytest.raises(
        UserError, match="engine=native needs compiled code: the C compiler 'x' cannot be run"
    ):
        engine.resolve_engine("native")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert engine.resolve_engine("torch") == "torch"
