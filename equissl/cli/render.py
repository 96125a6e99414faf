"""``equissl render``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from equissl.api.render import render_solids
from equissl.cli import shared
from equissl.cli.grammar.arguments import Arguments
from equissl.data.solids import Solids
from equissl.errors import UserError
from equissl.progress import Display, seconds_since
from equissl.runs.folder import check_free

if TYPE_CHECKING:
    from equissl.photonics.generate import CrystalPlan


def solids(args: Arguments) -> None:
    """PNG files below train/CLASS and test/CLASS, and a table of every image's factors."""
    out = args["out"]
    args.check(lambda: None if out is None else check_free(out))
    data = _solids(args)
    with Display() as display:
        render_solids(data, out, progress=display)
    print(f"wrote {out}: images below train/ and test/, factors in train.csv and test.csv")


def photonics(args: Arguments) -> None:
    """One file of cells, labels, parameters and seed."""
    from equissl.photonics.generate import generate

    plans: list[CrystalPlan] = []
    args.check(lambda: plans.append(_plan(args)), lambda: shared.device(args))
    (plan,), out, began = plans, args["out"], time.perf_counter()
    with Display() as display:
        made = generate(plan, out, device=shared.device(args), progress=display)
    took = seconds_since(began)
    print(f"{out}: {plan.count} cells of kind {plan.kind}, {plan.num_labelled} with a density of states")
    if made:
        print(f"generated {made} cells in {took:.1f} s ({made / took:.1f} cells/s)")


def _plan(args: Arguments) -> CrystalPlan:
    from equissl.photonics.dos import Spectrum
    from equissl.photonics.generate import CrystalPlan

    if None in (args["kind"], args["count"]):
        raise UserError([])  # already reported
    try:
        spectrum = Spectrum(**{n: args[n] for n in ("polarisation", "order", "grid")})
    except ValueError as error:
        raise UserError(str(error)) from error
    return CrystalPlan(
        spectrum=spectrum, **{n: args[n] for n in ("kind", "count", "labelled", "size", "harmonics", "seed")}
    )


def _solids(args: Arguments) -> Solids:
    try:
        return Solids(size=args["size"], objects=args["objects"], views=args["views"], seed=args["seed"])
    except ValueError as error:
        raise UserError(str(error)) from error
