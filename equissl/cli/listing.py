"""``equissl list``."""

from __future__ import annotations

from collections.abc import Callable

from equissl.augment.base import Augmentation
from equissl.cli.grammar.arguments import Arguments
from equissl.config import registry
from equissl.config.registry import Entry
from equissl.data.base import Data
from equissl.errors import UserError, nearest
from equissl.evaluate import protocol
from equissl.evaluate.base import Downstream, Evaluation
from equissl.evaluate.context import EncoderEvaluation
from equissl.objective import Base, Equivariance

KINDS: dict[str, Callable[[], list[Entry]]] = {
    "recipes": registry.recipes,
    "bases": lambda: registry.subclasses(Base),
    "equivariance": lambda: registry.subclasses(Equivariance),
    "augmentations": lambda: registry.subclasses(Augmentation),
    "datasets": lambda: registry.subclasses(Data),
    "studies": registry.studies,
    "evaluations": lambda: protocol.entries(Evaluation, EncoderEvaluation),
    "tasks": lambda: protocol.entries(Downstream),
}


def run(args: Arguments) -> None:
    """One line for every entry of a kind, or of all kinds."""
    args.check()
    kind = args.positionals[0] if args.positionals else ""
    if kind == "backbones":
        _backbones(str(args["match"]))
        return
    if args["match"] != "*":
        raise UserError(f"match={args['match']} is for backbones: `equissl list backbones match=...`")
    if kind and kind not in KINDS:
        raise UserError(f"list {kind}: no such kind; {nearest(kind, [*KINDS, 'backbones'])}")
    for name in [kind] if kind else KINDS:
        _show(name, KINDS[name]())
    if not kind:
        print("backbones: any timm model; `equissl list backbones match=resnet*`")


def _show(kind: str, entries: list[Entry]) -> None:
    print(f"{kind}:")
    width = max((len(e.name) for e in entries), default=0)
    for entry in entries:
        paper = f" [{entry.paper}]" if entry.paper and entry.paper not in entry.line else ""
        print(f"  {entry.name:<{width}}  {entry.line.replace('``', '')}{paper}")
    print()


def _backbones(pattern: str) -> None:
    import timm

    names = timm.list_models(pattern)
    if not names:
        raise UserError(f"match={pattern}: no timm model matches. Use a pattern such as match='resnet*'.")
    print("\n".join(names))
