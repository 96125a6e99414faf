"""Folders as an audit leaves them, without auditing anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

PIXEL = "data:image/png;base64,iVBORw0KGgo="
FACTS = {"data": "photos", "split": "all", "step": 0, "size": 64, "mean": [0.5], "std": [0.5], "fit": "crop"}


def factor(value: float, verdict: str = "kept", untrained: float = 0.2, **extra: Any) -> dict[str, Any]:
    """What a row says of one factor; ``extra`` adds to it."""
    return {
        "value": value,
        "each": [untrained - 0.02, untrained, untrained + 0.03],
        "extra": {
            "verdict": verdict,
            "probe": "linear",
            "probes": {"linear": value, "kernel": value},
            "distinct": 400,
            "to_untrained": [value - untrained, value - untrained - 0.05, value - untrained + 0.05],
            "to_statistics": [0.22, 0.1, 0.34],
            **extra,
        },
    }


def build_audit(
    folder: Path,
    factors: Mapping[str, dict[str, Any]],
    model: str = "timm/resnet18",
    weights: str = "local.pth",
    count: int = 400,
    examples: bool = True,
    equivariance: bool = False,
) -> Path:
    """Write rows and example images as ``equissl audit`` does."""
    rows = []
    for name, found in factors.items():
        own = {"name": f"audit/{name}", "unit": found.get("unit", "R2"), "count": count, "model": model}
        own |= {"title": name.replace("_", " ").capitalize(), "group": "Augmentation factors (audit)"}
        own |= {**FACTS, "weights": weights}
        chance = 0.0 if own["unit"] == "R2" else 0.5
        value = found["value"]
        around = {"value": value, "low": value - 0.05, "high": value + 0.05}
        part = {"part": found.get("part", "all")}
        rows.append({**own, **around, **part, "baseline": "", "extra": found["extra"]})
        rows.append({**own, "value": chance, "low": chance, "high": chance, **part, "baseline": "constant"})
        rows.append({**own, **part, "value": 0.2, "baseline": "random", "extra": {"each": found["each"]}})
        rows += [{**own, **part, "value": 0.1, "baseline": b} for b in ("statistics", "pixels", "luminance")]
    if equivariance:
        shared = {"count": count, "unit": "ratio", "model": model, "part": "all", **FACTS, "weights": weights}
        rows += [{**shared, **r} for r in _equivariance()]
    folder.mkdir(parents=True)
    (folder / "scores.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    environment = {"versions": {"equissl": "1.0", "torch": "2.0"}, "command": ["equissl", "audit", model]}
    (folder / "environment.json").write_text(json.dumps(environment))
    shown = {"original": PIXEL, "changed": PIXEL}
    worst = [{**shown, "image": "a.png", "true": "+90°", "read": "-80°"}]
    entry = {**shown, "augmentation": "", "image": "b.png", "change": "+10°", "worst": worst}
    if examples:
        content = {"schema": 1, "factors": dict.fromkeys(factors, entry)}
        (folder / "audit_examples.json").write_text(json.dumps(content))
    return folder


def _equivariance() -> Iterator[dict[str, Any]]:
    """Turns that a linear map follows in part, a flip that moves no features, a curve, and a predictor."""
    turns, flip = {"factor": "quarter_turns"}, {"factor": "horizontal_flip"}
    for change, error in (("rotate_90", 0.6), ("rotate_180", 0.5)):
        yield {"name": f"moved/{change}", **_about(0.7), "baseline": "", "extra": turns}
        extra = {**turns, "to_untrained": [0.7, 0.6, 0.8], "verdict": "below untrained"}
        yield {"name": f"map/{change}", **_about(error), "baseline": "", "extra": extra}
        for baseline, value in (("identity", 1.0), ("shift", 0.97), ("constant", 0.8), ("pixels", 0.1)):
            yield {"name": f"map/{change}", **_about(value), "baseline": baseline}
        yield {"name": f"map/{change}", **_about(0.85), "baseline": "random", "extra": {"each": [0.8, 0.9]}}
    product = {**turns, "product": "rotate_180", "composed": 0.62}
    yield {"name": "product/rotate_90+rotate_90", **_about(0.2), "baseline": "", "extra": product}
    yield {"name": "moved/horizontal_flip", **_about(0.001), "baseline": "", "extra": flip}
    curve = [[0.95, 0.1, 0.05, 0.15], [0.5, 0.6, 0.5, 0.7]]
    yield {"name": "curve/crop", **_about(0.6), "baseline": "", "extra": {"curve": curve, "of": "area"}}
    for baseline, value in (("", 0.3), ("shuffled", 0.9)):
        name, title = "composition/inverse/hue", "Hue (a predicted step and back)"
        yield {
            "name": name,
            **_about(value),
            "title": title,
            "baseline": baseline,
            "extra": {"module": "equimod"},
        }


def _about(value: float) -> dict[str, float]:
    return {"value": value, "low": 0.9 * value, "high": 1.1 * value}
