"""What modules that draw make of a few images, beside what they should have drawn, as plain data."""

from __future__ import annotations

from collections.abc import Mapping

from equissl.evaluate.explorer.neighbors import data_uri
from equissl.objective import Draws, Encodings, Views


def redrawn(modules: Mapping[str, Draws], views: Views, encoded: Encodings) -> dict[str, object]:
    """``{"reconstructions": [{"module", "view", "reconstructed": [image, ...], "target": [image, ...]}],
    "views": {view: [image, ...]}}``; images are data URIs, the n-th of each list belongs to the n-th sample.
    """
    reconstructions = [
        {
            "module": name,
            "view": view,
            "reconstructed": [data_uri(image) for image in found.drawn.cpu()],
            "target": [data_uri(image) for image in found.target.cpu()],
        }
        for name, module in modules.items()
        for view, found in module.draw(views, encoded).items()
    ]
    images = {name: [data_uri(image) for image in views[name].images.cpu()] for name in encoded}
    return {"reconstructions": reconstructions, "views": images}
