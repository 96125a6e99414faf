"""``equissl render 3diebench``."""

from __future__ import annotations

from pathlib import Path

from equissl.api.render import render_3diebench, select_meshes
from equissl.cli.grammar.arguments import Arguments
from equissl.distributed import available_cores
from equissl.errors import UserError
from equissl.progress import Display
from equissl.render.blender.latents import Latents
from equissl.render.blender.process import BlenderOptions, RenderSettings


def run(args: Arguments) -> int:
    """Renders in the official layout, the lists of a split, a contact sheet, and how fast it was."""
    parts: dict[str, object] = {}
    args.check(
        lambda: parts.update(latents=_latents(args)),
        lambda: parts.update(
            settings=RenderSettings(**{n: args[n] for n in ("size", "samples", "channels")})
        ),
        lambda: parts.update(meshes=select_meshes(args["meshes"], args["objects"])),
        lambda: parts.update(shard=_shard(args["shard"])),
    )
    latents, settings, meshes, shard = parts["latents"], parts["settings"], parts["meshes"], parts["shard"]
    assert isinstance(latents, Latents) and isinstance(settings, RenderSettings)
    assert isinstance(meshes, list) and isinstance(shard, tuple)
    options = BlenderOptions(**{n: args[n] for n in ("python", "device", "threads", "timeout")})
    out: Path = args["out"]
    with Display() as display:
        rendered = render_3diebench(
            meshes,
            out,
            args["views"],
            latents=latents,
            settings=settings,
            options=options,
            shard=shard,
            progress=display,
        )
    made = rendered.made
    print(f"{out}: {len(meshes)} objects of {args['views']} views, made {made.images} images now")
    if rendered.contact_sheet:
        print(f"contact sheet: {rendered.contact_sheet}")
    if made.images:
        cores = options.threads or available_cores()
        print(
            f"{made.images / made.seconds:.2f} images per second on {cores} cores; "
            f"{made.images / made.processor_seconds:.2f} per second of one core's work"
        )
    if made.failed:
        print(f"{made.failed} objects failed, see {out}/failures-*.csv; delete it to try them again")
    return 0


def _latents(args: Arguments) -> Latents:
    if len(args["angles"]) != 2:
        raise UserError(f"angles must be two numbers, got {args['angles']}")
    return Latents(**{n: args[n] for n in ("rotations", "angles", "shift", "seed")})


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and int(number) < int(count)):
        raise UserError(f"shard={text} must be k/n with 0 <= k < n, such as 0/4")
    return int(number), int(count)
