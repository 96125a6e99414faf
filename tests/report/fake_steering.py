"""``steering.json`` as an evaluation leaves it, without a model."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image

EVIL = "<b>\"&'</script><script>alert(1)</script>"


def sheet(count: int) -> dict[str, object]:
    buffer = io.BytesIO()
    Image.new("RGB", (8 * count, 8), (200, 30, 30)).save(buffer, "PNG")
    image = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return {"image": image, "columns": count, "rows": 1, "count": count, "size": 8}


def sweep(name: str, first: int, **more: object) -> dict[str, object]:
    """Three values; the truths are versions ``first`` to ``first + 2`` beside a bank of four images."""
    return {
        "name": name,
        "unit": "degrees",
        "direction_labels": ["", ""],
        "values": [-30.0, 0.0, 30.0],
        "neutral_value": 0.0,
        "kind": "rendered",
        "nearest": [[1, 2], [2, 3], [3, 1]],
        "nearest_similarity": [[0.9, 0.8], [0.7, 0.6], [0.5, 0.4]],
        "nearest_distance": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]],
        "truth": [first, first + 1, first + 2],
        "similarity": [0.91, 0.99, 0.81],
        "identity_similarity": [0.5, 1.0, -0.25],
        "rank": [1, 1, 3],
        "num_candidates": [4, 4, 4],
        **more,
    }


def content_of(**more: object) -> dict[str, Any]:
    """What an evaluation writes, for two images with two sliders each."""
    sweeps = [sweep("yaw", 4), sweep("floor_hue", 7, unit="turns", values=[-0.5, 0.0, 0.5])]
    sources = [{"bank": k, "sprite": sheet(6), "identity_nearest": [2, 3], "sweeps": sweeps} for k in (0, 1)]
    bank = {"sprite": sheet(4), "labels": ["cup", "mug", "jug", "pot"], "groups": [0, 1, 0, 1]}
    return {"explorers": [{"name": "sie", "bank": bank, "sources": sources, **more}], "note": ""}


def many() -> dict[str, Any]:
    """For twelve images sliders of 13 values, as those of a module that reads crops and hues."""
    cut = sweep_of(
        "crop to a side", 0, unit="fraction", direction_labels=["cut, kept left", "cut, kept right"]
    )
    hue = sweep_of("hue", 13, unit="turns", gain=0.4)
    sources = [
        {"bank": k, "sprite": sheet(26), "identity_nearest": [1, 2, 3, 4, 5], "sweeps": [cut, hue]}
        for k in range(12)
    ]
    labels = [f"a class with a long name {k}" for k in range(12)]
    bank = {"sprite": sheet(12), "labels": labels, "groups": list(range(12))}
    return {"explorers": [{"name": "equimod", "bank": bank, "sources": sources}], "note": ""}


def sweep_of(name: str, first: int, gain: float = 0.1, **more: object) -> dict[str, object]:
    """13 values from -0.5 to 0.5; the prediction is ``gain`` more similar to the truth than no change."""
    values = [round(k / 12 - 0.5, 4) for k in range(13)]
    identity = [round(1 - 1.2 * abs(v), 4) for v in values]
    similarity = [
        0.97 if v == 0 else round(min(i + gain, 0.99), 4) for v, i in zip(values, identity, strict=True)
    ]
    return {
        "name": name,
        "unit": "",
        "values": values,
        "neutral_value": 0.0,
        "kind": "augmented",
        "nearest": [[12 + first + k, 1, 2, 3, 4] for k in range(13)],
        "nearest_similarity": [[0.9, 0.8, 0.7, 0.6, 0.5]] * 13,
        "truth": [12 + first + k for k in range(13)],
        "similarity": similarity,
        "identity_similarity": identity,
        "rank": [1, 2, 3] * 4 + [1],
        "num_candidates": [400] * 13,
        **more,
    }


def evil() -> dict[str, Any]:
    """Markup wherever a text may stand."""
    content = content_of()
    explorer = content["explorers"][0]
    explorer["name"] = EVIL
    explorer["bank"]["labels"] = [EVIL] * 4
    explorer["sources"][0]["sweeps"] = [sweep(EVIL, 4, unit=EVIL, direction_labels=[EVIL, EVIL])]
    return content
