"""Contact sheet: small images of a rendered dataset on one page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from equissl.render.blender.meshes import Mesh
from equissl.storage import atomic_open

_ROWS, _COLUMNS, _SIDE, _GAP = 12, 10, 96, 2


def contact_sheet(folder: Path, meshes: Sequence[Mesh], views: int) -> Path | None:
    """Write ``<folder>/contact.jpg``: one row per object, evenly spaced in the list, and one column per view.

    Args:
        folder: in 3DIEBench's layout; missing images stay blank.

    Returns:
        The file, None if no object has an image.
    """
    rendered = [m for m in meshes if (folder / m.owner / "image_0.jpg").exists()]
    count, columns = min(_ROWS, len(rendered)), min(_COLUMNS, views)
    if not count:
        return None
    step = _SIDE + _GAP
    sheet = Image.new("RGB", (columns * step - _GAP, count * step - _GAP), "white")
    for row in range(count):
        owner = rendered[row * len(rendered) // count].owner
        for view in range(columns):
            path = folder / owner / f"image_{view}.jpg"
            if path.exists():
                with Image.open(path) as image:
                    sheet.paste(image.convert("RGB").resize((_SIDE, _SIDE)), (view * step, row * step))
    with atomic_open(folder / "contact.jpg", "wb") as file:
        sheet.save(file, "JPEG", quality=90)
    return folder / "contact.jpg"
