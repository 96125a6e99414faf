"""Names of files and classes from different sources: equal texts, or equal in Unicode's normal form."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

from equissl.errors import UserError


def nfc(text: str) -> str:
    """A text in Unicode's composed form; macOS stores names decomposed, and both look alike."""
    return unicodedata.normalize("NFC", text)


def match_names(names: Iterable[str], valid: Iterable[str]) -> dict[str, str]:
    """Which of ``valid`` each of ``names`` means: the same text, otherwise the same in its composed form.

    Names that mean none are left out.

    Raises:
        UserError: a name means several, none of which is the same text.

    >>> match_names(["e\\u0301", "x"], ["\\xe9", "f"]) == {"e\\u0301": "\\xe9"}
    True
    """
    exact = set(valid)
    by_form: dict[str, list[str]] = {}
    for name in sorted(exact):
        by_form.setdefault(nfc(name), []).append(name)
    matches: dict[str, str] = {}
    for name in names:
        found = [name] if name in exact else by_form.get(nfc(name), [])
        if len(found) > 1:
            raise UserError(
                f"{name!r} may mean {' or '.join(map(ascii, found))}, which look alike but are written with "
                "other Unicode characters; write exactly one of them, or rename it"
            )
        matches |= dict.fromkeys([name], found[0]) if found else {}
    return matches
