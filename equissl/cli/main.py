"""Entry point of the command ``equissl``: runs a verb and shows mistakes without a traceback."""

from __future__ import annotations

import os
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from pathlib import Path

import click

from equissl.cli.grammar.commands import VerbGroup
from equissl.cli.grammar.verbs import EQUISSL
from equissl.cli.output import printable_streams
from equissl.cli.streams import own_warnings_in_words, prepare_streams
from equissl.errors import Stopped, UserError, memory_problem
from equissl.storage import system_problem
from equissl.training.signals import signal_name, sigterm_interrupts

_LONGEST = 3000  # characters of a message: names in files can be of any length

CLI = click.version_option(None, "-V", "--version", package_name="equissl", message="%(prog)s %(version)s")(
    VerbGroup(EQUISSL)
)


def main(words: Sequence[str] | None = None) -> int:
    """Run a command line.

    Returns:
        The exit code: 0 done, 1 a fault of equissl, 2 a mistake in the command, 130 interrupted.
    """
    _set_spinning()
    prepare_streams()
    with printable_streams(), own_warnings_in_words():
        return _run(list(sys.argv[1:] if words is None else words))


def _set_spinning() -> None:
    """Let waiting threads of OpenMP spin for a moment and then sleep, unless the user's environment decides.

    By default they spin so long that they can be twenty times slower on cores that others use, too; if they
    sleep at once, a step takes up to 1.4 times as long on free cores. It is read when torch is imported.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # GNU's, which torch brings on Linux
        os.environ.setdefault("KMP_BLOCKTIME", "1")  # LLVM's and Intel's, in milliseconds


def _run(arguments: list[str]) -> int:
    if "_EQUISSL_COMPLETE" in os.environ:
        from equissl.cli.grammar import completion

        return completion.run(CLI)
    if not arguments or arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    try:
        with sigterm_interrupts(), CLI.make_context("equissl", arguments) as context:
            code: int = CLI.invoke(context)
            return code
    except click.exceptions.Exit as done:  # after --help and --version
        return done.exit_code
    except Stopped as stop:
        print(stop, file=sys.stderr)
        return 130
    except (UserError, click.ClickException) as error:
        return _show(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _show(UserError(system_problem(error)))
    except KeyboardInterrupt as error:
        print(f"interrupted{signal_name(error)}", file=sys.stderr)
        return 130
    except Exception as error:
        if problem := memory_problem(error):
            return _show(UserError(problem))
        if os.environ.get("EQUISSL_DEBUG"):
            traceback.print_exc()
        if place := own_code(error):
            return _show(UserError(f"{place}: {type(error).__name__}: {error}"))
        print(f"unexpected error: {type(error).__name__}: {error}", file=sys.stderr)
        print("This is a fault of equissl. EQUISSL_DEBUG=1 shows the traceback.", file=sys.stderr)
        return 1


def own_code(error: BaseException) -> str:
    """FILE:LINE of the innermost call in code that is neither equissl's nor installed; "" if none."""
    folders = [Path(__file__).parents[1], *map(Path, sysconfig.get_paths().values())]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        if file.is_file() and not any(file.is_relative_to(f) for f in folders):
            return f"{frame.filename}:{frame.lineno}, in {frame.name}"
    return ""


def _show(error: UserError | click.ClickException) -> int:
    if os.environ.get("EQUISSL_DEBUG"):
        traceback.print_exc()
    full = error.problems if isinstance(error, UserError) else [error.format_message()]
    problems = [p if len(p) <= _LONGEST else f"{p[:_LONGEST]} ..." for p in full]
    count = len(problems)
    text = problems[0] if count == 1 else "".join(f"\n  - {p}" for p in problems)
    print(f"{'error' if count == 1 else f'{count} errors'}: {text}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
