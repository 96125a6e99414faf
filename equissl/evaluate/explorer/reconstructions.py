"""What modules that draw make of a few images, beside what they should have drawn, as plain data."""

from __future__ import annotations

from collections.abc import Mapping

from equissl.evaluate.explorer.neighbors import data_uri
from equissl.objective import Draws, Encodings, Views


def redrawn(modules: Mapping[str, Draws], views: Views, encoded: Encodings) -> dict[str, object]:
    """``{"drawings": [{"module", "view", "drawn": [image, ...], "target": [image, ...]}], "seen": {view:
    [image, ...]}}``; images are data URIs, the n-th of each list belongs to the n-th sample.
    """
    drawings = [
        {
            "module": name,
            "view": view,
            "drawn": [data_uri(image) for image in found.drawn.cpu()],
            "target": [data_uri(image) for image in found.target.cpu()],
        }
        for name, module in modules.items()
        for view, found in module.draw(views, encoded).items()
    ]
    seen = {name: [data_uri(image) for image in views[name].images.cpu()] for name in encoded}
    return {"drawings": drawings, "seen": seen}
