"""Entry point: help, dispatch, and mistakes shown without a traceback."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence

from equissl.cli.arguments import Verb, read
from equissl.cli.verbs import VERBS
from equissl.errors import Stopped, UserError, nearest

USAGE = """\
equissl learns image representations without labels that keep what augmentations destroy.

usage: equissl VERB [THINGS] [key=value ...]
"""


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line; returns the exit code: 0 done, 2 a mistake in the command, 130 interrupted."""
    given = list(sys.argv[1:] if words is None else words)
    if os.getcwd() not in sys.path:  # a user's own module:function lies where the command is run
        sys.path.append(os.getcwd())
    if not given or given[0] in ("-h", "--help", "help"):
        known = len(given) > 1 and given[1] in _names(VERBS)
        print(describe(_find(given[1:])[0]) if known else overview())
        return 0
    if given[0] in ("-V", "--version"):
        from importlib.metadata import version

        print(f"equissl {version('equissl')}")
        return 0
    try:
        verb, rest = _find(given)
        if {"-h", "--help"} & set(rest):
            print(describe(verb))
            return 0
        if verb.kinds:
            raise UserError(f"`equissl {verb.name}` needs a second word: {', '.join(_names(verb.kinds))}")
        return verb.run(read(verb, rest))
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 130
    except UserError as error:
        _show(error)
        return 2
    except OSError as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        _show(UserError(f"{error.strerror or error}: {error.filename}" if error.filename else str(error)))
        return 2
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if os.environ.get("EQUISSL_DEBUG"):
            traceback.print_exc()
        print(f"unexpected error: {type(error).__name__}: {error}", file=sys.stderr)
        print("this is a fault of equissl; EQUISSL_DEBUG=1 shows where it happened", file=sys.stderr)
        return 1


def overview() -> str:
    width = max(len(v.name) for v in VERBS)
    lines = [f"  {v.name:<{width}}  {v.line}" for v in VERBS]
    ending = "\n`equissl VERB --help` tells what a verb accepts. Set EQUISSL_DEBUG=1 to see tracebacks."
    return "\n".join([USAGE, *lines, ending])


def describe(verb: Verb) -> str:
    """The help of one verb."""
    usage = " ".join(
        ["usage: equissl", verb.name, f"[{verb.things}]" if verb.optional else verb.things, "[key=value ...]"]
    )
    if verb.kinds:
        usage = f"usage: equissl {verb.name} {'|'.join(_names(verb.kinds))} [key=value ...]"
    lines = [usage.replace("  ", " "), "", verb.line, "", *(f"  {k.name}: {k.line}" for k in verb.kinds)]
    width = max((len(k.name) for k in verb.keys), default=0)
    for key in verb.keys:
        ending = (
            " (needed)" if key.required else f" (default: {key.default})" if key.default is not None else ""
        )
        lines.append(f"  {key.name:<{width}}  {key.line}{ending}")
    if verb.settings:
        lines += ["", "Any setting of the recipe can be given as path.to.field=value, for example"]
        lines += ["  epochs=10 batch_size=128 seed=1 encoder.name=resnet50 encoder.stem=timm"]
    if verb.examples:
        lines += ["", "examples:", *(f"  {e}" for e in verb.examples)]
    return "\n".join(lines)


def _names(verbs: Sequence[Verb]) -> list[str]:
    return [v.name.split()[-1] for v in verbs]


def _find(words: Sequence[str], verbs: Sequence[Verb] = VERBS) -> tuple[Verb, Sequence[str]]:
    """The verb that the first word, or the first two, name, and the words after it."""
    for verb in verbs:
        if verb.name.split()[-1] == words[0]:
            deeper = verb.kinds and len(words) > 1 and not words[1].startswith("-")
            return _find(words[1:], verb.kinds) if deeper else (verb, words[1:])
    what = "is not a verb of equissl" if verbs is VERBS else f"is nothing to {verbs[0].name.split()[0]}"
    raise UserError(f"{words[0]!r} {what}; {nearest(words[0], _names(verbs))}")


def _show(error: UserError) -> None:
    if os.environ.get("EQUISSL_DEBUG"):
        traceback.print_exc()
    count = len(error.problems)
    heading = "error:" if count == 1 else f"{count} errors:"
    lines = error.problems if count == 1 else [f"\n  - {p}" for p in error.problems]
    print(f"{heading} {''.join(lines)}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
