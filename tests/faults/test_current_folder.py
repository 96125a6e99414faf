"""Files that lie where a command is run: nothing of them runs, except modules that the user names."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from equissl.cli.main import main
from equissl.config.own_code import import_own
from equissl.data.image_folder import write_images

OPTIONAL = (  # what torch, timm, Pillow, NumPy and others import if it is there
    *("pynvml", "torchcomms", "dill", "opt_einsum", "monkeytype", "pydot", "cutlass", "olefile", "gmpy2"),
    *("snappy", "lz4", "zstandard", "pandas", "tensorflow", "apex", "inplace_abn", "wandb", "mlflow"),
    *("random", "torch", "PIL", "equissl"),
)


@pytest.mark.slow
def test_no_file_runs_because_a_command_is_given_in_its_folder(tmp_path: Path) -> None:
    write_images(tmp_path / "photos", {"a": 2, "b": 2})
    for name in OPTIONAL:
        (tmp_path / f"{name}.py").write_text("open('ran', 'a').write(__name__)\n", encoding="utf-8")
    command = (
        "import sys; from equissl.cli.main import main; sys.exit(main(['check', 'photos', 'views=v.html']))"
    )
    done = subprocess.run([sys.executable, "-P", "-c", command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "ran").exists()


def test_a_named_module_is_found_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p])
    (tmp_path / "named_here.py").write_text("import beside_it\n", encoding="utf-8")
    (tmp_path / "beside_it.py").write_text("", encoding="utf-8")
    (tmp_path / "random.py").write_text("raise RuntimeError\n", encoding="utf-8")
    assert import_own("random").__name__ == "random"
    assert str(tmp_path) not in sys.path
    assert import_own("named_here").beside_it.__name__ == "beside_it"


def test_a_component_whose_module_fails_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "fails_here.py").write_text("{}['colour']\n", encoding="utf-8")
    write_images(tmp_path / "photos", {"a": 12, "b": 12})
    words = ["pretrain", "data=photos", "out=run", "trust=fails_here", "base=fails_here:Mine"]
    assert main(words) == 2
    assert "'fails_here:Mine' cannot be imported: KeyError" in capsys.readouterr().err


def test_a_current_folder_that_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert main(["list", "bases"]) == 0
    assert main(["pretrain", "out=run", "recipe=own_but_gone:make"]) == 2
    assert "fault" not in capsys.readouterr().err
