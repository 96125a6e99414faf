"""Shell completion in bash, zsh and fish: verbs, keys, their values, and paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    ShellComplete,
    add_completion_class,
    shell_complete,
    split_arg_string,
)

from equissl.cli.grammar import outline
from equissl.cli.grammar.arguments import Key, Verb

VARIABLE = "_EQUISSL_COMPLETE"
# What ends in one of "=/.," is continued: no space after it.
# bash splits words at "=", so what stands before it is taken off again.
_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line value typed="${COMP_LINE:0:$COMP_POINT}" prefix=""
    typed="${typed##* }"
    [[ $typed == *=* && $COMP_WORDBREAKS == *=* ]] && prefix="${typed%%=*}="
    COMPREPLY=()
    for line in $(env COMP_WORDS="${COMP_LINE:0:$COMP_POINT}" %(complete_var)s=bash_complete "$1"); do
        value="${line%%%%$'\\t'*}"
        value="${value#"$prefix"}"
        [[ $value == *\\ * ]] && printf -v value %%q "$value"
        [[ $value == *[=/.,] ]] && compopt -o nospace
        COMPREPLY+=("$value")
    done
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""

_ZSH = """\
#compdef %(prog_name)s
%(complete_func)s() {
    local -a open open_text closed closed_text
    local line value
    for line in "${(@f)$(env COMP_WORDS="${(j: :)words[1,CURRENT-1]} $PREFIX" \
%(complete_var)s=zsh_complete %(prog_name)s)}"; do
        value="${line%%%%$'\\t'*}"
        if [[ $value == *[=/.,] ]]; then
            open+=("$value") open_text+=("${line/$'\\t'/  }")
        elif [[ -n $value ]]; then
            closed+=("$value") closed_text+=("${line/$'\\t'/  }")
        fi
    done
    (( $#open )) && compadd -U -V open -S '' -l -d open_text -a open
    (( $#closed )) && compadd -U -V closed -l -d closed_text -a closed
}
compdef %(complete_func)s %(prog_name)s
"""

_FISH = """\
function %(complete_func)s
    env COMP_WORDS=(commandline -cp) %(complete_var)s=fish_complete %(prog_name)s
end
complete --no-files --command %(prog_name)s --arguments "(%(complete_func)s)"
"""


def run(cli: click.Command) -> int:
    """Print the script of a shell, or the completions that it asks for."""
    for shell in (_Bash, _Zsh, _Fish):
        add_completion_class(shell)
    return shell_complete(cli, {}, "equissl", VARIABLE, os.environ[VARIABLE])


def words(verb: Verb, earlier: Sequence[str], incomplete: str) -> list[CompletionItem[str]]:
    """Keys, settings and positionals that begin with ``incomplete``, or values after its "="."""
    name, equals, text = incomplete.partition("=")
    keys = {k.name: k for k in verb.keys}
    if equals and name in keys:
        return [CompletionItem(f"{name}={i.value}", help=i.help) for i in values(keys[name], text)]
    items = [CompletionItem(f"{k.name}=", help=k.help) for k in verb.keys]
    if verb.settings and incomplete:
        items += [CompletionItem(f"{s}=") for s in outline.settings(verb.settings)]
    items += [CompletionItem(c) for c in _listed(verb.choices)] if not earlier else []
    paths = _paths(incomplete) if verb.usage and not verb.choices else ()
    return [i for i in items if i.value.startswith(incomplete)] + [CompletionItem(p) for p in paths]


def values(key: Key, incomplete: str) -> list[CompletionItem[str]]:
    """Values of a key that begin with ``incomplete``; of a list, its last item."""
    before = incomplete[: incomplete.rfind(",") + 1] if key.metavar.endswith(",...") else ""
    listed = [before + c for c in (*key.alternatives, *_listed(key.choices))]
    paths = _paths(incomplete) if key.metavar.endswith(("DIR", "FILE")) else ()
    return [CompletionItem(v) for v in (*(v for v in listed if v.startswith(incomplete)), *paths)]


def _listed(choices: str | Sequence[str]) -> Iterable[str]:
    return outline.CHOICES[choices]() if isinstance(choices, str) else choices


def _paths(incomplete: str) -> Iterator[str]:
    """Existing paths; a folder ends in "/"."""
    start = incomplete.rpartition("/")[2]
    before = incomplete[: len(incomplete) - len(start)]
    folder = Path(before or ".").expanduser()
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.name.startswith(start) and (start or path.name[0] != "."):
                yield before + path.name + ("/" if path.is_dir() else "")


class _Lines(ShellComplete):
    """Completions as lines of value, tab, help, from the command line up to the cursor."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        typed = split_arg_string(line)
        return (typed[1:], "") if line[-1:].isspace() else (typed[1:-1], typed[-1])

    def get_completions(self, args: list[str], incomplete: str) -> list[CompletionItem[str]]:
        items = super().get_completions(args, incomplete)
        if incomplete.startswith("--") and "=" in incomplete:  # click completes what follows "="
            name = incomplete.partition("=")[0]
            items = [CompletionItem(f"{name}={i.value}", help=i.help) for i in items]
        return items

    def format_completion(self, item: CompletionItem[str]) -> str:
        return f"{item.value}\t{item.help or ''}"


class _Bash(_Lines, BashComplete):
    name: ClassVar[str] = "bash"
    source_template: ClassVar[str] = _BASH


class _Zsh(_Lines):
    name: ClassVar[str] = "zsh"
    source_template: ClassVar[str] = _ZSH


class _Fish(_Lines):
    name: ClassVar[str] = "fish"
    source_template: ClassVar[str] = _FISH
