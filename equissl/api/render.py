"""Render benchmarks with known factors into folders of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from equissl.data.export import export_dataset
from equissl.data.files.split import hash_fraction
from equissl.data.packs.threediebench_layout import write_split
from equissl.data.solids import Solids
from equissl.data.threediebench import held_out_objects
from equissl.errors import UserError
from equissl.progress import ShowProgress, shown
from equissl.render.blender.built_in import built_in_meshes
from equissl.render.blender.contact_sheet import contact_sheet
from equissl.render.blender.dataset import RenderResult, read_failures, render
from equissl.render.blender.latents import Latents
from equissl.render.blender.meshes import Mesh, find_meshes
from equissl.render.blender.process import BlenderOptions, RenderSettings
from equissl.runs.folder import check_free
from equissl.storage import atomic_folder


def render_solids(data: Solids, out: Path | str, *, progress: ShowProgress = False) -> Path:
    """Write PNG files below ``train/CLASS`` and ``test/CLASS``, a table of factors for each; all or nothing.

    Raises:
        UserError: ``out`` is not free, or cannot be written.

    Example:
        >>> import tempfile
        >>> from equissl.data import Solids
        >>> folder = render_solids(Solids(size=8, objects=10, views=2), tempfile.mkdtemp())
        >>> sorted(p.name for p in folder.iterdir())
        ['test', 'test.csv', 'train', 'train.csv']
    """
    folder = Path(out)
    check_free(folder)
    with shown(progress) as show, atomic_folder(folder) as partial:
        export_dataset(data.open("train", show), partial, "train")
        export_dataset(data.open("test", show), partial, "test")
    return folder


@dataclass(frozen=True)
class RenderedFolder:
    """A folder of renders in 3DIEBench's layout.

    Args:
        made: what this call rendered.
        contact_sheet: an image of some of them, if there is any.
    """

    made: RenderResult
    contact_sheet: Path | None


def render_3diebench(
    meshes: Sequence[Mesh],
    out: Path | str,
    views: int = 50,
    *,
    latents: Latents = Latents(),
    settings: RenderSettings = RenderSettings(),
    options: BlenderOptions = BlenderOptions(),
    shard: tuple[int, int] = (0, 1),
    progress: ShowProgress = False,
) -> RenderedFolder:
    """Render what is missing of a folder in 3DIEBench's layout, with the lists of its split.

    Args:
        meshes: see ``select_meshes``.
        shard: (k, n): only every n-th object; other processes may render the others.

    Raises:
        UserError: ``out`` was made with other settings, or Blender cannot be started.
    """
    folder = Path(out)
    with shown(progress) as show:
        made = render(
            meshes,
            folder,
            views,
            latents=latents,
            settings=settings,
            options=options,
            shard=shard,
            progress=show,
        )
    failed = {owner for owner, _ in read_failures(folder)}
    rendered = [m.owner for m in meshes if m.owner not in failed]
    write_split(folder, rendered, held_out_objects(rendered))
    return RenderedFolder(made, contact_sheet(folder, meshes, views))


def select_meshes(folder: Path | None = None, count: int = 0) -> list[Mesh]:
    """Meshes below a folder, or built-in ones.

    Args:
        count: how many, always the same ones; 0 for all (of the built-in ones, 100).

    Raises:
        UserError: ``count`` is negative, or there is no mesh.
    """
    if count < 0:
        raise UserError(f"objects must be at least 0, got {count}")
    if folder is None:
        return built_in_meshes(count or 100)
    every = find_meshes(folder)
    chosen = sorted(every, key=lambda m: hash_fraction(m.owner, "objects"))[: count or len(every)]
    return sorted(chosen, key=lambda m: m.owner)
