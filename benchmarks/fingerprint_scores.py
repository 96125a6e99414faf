"""Scores of every evaluation, numbers of reports and studies, for ``fingerprint.py``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import fingerprint_recipes as recipes
import torch
from torch import nn
from torch.nn import functional as F

from equissl.augment import Pipeline, QuarterTurn, Roll, presets
from equissl.auto import identifiability
from equissl.data.base import Split
from equissl.encoder.encoder import Encoder
from equissl.evaluate.audit.audit import audit
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.sensitivity.sensitivity import Sensitivity
from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.classification.fewshot import FewShot
from equissl.evaluate.classification.finetune import FineTune
from equissl.evaluate.classification.knn import KNN
from equissl.evaluate.classification.linear_probe import LinearProbe
from equissl.evaluate.classification.sgd_probe import SGDProbe
from equissl.evaluate.collapse import Collapse
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.equivariance.alignment import Alignment
from equissl.evaluate.equivariance.equivariance import Equivariance
from equissl.evaluate.equivariance.ranking import SIE_PROTOCOL
from equissl.evaluate.equivariance.retrieval import Retrieval
from equissl.evaluate.explorer.neighbors import nearest_neighbors
from equissl.evaluate.explorer.steering import ExplorerSize, steering
from equissl.evaluate.factors.absolute import Factors
from equissl.evaluate.factors.families import Families
from equissl.evaluate.factors.homography import Homography
from equissl.evaluate.factors.relative import RelativeFactors
from equissl.params import Binary, Circular, Cyclic, Params, Real, Rotation, Space
from equissl.photonics.data import Crystals
from equissl.photonics.fine_tuning import FineTuneSpectra
from equissl.photonics.generate import CrystalPlan
from equissl.report import comparison
from equissl.study import table as study_table
from equissl.training.monitor import monitor

Cases = dict[str, Callable[[], Any]]


def tiny_encoder(channels: int = 3, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    layers = nn.Sequential(
        nn.Conv2d(channels, 12, 3, 2), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, 3, 2)
    )
    grey = ((0.5,) * channels, (0.25,) * channels)
    return Encoder(layers, {"inv": 5, "equi": 7}, *grey, probe=(channels, 32, 32)).eval()


def features(count: int, seed: int) -> FeatureTable:
    """Noisy features of labels and factors, images in groups of three, some without a label."""
    g = torch.Generator().manual_seed(seed)
    space = Space((Real("size"), Circular("hue"), Binary("flip"), Cyclic("turns"), Rotation("pose")))
    values = {
        "size": torch.randn(count, 1, generator=g),
        "hue": 6.28 * torch.rand(count, 1, generator=g),
        "flip": torch.randint(2, (count, 1), generator=g).float(),
        "turns": torch.randint(4, (count, 1), generator=g).float(),
        "pose": F.normalize(torch.randn(count, 4, generator=g), dim=1),
    }
    params = Params.of(space, values)
    labels = torch.randint(3, (count,), generator=g)
    exact = torch.cat([F.one_hot(labels, 3).float(), params.encode()], 1)
    vectors = exact + 0.8 * torch.randn(exact.shape, generator=g)
    width = vectors.shape[1]
    parts = {"inv": slice(0, 4), "equi": slice(4, width), "all": slice(0, width)}
    labels[torch.arange(count) % 11 == 5] = -1
    return FeatureTable(vectors, labels, params, torch.arange(count) // 3, parts)


EVALUATIONS: Mapping[str, Any] = {
    "linearprobe": LinearProbe(),
    "knn": KNN(),
    "knn/few": KNN(k=5),
    "factors": Factors(),
    "collapse": Collapse(),
    "fewshot": FewShot(ways=3, shots=(1, 2), queries=2, episodes=40),
    "fewshot/logistic": FewShot(ways=3, shots=(1,), queries=2, episodes=10, head="logistic", seed=1),
    "relativefactors": RelativeFactors(),
    "relativefactors/ridge": RelativeFactors(probe="ridge", seed=1),
    "relativefactors/mlp": RelativeFactors(("size", "turns"), probe="mlp"),
    "sgdprobe": SGDProbe(lrs=(0.1, 1.0), inits=2, epochs=3, batch_size=32),
    "sgdprobe/standardise": SGDProbe(lrs=(0.3,), inits=1, epochs=2, standardize=True, seed=2),
}
ENCODER_EVALUATIONS: Mapping[str, Any] = {
    "alignment": Alignment(),
    "equivariance": Equivariance(),
    "families": Families(hidden=(8,), pairs=20),
    "finetune": FineTune(fractions=(0.5, 1.0), epochs=2, batch_size=8),
    "homography": Homography(hidden=(8,), pairs=20),
    "retrieval": Retrieval(),
    "retrieval/original": Retrieval(protocol=SIE_PROTOCOL, seed=1),
    "sensitivity": Sensitivity(),
}


def predictive() -> tuple[Encoder, dict[str, Any]]:
    """A tiny untrained encoder with modules that predict pose, hues, crops and colours."""
    torch.manual_seed(0)
    data = recipes.solids()
    found: dict[str, Any] = {}
    encoder: Any = None
    for make in (recipes.SHIPPED["sie.sie_solids"], recipes.VARIANTS["equimod/residual_mlp"]):
        recipe = recipes.small(make())
        encoder = recipe.encoder.build() if encoder is None else encoder
        model = replace(recipe, encoder=recipe.encoder).build(data.spaces, encoder)
        found |= {f"{len(found)}/{n}": m for n, m in model.modules_by_name.items()}
    return encoder.eval(), found


def context() -> EvaluationContext:
    encoder, modules = predictive()
    train_set, test_set = recipes.solids(objects=12), recipes.solids(split="test", objects=40)
    rows: dict[Split, torch.Tensor] = {"train": torch.arange(48), "test": torch.arange(40)}
    return EvaluationContext(encoder, {"train": train_set, "test": test_set}, rows, modules)


def evaluation_cases() -> Cases:
    cases: Cases = {}
    for name, evaluation in EVALUATIONS.items():
        cases[f"evaluate/{name}"] = partial(_evaluated, evaluation)
    for name, evaluation in ENCODER_EVALUATIONS.items():
        cases[f"evaluate/{name}"] = partial(_encoder_evaluated, evaluation)
    cases |= {
        "evaluate/extracted": _extracted,
        "evaluate/neighbours": _neighbours,
        "evaluate/steering": _steering,
        "evaluate/identifiable": _identifiable,
        "audit": _audit,
        "monitor": lambda: monitor(tiny_encoder(), recipes.solids(), 32, 0, torch.device("cpu")),
    }
    return cases


def _evaluated(evaluation: Any) -> Iterable[Score]:
    scores: Iterable[Score] = evaluation.run(features(150, 0), features(60, 1))
    return scores


def _encoder_evaluated(evaluation: Any) -> Iterable[Score]:
    scores: Iterable[Score] = evaluation.run(context())
    return scores


def _extracted() -> list[Any]:
    made = context()
    return [made.features("train").vectors, made.features("test", presets.simclr(32), 1).vectors]


def _neighbours() -> Any:
    made = context()
    return nearest_neighbors(made.features("test"), made.datasets["test"], made.rows["test"])


def _steering() -> Any:
    made = context()
    size = ExplorerSize(images=2, others=12, views=3, steps=5, nearest=3)
    return steering(made.modules, made.encoder, made.datasets["test"], made.rows["test"], size=size)


def _audit() -> Any:
    photos = recipes.photos(32, 60)
    return audit(tiny_encoder(), photos, AuditOptions(count=50, untrained=2, seed=3))


def _identifiable() -> list[Any]:
    images = recipes.images(60).float() / 255
    policy, names = presets.simclr(32), ("hue", "horizontal_flip", "crop_left")
    answers = [identifiability.orientation_accuracy(images, group) for group in identifiability.ELEMENTS]
    return [
        [identifiability.relative_effect(images, policy, (name,)) for name in names],
        [[t.accuracy.value, t.accuracy.low, t.accuracy.high, t.chance] for t in answers],
        identifiability.symmetric_turns(images),
        identifiability.fraction_color_lost(images, policy),
    ]


def finetuned(folder: Path) -> list[Any]:
    plan = CrystalPlan(kind="gpm", count=20, labelled=18, size=32, spectrum=recipes.spectrum(order=3))
    data = Crystals(path=str(folder / "labelled.safetensors"), plan=plan, test_size=6)
    encoder = tiny_encoder(1)
    task = FineTuneSpectra(
        labels=(4, 8), validation=4, lrs=(1e-3, 3e-3), steps=6, check_every=3, batch_size=4, hidden=(16,)
    )
    return list(task.run(encoder, data, Pipeline((Roll(), QuarterTurn())), seed=1))


REPORTED = ("linear/top1", "knn/top1", "factor/hue", "factor/pose", "audit/hue", "audit/rotation")


def _rows(model: str, seed: int, shift: float) -> Iterable[dict[str, Any]]:
    for k, name in enumerate((*REPORTED, "collapse/rank_me")):
        value = 0.3 + 0.07 * k + shift * (k % 3) + 0.013 * seed
        plain = {"name": name, "unit": "R2", "count": 500, "part": "all", "data": "solids", "split": "test"}
        plain |= {"group": "Accuracy", "higher_is_better": True} if name in REPORTED else {}
        for baseline, factor in (("", 1.0), ("random", 0.4), ("constant", 0.1)):
            if baseline and name not in REPORTED:
                continue
            v = value * factor
            yield {**plain, "baseline": baseline, "seed": 0, "model": model, "step": 60} | {
                "value": v,
                "low": v - 0.03,
                "high": v + 0.03,
            }


def reported(folder: Path, seeds: int) -> list[Any]:
    """The numbers of the comparison of two models, whatever order and heading its lines have."""
    folders = []
    for model, shift in (("one", 0.0), ("two", 0.2)):
        for seed in range(seeds):
            out = folder / f"report-{seeds}" / f"{model}{seed}"
            out.mkdir(parents=True)
            lines = [json.dumps(row) + "\n" for row in _rows(model, seed, shift)]
            (out / "scores.jsonl").write_text("".join(lines), encoding="utf-8")
            folders.append(out)
    table = comparison(folders)
    lines_of = []
    for group in table.groups:
        for line in group.lines:
            cells = [
                None if c is None else (c.value, c.low, c.high, c.std, c.seeds, c.count) for c in line.cells
            ]
            lines_of.append([cells, -1 if line.winner is None else line.winner, line.digits])
    return sorted(lines_of, key=str)


def report_cases(folder: Path) -> Cases:
    return {
        "report": lambda: reported(folder, 1),
        "report/seeds": lambda: reported(folder, 3),
        "study": studied,
        "photonics/finetune": lambda: finetuned(folder),
    }


def studied() -> list[Any]:
    """Means, deviations and paired differences of a study of two cells and three seeds."""
    names = [(model, seed) for model in ("one", "two") for seed in range(3)]
    planned = [
        {"run": f"{m}{s}", "labels": {"model": m}, "seed": s, "epochs": 2, "cost": {}} for m, s in names
    ]
    shown = dict.fromkeys(("title", "about", "figure", "across", "compare", "command"), "")
    plan = {**shown, "runs": planned, "reference": {"model": "one"}}
    plan["measures"] = [{"name": name, "title": name} for name in REPORTED]
    rows = [
        {**row, "run": f"{m}{s}", "machine": ""}
        for m, s in names
        for row in _rows(m, s, 0.2 if m == "two" else 0.0)
    ]
    table = study_table.build(plan, rows)
    values = [v for part in ("cells", "differences") for c in table[part] for v in c["values"].values()]
    return [[v["mean"], v["std"], v["seeds"], list(v["values"].values()), v.get("clear")] for v in values]
