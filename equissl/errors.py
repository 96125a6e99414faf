"""The one exception a user's mistake raises, so that the command line can show it without a traceback."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

_MAX_CHOICES = 12  # that are all named
_MAX_SIMILAR = 8  # of more
_MAX_MEANT = 3  # settings of one name in different places


class UserError(Exception):
    """One or more mistakes in what the user asked for, each a sentence that says what to do.

    Args:
        problems: one sentence per mistake; a single string is one mistake.
    """

    def __init__(self, problems: str | Sequence[str]):
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


class NonFiniteError(UserError):
    """A loss, a weight or a feature is infinite or NaN; says which, and what to do.

    Args:
        step: of training, where one is known; 0 elsewhere.
    """

    def __init__(self, problems: str | Sequence[str], step: int = 0):
        super().__init__(problems)
        self.step = step


class FieldError(UserError, ValueError):
    """A field of a config that is of another type or out of range."""


class Stopped(UserError):
    """The work was asked to stop and everything is saved; nothing was wrong."""


def memory_problem(error: BaseException) -> str:
    """A sentence for an error that says that memory ran out, in whatever form; "" for any other."""
    kinds = ("OutOfMemoryError", "DefaultCPUAllocator", "Storage size calculation overflowed")
    text = f"{type(error).__name__} {error}"
    if not isinstance(error, MemoryError) and not any(kind in text for kind in kinds):
        return ""
    first = str(error).strip().splitlines() or [""]
    detail = f" ({first[0][:200]})" if first[0] else ""
    return f"out of memory{detail}: choose a smaller batch_size, size or count, or a smaller network"


def nearest(name: str, valid: Iterable[str]) -> str:
    """A sentence that names the valid choices: ``did you mean 'hue'? valid: ...``; of many, the nearest.

    >>> nearest("size", ["batch_size", "data.size", "encoder.size"])
    "did you mean 'data.size' or 'encoder.size'? valid: batch_size, data.size, encoder.size"
    """
    choices = sorted(valid)
    if not choices:
        return "there are none to choose from"
    inside = [c for c in choices if c.endswith(f".{name}")]
    inside = [c for c in inside if c.count(".") == min(c.count(".") for c in inside)]
    close = inside[:_MAX_MEANT] or difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, close))}? " if close else ""
    if len(choices) <= _MAX_CHOICES:
        return f"{hint}valid: {', '.join(choices)}"
    if not name:
        return f"valid: {', '.join(choices[:_MAX_CHOICES])}, ..."
    return f"{hint}nearest of {len(choices):,}: {', '.join(_most_similar(name, choices))}"


def _most_similar(name: str, choices: Sequence[str]) -> list[str]:
    """The choices that hold ``name``, then those that are spelled alike."""
    inside = [c for c in choices if name.lower() in c.lower()]
    alike = difflib.get_close_matches(name, choices, n=_MAX_CHOICES, cutoff=0.0)
    return list(dict.fromkeys([*inside, *alike]))[:_MAX_SIMILAR]
