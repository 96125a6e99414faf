"""``equissl repair``."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from equissl import report
from equissl.api.repair import ORIGINAL, REPAIRED, carry_out, check_out, outcome
from equissl.auto.repair import plan_repair
from equissl.auto.requirements import kept_factors
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.cli.pretrain import summary
from equissl.data.folder import existing_data
from equissl.evaluate.audit.asked import check_asked
from equissl.evaluate.audit.options import AuditOptions
from equissl.progress import Display
from equissl.training.options import Options


def run(args: Arguments) -> None:
    """Fine-tune, audit before and after, export, and show both side by side."""
    path: Path | None = args["data"]
    test: Path | None = args["test"]
    out: Path = args["out"]  # absent: an error of args.check
    args.check(
        lambda: path and existing_data(path),
        lambda: test and existing_data(test),
        lambda: kept_factors(args["keep"]),
        lambda: check_asked(tuple(args["factors"])),
        lambda: shared.device(args),
        lambda: None if out is None else check_out(out),
    )
    with Display() as display:
        model = shared.load_models(args.positionals, args, display.say)[0]
        planned = plan_repair(
            model,
            args["data"],
            args["keep"],
            test=test,
            labels=args["labels"],
            limit=args["limit"] or None,
            settings=args.settings,
            seed=args["seed"],
            trusted=shared.trusted(args),
            progress=display,
        )
        for line in (*planned.reasons, summary(planned.recipe, "repair")):
            display.say(line)
        options = AuditOptions(
            factors=tuple(args["factors"]), **{n: args[n] for n in ("count", "draws", "untrained", "seed")}
        )
        running = Options(
            accelerator=shared.device(args),
            loggers=(),
            silent=False,
            **{n: args[n] for n in ("log_every", "save_every", "stop_after")},
        )
        carry_out(planned, out, options, running, progress=display, say=display.say)
    console = Console()
    console.print(report.text(report.comparison([out / ORIGINAL, out / REPAIRED]), console.width))
    print(*(f"- {line}" for line in outcome(out, args["keep"])), sep="\n")
    print(f"report: {out / 'report.html'}")
    if (exported := out / REPAIRED / "export").is_dir():
        print(f"exported encoder: {exported}")
