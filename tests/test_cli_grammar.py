"""The grammar of the command line: spellings of a key, positional data, paths with "=", completion, help."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from equissl.cli.grammar import outline
from equissl.cli.grammar.arguments import Arguments, Verb
from equissl.cli.grammar.commands import VerbCommand
from equissl.cli.grammar.completion import words as completed
from equissl.cli.grammar.verbs import EQUISSL, KINDS, VERBS
from equissl.cli.main import CLI, main
from equissl.config import registry
from equissl.errors import UserError
from equissl.study.presets.grid import BASES


def every_verb(verb: Verb = EQUISSL) -> list[Verb]:
    return [v for child in verb.verbs for v in (every_verb(child) if child.verbs else [child])]


VERB = {v.name: v for v in every_verb()}


def parse(verb: str, *words: str) -> Arguments:
    command = VerbCommand(VERB[verb])
    return command.arguments(command.make_context(verb, list(words)))


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with images, two runs and an exported encoder."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "epochs=9").mkdir()
    for name, file in (("runs/first", "recipe.json"), ("runs/lr=0.1", "recipe.json"), ("out", "config.json")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / file).write_text("{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


SPELLINGS = [
    ("out=x", "log_every=5", "epochs=3", "base.queue_size=64"),
    ("--out", "x", "--log_every", "5", "--epochs", "3", "--base.queue_size", "64"),
    ("--out=x", "--log_every=5", "--epochs=3", "--base.queue_size=64"),
    ("--out", "x", "--log-every", "5", "--epochs=3", "--base.queue-size", "64"),
    ("out=x", "log-every=5", "--epochs", "3", "--base.queue-size=64"),
]


@pytest.mark.parametrize("words", SPELLINGS, ids=" ".join)
@pytest.mark.parametrize("data", [("photos",), ("data=photos",), ("--data", "photos"), ("--data=photos",)])
def test_every_spelling_means_the_same(folder: Path, words: tuple[str, ...], data: tuple[str, ...]) -> None:
    for order in ((*words, *data), (*data, *words)):
        arguments = parse("pretrain", *order)
        assert not arguments.problems and arguments.positionals == ()
        assert arguments["data"] == Path("photos") and arguments["out"] == Path("x")
        assert arguments["log_every"] == 5
        assert arguments.settings == {"epochs": "3", "base.queue_size": "64"}


@pytest.mark.parametrize(
    ("words", "positionals", "data"),
    [
        ("evaluate runs/first", ("runs/first",), None),
        ("evaluate runs/first photos", ("runs/first",), "photos"),
        ("embed timm/resnet18 photos out=f.npz", ("timm/resnet18",), "photos"),
        ("audit runs/first photos", ("runs/first",), "photos"),
        ("audit runs/first out timm/resnet18 photos", ("runs/first", "out", "timm/resnet18"), "photos"),
        ("audit runs/first out data=photos", ("runs/first", "out"), "photos"),
        ("audit runs/first runs/lr=0.1 --data photos", ("runs/first", "runs/lr=0.1"), "photos"),
        ("check photos", (), "photos"),
        ("check data=photos", (), "photos"),
        ("study grid photos out=x", ("grid",), "photos"),
        ("evaluate -- runs/first photos", ("runs/first",), "photos"),
        ("evaluate runs/lr=0.1 photos", ("runs/lr=0.1",), "photos"),
        ("embed runs/lr=0.1 photos out=f.npz", ("runs/lr=0.1",), "photos"),
        ("resume runs/lr=0.1 epochs=9", ("runs/lr=0.1",), None),
        ("export ./runs/lr=0.1 out=runs/x=1", ("./runs/lr=0.1",), None),
        ("report runs/lr=0.1 runs/first", ("runs/lr=0.1", "runs/first"), None),
        ("resume epochs=9", ("epochs=9",), None),
        ("report epochs=9 runs/first", ("epochs=9", "runs/first"), None),
    ],
)
def test_data_may_be_positional(
    folder: Path, words: str, positionals: tuple[str, ...], data: str | None
) -> None:
    arguments = parse(*words.split())
    assert not arguments.problems and arguments.positionals == positionals
    assert arguments.values.get("data") == (data and Path(data))


def test_a_last_model_is_no_data(folder: Path) -> None:
    arguments = parse("audit", "runs/first", "out")
    assert arguments.positionals == ("runs/first", "out") and arguments["data"] is None
    assert "data=DIR is missing" in arguments.problems[0]


@pytest.mark.parametrize(
    ("words", "positionals", "settings"),
    [
        (["runs/lr=0.1"], ("runs/lr=0.1",), {}),
        (["runs/missing=1"], ("runs/missing=1",), {}),  # no setting has "/" in its name
        (["lr=0.1"], ("lr=0.1",), {}),  # exists in this folder
        (["runs/first", "--lr", "0.1"], ("runs/first",), {"lr": "0.1"}),
        (["runs/first", "epochs=3"], ("runs/first",), {"epochs": "3"}),
        (["--", "epochs=3"], ("epochs=3",), {}),
    ],
    ids=" ".join,
)
def test_a_path_with_an_equals_sign(
    folder: Path, words: list[str], positionals: tuple[str, ...], settings: dict[str, str]
) -> None:
    (folder / "lr=0.1").mkdir()
    arguments = parse("resume", *words)
    assert arguments.positionals == positionals and arguments.settings == settings and not arguments.problems


def test_values_keep_equals_signs_dashes_and_empty_texts(folder: Path) -> None:
    arguments = parse("render photonics", "--out", "lr=0.1", "--labelled", "-1", "kind=gpm", "count=3")
    assert arguments["out"] == Path("lr=0.1") and arguments["labelled"] == -1 and not arguments.problems
    assert parse("pretrain", "out=x", "keep=", "trust=")["keep"] == ()


def test_all_mistakes_of_the_words_are_reported_together(folder: Path) -> None:
    arguments = parse("embed", "-x", "--sise", "3", "count=1", "device=tpu", "out=a", "out=b", "--weights")
    expected = (
        "'-x'",
        "did you mean 'size'",
        "count=1",
        "device=tpu",
        "out: given 2 times",
        "--weights: the value",
    )
    for part in (*expected, "MODEL is missing", "data=DIR is missing"):
        assert sum(part in p for p in arguments.problems) == 1, (part, arguments.problems)
    with pytest.raises(UserError) as error:
        arguments.check()
    assert len(error.value.problems) == 8


def test_exit_codes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == main(["-V"]) == main([]) == main(["help", "pretrain"]) == 0
    assert main(["nothing"]) == main(["list", "--kind"]) == 2
    for error, code in ((KeyboardInterrupt(), 130), (RuntimeError("x"), 1), (OSError(2, "none", "f"), 2)):

        def fail(arguments: Arguments, error: BaseException = error) -> None:
            raise error

        monkeypatch.setattr("equissl.cli.doctor.run", fail)
        monkeypatch.setattr("equissl.cli.main.own_code", lambda error: "")  # this file is not the package's
        assert main(["doctor"]) == code
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("verb", every_verb(), ids=lambda v: v.name)
def test_help_fits_80_columns(
    verb: Verb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert main([*verb.name.split(), "--help"]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    for key in verb.keys:
        assert key.usage in out


def test_examples_of_the_help_parse(folder: Path) -> None:
    for verb in every_verb():
        for example in verb.examples:
            words = example.removeprefix(f"equissl {verb.name}").split()
            if "--help" not in words:
                assert not parse(verb.name, *words).problems, example


def test_what_files_state_is_what_there_is() -> None:
    from equissl.auto.requirements import FACTORS
    from equissl.cli import listing
    from equissl.config import registry
    from equissl.evaluate.audit.factors import AUDITS
    from equissl.recipes.equimod import simclr_cifar10

    assert outline.CHOICES["recipes"]() == [e.name for e in registry.recipes()]
    assert outline.CHOICES["studies"]() == [e.name for e in registry.studies()]
    assert outline.CHOICES["factors"]() == list(FACTORS) and outline.CHOICES["audits"]() == list(AUDITS)
    assert (*listing.KINDS, "backbones") == KINDS
    assert all(hasattr(simclr_cifar10(), name) for name in outline.settings("recipe"))


def test_help_of_a_study_lists_its_own_settings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "photonics", "--help"]) == 0
    out = capsys.readouterr().out
    assert "setting=gpm" in out and "budgets=100,300,1000" in out and "modules=all" not in out
    assert main(["study", "--help"]) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in outline.CHOICES["studies"]())


@pytest.mark.parametrize("name", outline.CHOICES["studies"]())
def test_help_of_a_study_names_every_choice(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Defaults that are all there is are no more in the help than what the command accepts."""
    assert main(["study", name, "--help"]) == 0
    out = capsys.readouterr().out
    assert max(len(line) for line in out.splitlines()) <= 80
    said = {word.strip('".,;:()[]') for word in re.split(r"[\s,=]+", out)}
    preset = next(e.value for e in registry.studies() if e.name == name)
    for parameter in inspect.signature(preset).parameters.values():
        if isinstance(parameter.default, tuple):
            assert {str(value) for value in parameter.default} <= said, parameter.name
            assert f"{parameter.name}=all" not in out
    assert name != "grid" or set(BASES) <= said


def complete(line: str, shell: str = "fish") -> list[str]:
    """What a shell would show after ``line``."""
    code = "import sys; from equissl.cli.main import main; code = main(); "
    code += "assert not {'torch', 'timm', 'numpy', 'sklearn'} & set(sys.modules); sys.exit(code)"
    env = {**os.environ, "_EQUISSL_COMPLETE": f"{shell}_complete", "COMP_WORDS": line}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    return [row.partition("\t")[0] for row in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("line", "expected", "absent"),
    [
        ("equissl pre", ["pretrain"], "evaluate"),
        ("equissl render ", ["solids", "3diebench", "photonics"], "pretrain"),
        ("equissl pretrain ", ["photos/", "runs/", "out=", "recipe="], "epochs="),
        ("equissl pretrain ep", ["epochs="], "photos/"),
        ("equissl pretrain photos recipe=equimod.s", ["recipe=equimod.simclr_cifar10"], "recipe=byol"),
        ("equissl pretrain --rec", ["--recipe"], "--out"),
        ("equissl pretrain --recipe equimod.s", ["equimod.simclr_cifar10"], "photos/"),
        ("equissl pretrain --recipe=equimod.s", ["--recipe=equimod.simclr_cifar10"], "photos/"),
        ("equissl pretrain keep=hue,ro", ["keep=hue,rotation"], "keep=hue"),
        ("equissl evaluate runs/", ["runs/first/", "runs/lr=0.1/"], "photos/"),
        ("equissl evaluate runs/lr=0.1 knn.", ["knn.k=", "knn.temperature="], "photos/"),
        ("equissl export runs/first format=", ["format=timm", "format=onnx"], "photos/"),
        ("equissl pretrain data=ph", ["data=photos/"], "photos/"),
        ("equissl study g", ["grid"], "photos/"),
        ("equissl list rec", ["recipes"], "photos/"),
        ("equissl pretrain --nothing x da", ["data="], "photos/"),
    ],
)
def test_completion(folder: Path, line: str, expected: list[str], absent: str) -> None:
    found = complete(line)
    assert set(expected) <= set(found) and absent not in found


def test_completion_scripts(folder: Path) -> None:
    """bash completes in a real shell; the scripts of the others are read without an error."""
    command = Path(sys.executable).with_name("equissl")
    env = {**os.environ, "PATH": f"{command.parent}:{os.environ['PATH']}"}
    script = (
        'eval "$(_EQUISSL_COMPLETE=bash_source equissl)"; compopt() { :; }; '
        'COMP_LINE="$1"; COMP_POINT=${#1}; '
        '_equissl_completion equissl "" ""; printf "%s\\n" "${COMPREPLY[@]}"'
    )
    for line, expected in (("equissl pre", "pretrain"), ("equissl pretrain data=ph", "photos/")):
        done = subprocess.run(["bash", "-c", script, "-", line], capture_output=True, text=True, env=env)
        assert done.stdout.split() == [expected], done.stderr
    for shell in ("zsh", "fish"):
        source = {**env, "_EQUISSL_COMPLETE": f"{shell}_source"}
        text = subprocess.run([command], capture_output=True, text=True, env=source, check=True).stdout
        assert "_equissl_completion" in text and f"{shell}_complete" in text
        if shutil.which(shell):
            assert not subprocess.run([shell, "-n"], input=text, capture_output=True, text=True).stderr


def test_help_takes_less_than_a_second() -> None:
    """Of processor time, because tests share the machine."""
    resource = pytest.importorskip("resource")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "equissl", "evaluate", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1


def test_completion_describes_keys() -> None:
    items = {i.value: i.help for i in completed(VERB["pretrain"], (), "")}
    assert items["out="] == "folder to write" and {v.name for v in VERBS} == set(CLI.commands)
