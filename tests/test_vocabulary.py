"""Names, docstrings, messages and docs use the field's words; docs/renames.md has the old ones."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import equissl

PACKAGE = Path(equissl.__file__).parent
ROOT = PACKAGE.parent
# Words that only the first version used, each with what to write instead.
PRIVATE = {
    "picture": "image",
    "pictures": "images",
    "wish": "requirements",
    "wishes": "requirements",
    "doubt": "feasibility warning",
    "doubts": "feasibility warnings",
    "fulfilled": "build_recipe",
    "understood": "resolve",
    "told": "predictions, or say what is passed",
    "redrawn": "reconstruction",
    "twin": "random-init baseline",
    "learnt": "train features",
    "on_the_way": "intermediate_views",
    "sibling_free": "nt_xent_without_sibling",
    "variance_hinge": "variance_loss",
    "vector_rate": "bias_lr",
    "rate_scale": "lr_scale",
    "constant_rate": "fixed_lr",
    "as_single": "to_float32",
    "to_plain": "to_dict",
    "from_plain": "from_dict",
    "read_change": "read_factors",
    "resting": "frozen",
    "predictchange": "AugSelf",
    "predicttransform": "ESSL",
}
_WORD = re.compile(r"[A-Za-z]+")
_COMPOUND = [word for word in PRIVATE if "_" in word]
FILES = [
    *sorted(p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".j2", ".c")),
    *sorted(p for folder in ("tests", "benchmarks") for p in (ROOT / folder).rglob("*.py")),
    *sorted(ROOT.glob("*.md")),
    *sorted(p for p in (ROOT / "docs").rglob("*.md") if p.name != "renames.md"),
]


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line numbers and texts: names, strings and comments of Python, lines of any other file."""
    content = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from enumerate(content.splitlines(), 1)
        return
    kinds = (tokenize.NAME, tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1))
    for token in tokenize.generate_tokens(io.StringIO(content).readline):
        if token.type in kinds:
            for shift, line in enumerate(token.string.splitlines()):
                yield token.start[0] + shift, line


def private_words(text: str) -> set[str]:
    """Which private words a text holds; identifiers are split at underscores and capitals."""
    split = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text).replace("_", " ").lower()
    found = {word for word in _WORD.findall(split) if word in PRIVATE}
    found |= {word for word in _WORD.findall(text.lower()) if word in PRIVATE}
    return found | {word for word in _COMPOUND if re.search(rf"\b{word}\b", text)}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_only_words_of_the_field(path: Path) -> None:
    if path == Path(__file__):
        pytest.skip("the list of the words themselves")
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {word} -> {PRIVATE[word]}"
        for number, line in texts(path)
        for word in sorted(private_words(line))
    ]
    assert not wrong, "\n" + "\n".join(wrong)


def test_the_test_finds_what_it_looks_for() -> None:
    assert private_words("def askPicture_of(x)") == {"picture"}
    assert private_words("rate_scale = 1") == {"rate_scale"}
    assert private_words("what it was told") == {"told"}
    assert not private_words("storied pictured learning_rate scale")
