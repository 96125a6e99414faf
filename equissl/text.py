"""Texts from outside made safe to show, to write into tables and to name files by."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

# Control characters without tab and newline, marks that turn the direction of text, and bytes that are not
# UTF-8 as Python holds them.
_CONTROLS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
_ESCAPED = re.compile(r"\\(\\|x[0-9a-f]{2}|u[0-9a-f]{4})")
_FORMULA = re.compile("'*[=+\\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")
_SETTING = re.compile(r"[A-Za-z_][\w.-]*=")
_NOT_IN_FILE_NAMES = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f-\x9f\ud800-\udfff]+')
_MAX_FILE_NAME = 80  # characters, so that it fits with any prefix into 255 bytes of UTF-8


def printable(text: str) -> str:
    r"""A text without characters that control a terminal or a page, which become ``\x1b``, ``\u202e``.

    Tabs and newlines stay.

    >>> printable("red\x1b[31m.png")
    'red\\x1b[31m.png'
    """
    return _CONTROLS.sub(_escape, text)


def cell(text: str) -> str:
    r"""A text as a cell of a CSV file: nothing that starts a formula, no control characters.

    What starts with ``=``, ``+``, ``-``, ``@`` and is no number gets an apostrophe before it; control
    characters and bytes that are not UTF-8 are written as ``\x1b``, ``\udcff``, and a backslash twice.
    ``read_cell`` gives the text back.

    >>> cell("=1+1"), cell("-0.5"), cell("a\\b")
    ("'=1+1", '-0.5', 'a\\\\b')
    """
    marked = f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text
    return re.sub("[\t\n]", _escape, printable(marked.replace("\\", "\\\\")))


def read_cell(text: str) -> str:
    """The text that ``cell`` was given."""
    plain = _ESCAPED.sub(lambda m: "\\" if m[1] == "\\" else chr(int(m[1][1:], 16)), text)
    return plain[1:] if plain.startswith("'") and _FORMULA.match(plain) else plain


def file_name(text: str) -> str:
    """A name for one file or folder, from any text: no separators, nothing that leads elsewhere.

    >>> file_name("timm/resnet18"), file_name(".."), file_name("/a/b/")
    ('timm-resnet18', 'unnamed', 'a-b')
    """
    name = _NOT_IN_FILE_NAMES.sub("-", text.strip("/\\")).strip(" .-")
    return name[:_MAX_FILE_NAME].rstrip(" .-") or "unnamed"


def shell_path(path: Path | str) -> str:
    """A path as a word of an ``equissl`` command line that anyone can paste into a shell.

    >>> shell_path("runs/lr=0.1"), shell_path("lr=0.1"), shell_path("-x"), shell_path("my run")
    ('runs/lr=0.1', './lr=0.1', './-x', "'my run'")
    """
    text = str(path)
    if text.startswith(("-", "=", "timm/")) or _SETTING.match(text):
        text = f"./{text}"
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text) else shlex.quote(text)


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
