"""The verbs as click commands: ``key=value`` beside ``--key value``, help at 80 columns, completion."""

from __future__ import annotations

import importlib

import click
from click.shell_completion import CompletionItem

from equissl.cli.grammar import outline
from equissl.cli.grammar.arguments import SETTING, Arguments, Key, Verb, as_options, read
from equissl.errors import UserError, nearest

POSITIONALS = {
    "RUN": "folder of a run, as pretrain writes it",
    "MODEL": "run or exported folder, timm/NAME@pretrained, timm/NAME@FILE, ...: docs/models.md",
}
_ENDING = """
Completion of keys, recipes and paths with Tab, by a line in the startup file:
  bash  eval "$(_EQUISSL_COMPLETE=bash_source equissl)"
  zsh   eval "$(_EQUISSL_COMPLETE=zsh_source equissl)"
  fish  _EQUISSL_COMPLETE=fish_source equissl | source

`equissl COMMAND --help` lists what a command accepts. EQUISSL_DEBUG=1 shows
tracebacks.
"""
_HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class KeyOption(click.Option):
    """One key; ``arguments.read`` gives its texts their type, so that all mistakes are reported together."""

    def __init__(self, key: Key):
        super().__init__([f"--{key.name}", key.name], multiple=True, type=click.UNPROCESSED)
        self.key = key

    def get_help_record(self, ctx: click.Context) -> tuple[str, str]:
        default = self.key.default
        default = ",".join(map(str, default)) if isinstance(default, tuple) else default
        shown = "" if default in (None, "") else f" [default: {default}]"
        usage = f"DATA, {self.key.usage}" if self.key.name == "data" else self.key.usage
        return usage, self.key.help + (" [required]" if self.key.required else shown)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from equissl.cli.grammar import completion

        return completion.values(self.key, incomplete)


class Words(click.Argument):
    """The positionals of a verb; beside them, ``key=value`` is completed."""

    def __init__(self, verb: Verb):
        super().__init__(["words"], nargs=-1, type=click.UNPROCESSED)
        self.verb = verb

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from equissl.cli.grammar import completion

        return completion.words(self.verb, ctx.params.get("words", ()), incomplete)


class VerbCommand(click.Command):
    """One verb."""

    def __init__(self, verb: Verb):
        setting = click.Option([f"--{SETTING}", SETTING], multiple=True, type=click.UNPROCESSED, hidden=True)
        super().__init__(
            verb.name.split()[-1],
            params=[*(KeyOption(k) for k in verb.keys), setting, Words(verb)],
            help=verb.help,
            short_help=verb.help,
            context_settings=_HELP_NAMES,
        )
        self.verb = verb

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        problems: list[str] = []
        ctx.obj, options = problems, list(as_options(self.verb, args, problems))
        ctx.meta["positionals"] = [o for o in options if not o.startswith("-")]  # for --help, which is eager
        return super().parse_args(ctx, options)

    def arguments(self, ctx: click.Context) -> Arguments:
        """The typed arguments in a parsed context."""
        options = {n: texts for n, texts in ctx.params.items() if n != "words"}
        return read(self.verb, options, ctx.params["words"], ctx.obj)

    def invoke(self, ctx: click.Context) -> int:
        module, _, function = self.verb.target.partition(":")
        action = getattr(importlib.import_module(f"equissl.cli.{module}"), function)
        code: int | None = action(self.arguments(ctx))
        return code or 0

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*self.verb.usage.split(), "[KEY=VALUE]..."]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        slots = [s.strip("[].") for s in self.verb.usage.split()]
        rows = [(s, POSITIONALS[s]) for s in slots if s in POSITIONALS]
        rows += [p.get_help_record(ctx) for p in self.params if isinstance(p, KeyOption)]
        if rows:
            with formatter.section("Keys (key=value, --key value and --key=value mean the same)"):
                formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.verb.settings:
            formatter.write(f"\n{outline.help_of(self.verb.settings, ctx.meta['positionals'])}\n")
        _write_examples(self.verb, formatter)


class VerbGroup(click.Group):
    """Verbs by name, in the order of their table."""

    def __init__(self, verb: Verb, **options: object):
        commands = {v.name.split()[-1]: VerbGroup(v) if v.verbs else VerbCommand(v) for v in verb.verbs}
        options |= {"help": verb.help, "short_help": verb.help, "context_settings": _HELP_NAMES}
        super().__init__(verb.name, commands, no_args_is_help=False, **options)  # type: ignore[arg-type]
        self.verb = verb

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return ["|".join(self.commands) if ctx.parent else "COMMAND", "..."]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            raise UserError(f"{ctx.command_path}: a command is missing; {nearest('', self.commands)}")
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise UserError(
                f"{ctx.command_path} {args[0]}: no such command; {nearest(args[0], self.commands)}"
            )
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        _write_examples(self.verb, formatter)
        if ctx.parent is None:
            formatter.write(_ENDING)


def _write_examples(verb: Verb, formatter: click.HelpFormatter) -> None:
    if verb.examples:
        with formatter.section("Examples"):
            formatter.write("".join(f"  {e}\n" for e in verb.examples))
