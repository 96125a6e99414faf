"""``equissl subspace``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from equissl.api.subspace import check_factors, check_file, subspace
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.data.folder import data_settings, existing_data
from equissl.evaluate.base import Score
from equissl.progress import Display


def run(args: Arguments) -> None:
    """Write the directions that carry a factor and say what is left without them."""
    out: Path | None = args["out"]
    args.check(
        lambda: check_file(out),
        lambda: args["factor"] and check_factors(args["factor"], args["factors"]),
        lambda: args["data"] and existing_data(args["data"]),
        lambda: shared.device(args),
    )
    with Display() as display:
        (loaded,) = shared.load_models(args.positionals, args, display.say)
        found, scores = subspace(
            loaded,
            args["data"],
            args["factor"],
            out,
            device=shared.device(args),
            progress=display,
            settings=data_settings(args.settings)[0],
            **{name: args[name] for name in ("factors", "labels", "count", "seed")},
        )
    width, directions = found.basis.shape
    print(f"wrote {out}: {directions} of {width} directions carry {found.factor}")
    print(*(_line(score) for score in scores), sep="\n")


def _line(score: Score) -> str:
    before = score.extra.get("before")
    value = f"{before[0]:.2f} -> " if isinstance(before, Sequence) else ""
    interval = "" if score.low is None or score.high is None else f" [{score.low:.2f}, {score.high:.2f}]"
    unit = "R²" if score.unit == "R2" else score.unit
    return f"- {score.title}: {value}{score.value:.2f}{interval} {unit}{_linear(score)}"


def _linear(score: Score) -> str:
    after, before = score.extra.get("linear"), score.extra.get("linear_before")
    numbers = isinstance(after, float) and isinstance(before, float)
    return f"; R² of a linear probe {before:.2f} -> {after:.2f}" if numbers and score.unit == "R2" else ""
