"""One page of every kind, made of folders that nothing was trained for, with names as long as real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from report.fake_audits import PIXEL, build_audit, factor
from report.fake_runs import EQUIVARIANT, INVARIANT, build_run, data_uri
from report.fake_steering import many

from equissl.report import Parameter, ParameterChange, Preview, ViewExamples, write, write_preview
from equissl.report.steering import page_beside

FACTORS = {
    "hue": factor(0.41, learning_curve={"100": 0.3, "200": 0.41}),
    "crop_top": factor(0.1, "lost", 0.6),
    "crop_left": factor(0.12, "lost", 0.6, learning_curve={"100": 0.1, "200": 0.12}),
    "brightness": factor(0.5, "as untrained", 0.5, to_statistics=[-0.1, -0.2, 0.1]),
    "a_recorded_angle_with_a_long_name": factor(0.7, ceiling=0.9, recorded=True),
    "flip": factor(0.93, unit="balanced accuracy"),
    "blur_sigma": factor(0.0, "not readable", 0.0),
}
NAMES = ("timm/vit_small_patch14_reg4_dinov2@pretrained", "runs/my-equivariant-simclr-seed0")


def audit(folder: Path) -> Path:
    """One encoder with its layers."""
    one = _audited(folder / "one", NAMES[0])
    rows = (one / "scores.jsonl").read_text().splitlines()
    layers = [json.loads(rows[k * 6]) | {"part": f"block {n}"} for k in range(3) for n in range(12)]
    (one / "scores.jsonl").write_text("\n".join([*rows, *map(json.dumps, layers)]) + "\n")
    return write([one], folder / "report.html")


def two_audits(folder: Path) -> Path:
    """Two encoders on the same images."""
    both = [_audited(folder / f"{k}", name) for k, name in enumerate(NAMES)]
    difference = {"value": 0.2, "low": 0.1, "high": 0.3, "word": "more"}
    paired = [
        {"name": f"audit/{n}", "folder": str(both[0]), "other": str(both[1]), **difference} for n in FACTORS
    ]
    return write(both, folder / "report.html", paired)


def comparison(folder: Path) -> Path:
    """Two trained encoders that were evaluated and audited, as the quickstart leaves them."""
    return write(_pair(folder), folder / "report.html")


def steering(folder: Path) -> Path:
    """The explorer beside a comparison."""
    runs = _pair(folder)
    (runs[1] / "steering.json").write_text(json.dumps(many()))
    return page_beside(write(runs, folder / "report.html"))


def unfinished(folder: Path) -> Path:
    """A run that has logged and nothing else."""
    run = build_run(folder / "a-run-whose-folder-has-a-long-name", "simclr", INVARIANT, modules=False)
    for name in ("scores.jsonl", "neighbours.json", "environment.json"):
        (run / name).unlink()
    return write([run], folder / "report.html")


def views(folder: Path) -> Path:
    """Example views of eight images."""
    images = [data_uri(k / 8, k / 3) for k in range(8)]
    files = [f"a-photograph-with-a-long-name-{k:04d}.jpeg" for k in range(8)]
    rows = (
        Parameter("crop_top", "fraction", 0.0, tuple(k / 9 for k in range(8)), (True,) * 8),
        Parameter("hue", "turns", 0.0, tuple(k / 20 - 0.2 for k in range(8)), (True, False) * 4),
        Parameter("color_order", "", (0, 1, 2, 3), ((3, 1, 0, 2),) * 8, (True,) * 8),
        Parameter("flip", "", False, (True, False) * 4, (True,) * 8),
    )
    policy = (
        ("Crop of random size", "RandomResizedCrop(size=96, scale=(0.2, 1.0), ratio=(0.75, 1.333))"),
        ("Jitter of color", "ColorJitter(hue=0.1)"),
    )
    shown = [
        ViewExamples(n, policy, rows, range(8), images, images, (0.0,) * 6 + (0.25, 0.0), images[0])
        for n in ("a", "b")
    ]
    facts = (("recipe", "simclr"), ("seed", "0"), ("source", "224 x 224 px"))
    change = ParameterChange("a to b", rows[:2])
    made = Preview("Views of simclr: a and b", facts, files, {"source": images}, shown, [change])
    return write_preview(made, folder / "views.html")


PAGES: Mapping[str, Callable[[Path], Path]] = {
    f.__name__: f for f in (audit, two_audits, comparison, steering, unfinished, views)
}


def _audited(folder: Path, name: str) -> Path:
    built = build_audit(folder, FACTORS, name)
    examples = built / "audit_examples.json"
    examples.write_text(examples.read_text().replace(PIXEL, data_uri(0.3, 0.5)))
    return built


def _pair(folder: Path) -> list[Path]:
    found = [("invariant", INVARIANT), ("equivariant", EQUIVARIANT)]
    runs = [build_run(folder / n, n, scores, modules=n == "equivariant") for n, scores in found]
    for run, verdict in zip(runs, ("lost", "kept"), strict=True):
        rows = [json.loads(line) for line in (run / "scores.jsonl").read_text().splitlines()]
        judged = [r | {"extra": {"verdict": verdict}} if r["name"] == "factor/rotation" else r for r in rows]
        (run / "scores.jsonl").write_text("".join(json.dumps(r) + "\n" for r in judged))
    return runs
