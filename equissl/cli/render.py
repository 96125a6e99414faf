"""``equissl render``."""

from __future__ import annotations

import time

from equissl.api.render import render_solids
from equissl.cli import shared
from equissl.cli.arguments import Given
from equissl.data.solids import Solids
from equissl.errors import UserError
from equissl.photonics.dos import Spectrum
from equissl.photonics.generate import Plan, generate
from equissl.progress import Display
from equissl.runs.folder import check_free


def solids(given: Given) -> None:
    """PNG files below train/CLASS and test/CLASS, and a table of every image's factors."""
    out = given["out"]
    given.check(lambda: None if out is None else check_free(out))
    data = _solids(given)
    with Display() as display:
        render_solids(data, out, progress=display)
    print(f"wrote {out}: images below train/ and test/, factors in train.csv and test.csv")


def photonics(given: Given) -> None:
    """One file of cells, labels, parameters and seed."""
    plans: list[Plan] = []
    given.check(lambda: plans.append(_plan(given)), lambda: shared.device(given))
    (plan,), out, began = plans, given["out"], time.monotonic()
    with Display() as display:
        made = generate(plan, out, device=shared.device(given), progress=display)
    took = time.monotonic() - began
    print(f"{out}: {plan.count} cells of kind {plan.kind}, the last {plan.labels} with a density of states")
    if made:
        print(f"made {made} cells in {took:.1f} s ({made / took:.1f} cells per second)")


def _plan(given: Given) -> Plan:
    if None in (given["kind"], given["count"]):
        raise UserError([])  # already reported
    try:
        spectrum = Spectrum(**{n: given[n] for n in ("polarisation", "order", "grid")})
    except ValueError as error:
        raise UserError(str(error)) from error
    return Plan(
        spectrum=spectrum, **{n: given[n] for n in ("kind", "count", "labelled", "size", "harmonics", "seed")}
    )


def _solids(given: Given) -> Solids:
    try:
        return Solids(size=given["size"], objects=given["objects"], views=given["views"], seed=given["seed"])
    except ValueError as error:
        raise UserError(str(error)) from error
