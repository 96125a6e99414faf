"""Reconstruction: a run, its scores, reconstructions and export; the study's plan."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import equissl
from equissl.api.evaluate import EvaluationOptions, evaluate_run
from equissl.augment import paths
from equissl.config import registry
from equissl.data.solids import Solids
from equissl.equivariance.sie import SIE
from equissl.errors import UserError
from equissl.evaluate.factors.families import Families
from equissl.evaluate.factors.homography import Homography
from equissl.evaluate.factors.pairs import transformed_pairs
from equissl.evaluate.metrics import mean_r2
from equissl.evaluate.probes.ridge import ridge
from equissl.recipe import Recipe
from equissl.recipes import reconstruction
from equissl.report import write
from equissl.report.rows import read
from equissl.runs import export
from equissl.runs.folder import open_run
from equissl.runs.load import load_run
from equissl.storage import read_rows
from equissl.study.plan import jobs
from equissl.study.presets import reconstruction as studies
from equissl.testing.encoder_evaluation import example_context
from equissl.training.options import Options

TINY = Solids(size=32, objects=12, views=4)
QUIET = Options(silent=True, loggers=())


def train(recipe: Recipe, out: Path) -> Path:
    equissl.pretrain(replace(recipe, epochs=1, batch_size=16), out, QUIET)
    return out


@pytest.mark.parametrize("kind", ["cross_attention", "intermediate"])
def test_a_run_has_reconstructions_and_its_export_no_decoder(kind: str, tmp_path: Path) -> None:
    run = train(reconstruction.small(kind, TINY), tmp_path / kind)  # type: ignore[arg-type]
    hidden = {"families.hidden": "[8]", "homography.hidden": "[8]"}
    options = EvaluationOptions(
        evaluations=("families", "homography"),
        settings={**hidden, "families.families": '["rotation"]'},
        count=16,
    )
    scores = evaluate_run(run, options=options)
    names = {(s.name, s.part) for s in scores if not s.baseline}
    assert {
        (n, p) for n in ("family/rotation", "family_linear/rotation") for p in ("all", "inv", "equi")
    } <= names
    saved = json.loads((run / "reconstructions.json").read_text())
    views = ["intermediate_1", "intermediate_2"] if kind == "intermediate" else ["a", "b"]
    assert [d["view"] for d in saved["reconstructions"]] == views and list(saved["views"]) == ["a", "b"]
    html = write([run], tmp_path / "report.html").read_text()
    assert "Reconstructions" in html and f"{views[1]}, reconstructed by {kind}" in html
    assert html.count("reconstructed by") >= 8 and saved["reconstructions"][0]["target"][0] in html
    loaded = load_run(open_run(run))
    assert loaded.model is not None and any("decoder" in n for n in loaded.model.state_dict())
    export.export_timm(loaded, tmp_path / "out")
    from safetensors.torch import load_file

    assert not [n for n in load_file(tmp_path / "out" / "model.safetensors") if "decoder" in n or "mask" in n]


def test_ibot_trains_and_its_wide_features_are_exported(tmp_path: Path) -> None:
    recipe = reconstruction.ibot_small(TINY)
    small = replace(recipe.encoder, options={**recipe.encoder.options, "embed_dim": 48, "depth": 2})
    run = train(replace(recipe, encoder=small), tmp_path / "run")
    terms = read_rows(run / "log.jsonl")[-1]
    assert {"base/assignment", "base/patches", "intermediate/reconstruction"} <= set(terms)
    loaded = load_run(open_run(run))
    export.export_timm(loaded, tmp_path / "out")
    images = torch.rand(2, 3, 32, 32)
    import timm

    model = timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True).eval()
    normal = (images - loaded.encoder.mean) / loaded.encoder.std
    with torch.no_grad():
        torch.testing.assert_close(model(normal), loaded.encoder(images).vector, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(equissl.load_backbone(tmp_path / "out")(images).vector, model(normal))
    assert model(normal).shape == (2, 128)


def test_a_broken_reconstruction_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "scores.jsonl").write_text("")
    rows = {
        "reconstructions": [3, {"module": "m", "view": "v", "reconstructed": ["javascript:x"], "target": 7}],
        "views": [1],
    }
    (tmp_path / "reconstructions.json").write_text(json.dumps(rows))
    run = read(tmp_path)
    assert len(run.reconstructions) == 1 and run.views == {}
    assert run.reconstructions[0].reconstructed[0].image == "" and run.reconstructions[0].target == ()


def test_families_read_what_the_features_hold() -> None:
    """By the numbers of one family: the score is that of the linear reading, part by part."""
    context = example_context(60)
    scores = list(Families(("blur",), hidden=(), pairs=30).run(context))
    assert {s.part for s in scores} == set(context.features().by_part())
    train, test = transformed_pairs(context, paths.PATHS["blur"], ("path_blur_sigma",), 30)
    assert train.targets.shape[0] == min(30, len(context.rows["train"]))
    assert torch.equal(test.targets, test.changed.params.values["path_blur_sigma"])
    predictions = ridge(
        train.by_part()["all"], train.targets, train.plain.groups, test.by_part()["all"]
    ).predictions
    score = next(s for s in scores if s.part == "all")
    assert score.name == "family_linear/blur" and score.value == pytest.approx(
        mean_r2(predictions, test.targets)
    )


def test_the_order_of_colours_is_no_target() -> None:
    assert paths.continuous_factors(paths.color()) == tuple(
        f"path_{n}" for n in ("brightness", "contrast", "saturation", "hue")
    )
    assert paths.continuous_factors(paths.se2())[:3] == ("path_rotation", "path_shift_x", "path_shift_y")


def test_corners_of_a_constant_are_as_far_as_they_are_spread() -> None:
    context = example_context(60)
    scores = {(s.name, s.baseline): s for s in Homography(hidden=(8,), pairs=40).run(context)}
    error = scores["homography/corner_error", "constant"].value
    # Shifts are uniform in [0, 0.15] along both axes: the mean distance from the centre of that square.
    assert error == pytest.approx(0.3826 * 0.15, rel=0.15)
    assert scores["homography/corners", "constant"].value == pytest.approx(0, abs=0.2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Families(("rotaton",)), "did you mean 'rotation'"),
        (lambda: Families(pairs=3), "pairs must be at least 10"),
        (lambda: studies.families(kinds=("bas",)), "did you mean 'base'"),
        (lambda: studies.families(num_targets=()), "at least one each"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises((ValueError, UserError), match=message):
        make()


@pytest.mark.slow
def test_intermediate_reconstruction_raises_r2_of_rotation(tmp_path: Path) -> None:
    """At full length: the study of docs/reconstruction.md has three seeds of it."""
    r2 = {}
    for kind in ("base", "intermediate"):
        recipe = reconstruction.small(kind)  # type: ignore[arg-type]
        equissl.pretrain(recipe, tmp_path / kind, QUIET)
        settings = {"families.families": '["rotation"]', "families.hidden": "[512]"}
        options = EvaluationOptions(evaluations=("families",), settings=settings, count=500)
        scores = evaluate_run(tmp_path / kind, options=options)
        (r2[kind],) = (
            s.value for s in scores if (s.name, s.part, s.baseline) == ("family/rotation", "all", "")
        )
    assert r2["intermediate"] > r2["base"] + 0.05


@pytest.mark.parametrize("family", paths.PATHS)
def test_sie_takes_the_factors_of_every_path(family: str) -> None:
    recipe = reconstruction.small("sie", TINY, family=family)
    (module,) = recipe.build(TINY.spaces).modules_by_name.values()
    assert isinstance(module, SIE) and module.config.predictor.bias == (family in ("translation", "blur"))  # type: ignore[union-attr]


def test_the_study_compares_equals() -> None:
    """Same encoder, views and steps in every cell; only intermediate reconstruction adds views."""
    study = studies.families(num_targets=(1, 2))
    named = {c.labels["method"]: c.recipe for c in study.cells}
    assert list(named) == ["base", "cross_attention", "intermediate, K=1", "intermediate, K=2", "sie"]
    base = named["base"]
    for name, recipe in named.items():
        assert (recipe.data, recipe.epochs) == (base.data, base.epochs)
        halves = {} if name == "base" else {"inv": 32, "equi": 32}
        assert recipe.encoder == replace(base.encoder, parts=halves)
        assert {n: s for n, s in recipe.views.items() if s.encode} == dict(base.views)
        targets = [n for n in recipe.views if n not in base.views]
        assert len(targets) == {"intermediate, K=1": 1, "intermediate, K=2": 2}.get(name, 0)
    assert len(jobs(study, 2)) == 10 and {"reconstruction.families", "reconstruction.target_counts"} <= {
        e.name for e in registry.studies()
    }
