"""Run folders as training and evaluation leave them, without training or evaluating anything."""

from __future__ import annotations

import base64
import colorsys
import io
import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image, ImageDraw

Scores = Mapping[str, tuple[float, float]]  # name -> value, half width of the interval

INVARIANT: Scores = {
    "linear/top1": (0.771, 0.018),
    "knn/top1": (0.742, 0.019),
    "factor/floor_hue": (0.322, 0.035),
    "factor/light_hue": (0.287, 0.04),
    "factor/rotation": (0.401, 0.03),
    "factor/light_direction": (0.352, 0.033),
    "audit/hue": (0.181, 0.03),
    "audit/rotation": (0.402, 0.034),
    "audit/crop_left": (0.655, 0.028),
    "audit/brightness": (-0.021, 0.02),
    "audit/flip": (0.612, 0.03),
    "collapse/rank_me": (38.2, 0),
    "collapse/std": (0.0421, 0),
}
EQUIVARIANT: Scores = {
    "linear/top1": (0.778, 0.018),
    "knn/top1": (0.751, 0.019),
    "factor/floor_hue": (0.912, 0.012),
    "factor/light_hue": (0.684, 0.028),
    "factor/rotation": (0.553, 0.027),
    "factor/light_direction": (0.371, 0.034),
    "audit/hue": (0.874, 0.017),
    "audit/rotation": (0.851, 0.019),
    "audit/crop_left": (0.723, 0.025),
    "audit/brightness": (0.443, 0.033),
    "audit/flip": (0.931, 0.014),
    "equivariance/absolute/hue": (0.213, 0.02),
    "equivariance/relative/hue": (2.41, 0.11),
    "collapse/rank_me": (61.7, 0),
    "collapse/std": (0.0433, 0),
}
GROUPS = {
    "linear": "Accuracy",
    "knn": "Accuracy",
    "fewshot": "Accuracy",
    "factor": "Ground-truth factors",
    "audit": "Augmentation factors (audit)",
    "equivariance": "Equivariance of the predictor",
    "retrieval": "Retrieval of the predicted image",
    "collapse": "Collapse indicators",
}
TITLES = {
    "linear/top1": "Linear accuracy, top-1",
    "knn/top1": "kNN accuracy, top-1",
    "collapse/rank_me": "RankMe",
    "collapse/std": "Embedding std",
}
UNITS = {"linear": "fraction", "knn": "fraction", "factor": "R2", "audit": "R2", "equivariance": "ratio"}


def unit(name: str) -> str:
    if name == "audit/flip":
        return "balanced accuracy"
    return "cosine" if "absolute" in name else UNITS.get(name.split("/")[0], "")


def title(name: str) -> str:
    """What an evaluation writes: the factor behind the first part of the name."""
    words = ", ".join(name.replace("_", " ").split("/")[1:])
    return TITLES.get(name, words[:1].upper() + words[1:])


def score_rows(model: str, scores: Scores, seed: int = 0) -> list[dict[str, object]]:
    """A row per score, and what a random encoder and a constant reach."""
    rows = []
    for name, (value, half) in scores.items():
        interval = (value - half, value + half) if half else (None, None)
        low = {"linear/top1": 0.125, "knn/top1": 0.125, "audit/flip": 0.5}.get(name, 0.0)
        guess = low + 0.3 + 0.1 * math.sin(len(name)) + 0.01 * (seed % 3)
        known = name.startswith(("factor", "audit")) and half
        extra = {"verdict": _verdict(value, half, low, guess)} if known else {}
        rows.append(row(model, name, value, *interval, seed=seed, extra=extra))
        if name.startswith(("factor", "audit", "linear", "knn")):
            rows.append(row(model, name, low, None, None, seed=seed, baseline="constant"))
            rows.append(row(model, name, guess, guess - 0.03, guess + 0.03, seed=seed, baseline="random"))
    return rows


def _verdict(value: float, half: float, low: float, guess: float) -> str:
    if value - half > guess + 0.03:
        return "kept"
    if value + half < guess - 0.03:
        return "lost" if guess - 0.03 > low else "not readable"
    return "undecided"


def row(
    model: str, name: str, value: object, low: float | None = None, high: float | None = None, **more: object
) -> dict[str, object]:
    """One line of scores.jsonl."""
    plain = {"name": name, "value": value, "low": low, "high": high, "unit": unit(name), "count": 2000}
    rest = {
        "part": "all",
        "baseline": "",
        "seed": 0,
        "extra": {},
        "model": model,
        "recipe": f"solids.{model}",
    }
    group = GROUPS[name.split("/")[0]]
    better = None if group == "Collapse indicators" else True
    said = {"title": title(name), "group": group, "higher_is_better": better}
    return {**plain, **rest, **said, "split": "test", "data": "solids", "step": 600, **more}


def recipe(modules: bool, seed: int = 0) -> dict[str, object]:
    module = {
        "equimod": {
            "is": "equissl:Weighted",
            "weight": 1.0,
            "module": {"is": "equissl.equivariance:EquiMod.Config", "temperature": 0.2},
        }
    }
    return {
        "is": "equissl:Recipe",
        "data": {"is": "equissl.data:Solids", "size": 48, "objects": 800, "views": 4},
        "encoder": {"is": "equissl.encoder:EncoderConfig", "name": "resnet18", "stem": "small", "parts": {}},
        "base": {"is": "equissl.invariance:SimCLR.Config", "temperature": 0.5, "negatives": "all"},
        "modules": module if modules else {},
        "optimizer": {"is": "equissl.training:AdamW", "learning_rate": 0.001, "weight_decay": 0.05},
        "epochs": 30,
        "batch_size": 256,
        "seed": seed,
    }


def components(modules: bool) -> list[dict[str, str]]:
    """Two methods with their papers, the second for the runs with modules."""
    found = [("SimCLR", "invariance:SimCLR", "2002.05709", "simclr2020")]
    found += [("EquiMod", "equivariance:EquiMod", "2211.01244", "equimod2023")] if modules else []
    return [
        {
            "title": name,
            "address": f"equissl.{address}",
            "paper": f"arXiv:{number}",
            "bibtex": f"@misc{{{key},\n  title = {{{{Paper of {name}}}}},\n"
            f"  year = {{{key[-4:]}}},\n  eprint = {{{number}}},\n}}",
        }
        for name, address, number, key in found
    ]


def log_rows(modules: bool, seed: int, steps: int = 600) -> list[dict[str, object]]:
    draw = random.Random(f"{modules} {seed}")
    rows = []
    for step in range(1, steps + 1):
        part = step / steps
        noise = draw.gauss(0, 0.12) * (1 - 0.6 * part)
        base = 3.4 + 2.1 * math.exp(-5 * part) + noise + 0.15 * modules
        line: dict[str, object] = {"step": step, "epoch": 30 * part, "base/contrast": base}
        equi = 2.6 + 3.2 * math.exp(-4 * part) + draw.gauss(0, 0.1)
        line |= {"equimod/contrast": equi} if modules else {}
        line |= {"loss": base + equi * modules, "lr": 0.001 * math.cos(part * 1.5), "data_wait": 0.04}
        line |= {"images_per_second": 900 + draw.gauss(0, 30), "std": 0.91 * (1 - math.exp(-9 * part))}
        line |= {"rank_me": 10 + (50 if modules else 28) * part}
        line |= {"probe/knn": 0.75 - 0.5 * math.exp(-3 * part)} if step % 100 == 0 else {}
        rows.append(line)
    return rows


def data_uri(hue: float, turn: float, light: float = 0.95) -> str:
    """A tilted block on a coloured floor as a data URI."""
    image = Image.new("RGB", (64, 64), _rgb(hue, 0.45, light))
    ImageDraw.Draw(image).rectangle((0, 0, 63, 26), fill=_rgb(hue, 0.12, light))
    corners = [(math.cos(turn + a) * 22 + 32, math.sin(turn + a) * 16 + 34) for a in (0.6, 2.5, 3.74, 5.7)]
    ImageDraw.Draw(image).polygon(corners, fill=_rgb(0.6, 0.5, 0.55 * light))
    ImageDraw.Draw(image).polygon([*corners[:2], (32, 34)], fill=_rgb(0.6, 0.4, 0.85 * light))
    out = io.BytesIO()
    image.save(out, "png")
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def _rgb(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    r, g, b = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(r * 255), round(g * 255), round(b * 255)


def neighbours(keeps: bool) -> dict[str, object]:
    draw = random.Random(keeps)
    queries = []
    for k in range(4):
        hue, turn = k / 4, k * 0.8
        near = []
        for place in range(6):
            other = (hue + draw.gauss(0, 0.02), turn + draw.gauss(0, 0.1))
            shown = data_uri(*other) if keeps else data_uri(draw.random(), draw.random() * 3)
            near.append({"image": shown, "label": "wedge", "similarity": 0.97 - 0.02 * place})
        queries.append({"image": data_uri(hue, turn), "label": "wedge", "neighbours": near})
    return {"queries": queries, "note": "Cosine similarity among 2000 test images of other objects."}


def examples() -> dict[str, object]:
    """Four images of the data and one augmentation."""
    shown = [data_uri(k / 4, k * 0.8) for k in range(4)]
    jitter = {"title": "Color jitter", "about": "Change brightness and hue.", "original": shown[0]}
    solids = {"title": "Solids", "about": "Solids in many colours.", "images": shown}
    return {"data": solids, "augmentations": [{**jitter, "changed": data_uri(0.6, 0)}]}


def lines(rows: Sequence[Mapping[str, object]]) -> str:
    return "".join(json.dumps(r) + "\n" for r in rows)


def build_run(folder: Path, model: str, scores: Scores, *, modules: bool, seed: int = 0) -> Path:
    folder.mkdir(parents=True)
    environment = {
        "started": "2026-11-30T17:41:46+0000",
        "command": ["/opt/bin/equissl", "pretrain", f"recipe={model}", "out=my runs"],
        "python": "3.11.9",
        "processor": "x86_64",
        "threads": 2,
        "cuda": None,
        "versions": {"equissl": "0.1.0", "torch": "2.6.0"},
        "commit": "0123456789ab",
        "images": 3200,
        "weights": "random",
    }
    (folder / "recipe.json").write_text(json.dumps(recipe(modules, seed)))
    (folder / "environment.json").write_text(json.dumps(environment))
    (folder / "components.json").write_text(json.dumps(components(modules)))
    (folder / "log.jsonl").write_text(lines(log_rows(modules, seed)))
    (folder / "scores.jsonl").write_text(lines(score_rows(model, scores, seed)))
    (folder / "neighbours.json").write_text(json.dumps(neighbours(modules)))
    (folder / "examples.json").write_text(json.dumps(examples()))
    (folder / "bad_images.csv").write_text("path,reason\n")
    return folder
