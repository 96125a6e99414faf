"""One setting from its text, by its type; nothing here imports torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, get_origin

from equissl.config.validation import arms
from equissl.errors import UserError


def parse(text: str, hint: Any, path: str) -> Any:
    """The value that ``text`` stands for, of the type ``hint``; tuples as ``1,2`` or ``[1, 2]``.

    Raises:
        UserError: naming ``path``, what came and what was expected.
    """
    from pydantic import ConfigDict, TypeAdapter, ValidationError

    if hint is Path and not text:
        raise UserError(f"{path}=: the path is empty")
    try:
        finite = TypeAdapter(hint, config=ConfigDict(allow_inf_nan=False))
        return finite.validate_python(_plain(text, hint))
    except ValidationError as error:
        first = error.errors()[0]
        expected = first["msg"][0].lower() + first["msg"][1:]
        raise UserError(f"{path}={text}: {expected}") from error


def _plain(text: str, hint: Any) -> Any:
    if hint is str:
        return text
    if hint is Path:
        return Path(text).expanduser()  # the shell leaves the ~ in key=~/value alone
    tuples = any(get_origin(arm) is tuple for arm in arms(hint))
    listed = tuples and text[:1] not in ("[", "(") and ("," in text or arms(hint) == (hint,))
    wrapped = f"[{text}]" if listed else text
    try:
        return json.loads(wrapped.replace("(", "[").replace(")", "]"))
    except (ValueError, RecursionError):  # also thousands of digits or brackets
        return [t.strip() for t in text.split(",")] if listed else text
