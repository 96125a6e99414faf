"""Reconstructions of a few images beside their targets, as plain data for a report."""

from __future__ import annotations

from collections.abc import Mapping

from equissl.evaluate.explorer.neighbors import data_uri
from equissl.objective import Encodings, Reconstructs, Views


def reconstructions(
    modules: Mapping[str, Reconstructs], views: Views, encoded: Encodings
) -> dict[str, object]:
    """``{"reconstructions": [{"module", "view", "reconstructed": [image, ...], "target": [image, ...]}],
    "views": {view: [image, ...]}}``; images are data URIs, the n-th of each list belongs to the n-th sample.
    """
    rows = [
        {
            "module": name,
            "view": view,
            "reconstructed": [data_uri(image) for image in result.reconstructed.cpu()],
            "target": [data_uri(image) for image in result.target.cpu()],
        }
        for name, module in modules.items()
        for view, result in module.reconstruct(views, encoded).items()
    ]
    images = {name: [data_uri(image) for image in views[name].images.cpu()] for name in encoded}
    return {"reconstructions": rows, "views": images}
