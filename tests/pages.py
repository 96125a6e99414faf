"""README and docs as text: their blocks, commands and snippets."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMAND = re.compile(r"^(?:\$ )?(?:uv run (?:--[\w-]+ )*)?(?:\w+=\S* )*equissl +(.*)")
FENCED = re.compile(r"^```([^\n`]*)\n(.*?)^```", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    language: str
    text: str

    def commands(self) -> Iterator[str]:
        """What follows ``equissl`` in each line."""
        lines = [part for line in self.text.replace("\\\n", " ").splitlines() for part in line.split("&&")]
        for line in lines:
            found = COMMAND.match(re.sub(r"\s+", " ", line.strip()))
            if found:
                yield found[1]


def blocks(page: Path) -> Iterator[Block]:
    for language, text in FENCED.findall(page.read_text("utf-8")):
        yield Block(language, text)


def prose(page: Path) -> str:
    return FENCED.sub("", page.read_text("utf-8"))


def commands(page: Path) -> Iterator[str]:
    """What follows ``equissl`` in the blocks of a page and in its backticks, without comments."""
    inline = [Block("", text) for text in re.findall(r"`([^`]+)`", prose(page))]
    for block in (*blocks(page), *inline):
        for command in block.commands():
            if not command.startswith(("COMMAND", "VERB", "--")):
                yield command


def snippets(page: Path) -> str:
    """The Python blocks of a page, one after the other, as a reader would type them."""
    return "\n".join(b.text for b in blocks(page) if b.language == "python")
