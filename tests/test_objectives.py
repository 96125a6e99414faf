"""Laws of every base and module found by walking the package, and that they train together."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from objective_cases import BASES, MODULES, SMALL, surroundings
from torch import nn

from equissl.auto.requirements import build_recipe, resolve
from equissl.config import registry
from equissl.data.solids import Solids
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.equivariance.equimod import EquiMod
from equissl.errors import UserError
from equissl.invariance.byol import BYOL
from equissl.invariance.simclr import SimCLR
from equissl.model import Model
from equissl.nn.heads import MLP
from equissl.objective import Base, Equivariance, Predictive
from equissl.params import Space, between, union
from equissl.recipe import Recipe, Weighted, check_views
from equissl.testing.objective import (
    check_objective,
    check_part,
    tiny_batch,
    tiny_encoder,
    tiny_views,
)
from equissl.training.optim import parameter_groups
from equissl.views import make_views


def test_every_class_has_a_case() -> None:
    """A new file without a case here would go untested."""
    found = {e.name for b in (Base, Equivariance) for e in registry.subclasses(b)}
    cases = {type(c).__qualname__.split(".")[0].lower() for c in (BASES | MODULES).values()}
    assert found == cases


def test_every_class_has_a_page() -> None:
    pages = Path(__file__).parent.parent / "docs" / "methods"
    found = [e.value for b in (Base, Equivariance) for e in registry.subclasses(b)]
    assert {c.__module__.split(".")[-1] for c in found} <= {page.stem for page in pages.glob("*.md")}


@pytest.mark.parametrize("name", [*BASES, *MODULES])
def test_laws(name: str) -> None:
    config = (BASES | MODULES)[name]
    made_of = surroundings(name)
    check_objective(config, *made_of)
    check_part(replace(config, part="equi"), "equi", *made_of)


@pytest.mark.parametrize("keep", [(), ("hue",)])
def test_a_view_whose_features_are_read_is_encoded(keep: tuple[str, ...]) -> None:
    start = Recipe(data=Solids(), views={}, base=SimCLR.Config(**SMALL), encoder=EncoderConfig(size=16))
    recipe = build_recipe(start, resolve(keep, ["crop"]))
    for name, spec in recipe.views.items():
        reader = "kept" if name == "moved" else "base"
        views = {**recipe.views, name: replace(spec, encode=False)}
        with pytest.raises(UserError, match=f"{reader} reads the features of view '{name}', which has none"):
            check_views(replace(recipe, views=views), {"image": Space()})


def test_a_view_that_only_gives_images_need_not_be_encoded() -> None:
    images = {n: set(c.reads()) - set(c.reads_encoded()) for n, c in (BASES | MODULES).items()}
    assert {n: views for n, views in images.items() if views} == {
        "moco": {"b"},
        "intermediate": {"plain"},
        "intermediate-sum": {"plain"},
    }
    assert not {"a", "b"} - set(replace(BASES["moco"], symmetric=True).reads_encoded())


# One case of each module's class.
KINDS = ("equimod", "augself", "essl", "sie", "cross-attention", "intermediate")


# A base's own passes: heads, teacher and queue must take what either way of encoding gives.
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("batch_norm", ["all_views", "per_view"])
def test_a_base_trains_alone(base: str, batch_norm: Any) -> None:
    check_trains(base, (), batch_norm)


# What a base hands to a module (embeddings, of which views), what its encoder offers (grid, parts, masks),
# names of terms that collide, parameters that neither or both of them give to the optimizer.
@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("module", KINDS)
def test_every_base_trains_with_every_kind_of_module(base: str, module: str) -> None:
    check_trains(base, (module,))


# A module's options: branches of its own that leave parameters idle or shapes that do not fit.
@pytest.mark.parametrize("module", [m for m in MODULES if m not in KINDS])
def test_every_variant_of_a_module_trains(module: str) -> None:
    check_trains("simclr", (module,))


# Several modules: each has its own name, weight and parameter group.
@pytest.mark.parametrize("batch_norm", ["all_views", "per_view"])
def test_several_modules_train_together(batch_norm: Any) -> None:
    check_trains("simclr", ("equimod", "augself", "sie"), batch_norm)


def check_trains(base: str, chosen: tuple[str, ...], batch_norm: Any = "all_views") -> None:
    """One step: every parameter gets a gradient and is optimised once, terms are named by their objective."""
    make, views = surroundings(base)
    spaces = {n: s.space(Space()) for n, s in views.items()}
    encoder = make()
    modules = {n.replace("-", "_"): MODULES[n].build(encoder, spaces) for n in chosen}
    model = Model(
        encoder,
        BASES[base].build(encoder, spaces),
        modules,
        dict.fromkeys(modules, 0.5),
        list(views),
        batch_norm,
    )
    optimizer = torch.optim.SGD(parameter_groups(model, model.fixed_lr), 0.01)
    made = make_views(tiny_batch(8), views, seed=0)
    terms = model(made)
    loss = torch.stack(list(terms.values())).sum()
    loss.backward()
    idle = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert not idle and loss.isfinite()
    optimizer.step()
    model.after_step(0.5)
    grouped = [p for g in optimizer.param_groups for p in g["params"]]
    assert len(grouped) == len(set(grouped)) == sum(p.requires_grad for p in model.parameters())
    assert all(k.split("/")[0] in ("base", *modules) for k in terms)
    for module in modules.values():
        if isinstance(module, Predictive):
            change = between(made["plain"].params, made["a"].params, module.space)
            one, two = model.encode(made)["plain"], model.encode(made)["a"]
            assert module.predict(one, change).shape == module.target(two).shape


@pytest.mark.parametrize("module", MODULES)
def test_a_module_learns_without_a_base(module: str) -> None:
    views, encoder = tiny_views(), tiny_encoder()
    spaces = {n: s.space(Space()) for n, s in views.items()}
    model = Model(encoder, None, {"m": MODULES[module].build(encoder, spaces)}, {"m": 1.0}, list(views))
    terms = model(make_views(tiny_batch(8), views, seed=0))
    torch.stack(list(terms.values())).sum().backward()
    assert all(k.startswith("m/") for k in terms)
    assert not [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    with pytest.raises(ValueError, match="nothing to learn from"):
        Recipe(data=Solids(), views={}, encoder=EncoderConfig(), base=None)


def test_weights_scale_terms() -> None:
    views, encoder = tiny_views(), tiny_encoder()
    spaces = {n: s.space(Space()) for n, s in views.items()}
    module = MODULES["augself"].build(encoder, spaces)
    base = BASES["simclr"].build(encoder, spaces)
    made = make_views(tiny_batch(6), views, seed=0)
    one, three = (Model(encoder, base, {"m": module}, {"m": w}, list(views))(made) for w in (1.0, 3.0))
    torch.testing.assert_close(three["m/crop"], 3 * one["m/crop"])


def test_initial_losses_are_those_of_random_embeddings() -> None:
    """ln(2N - 1) for the invariance and ln(4N - 1) for the equivariance (specs, section 1.3)."""
    torch.manual_seed(0)
    views, encoder = tiny_views(), tiny_encoder(width=64)
    spaces = {n: s.space(Space()) for n, s in views.items()}
    base = SimCLR.Config(projector=(256, 128), temperature=0.5).build(encoder, spaces)
    module = EquiMod.Config(projector=(256, 128), temperature=0.2).build(encoder, spaces)
    made = make_views(tiny_batch(64), views, seed=0)
    terms = Model(encoder, base, {"equimod": module}, {"equimod": 1.0}, list(views))(made)
    assert float(terms["base/contrast"].detach()) == pytest.approx(math.log(127), abs=0.8)
    assert float(terms["equimod/contrast"].detach()) == pytest.approx(math.log(255), abs=0.8)


@pytest.mark.parametrize(("width", "expected"), [(512, 5_513_216), (2048, 8_658_944)])
def test_parameter_counts_are_the_papers(width: int, expected: int) -> None:
    def count(module: nn.Module) -> int:
        return sum(p.numel() for p in module.parameters())

    assert count(MLP((width, 2048, 2048, 128), "fixed")) == expected
    assert count(MLP((width, 4096, 256))) == {512: 3_154_176, 2048: 9_445_632}[width]
    assert count(MLP((256, 4096, 256))) == 2_105_600
    assert count(MLP((256, 128), "fixed")) == 32_768
    for given, wanted in ((15, 2_176), (17, 2_432), (18, 2_560)):
        assert count(MLP((given, 128), "affine")) == wanted


def test_the_affine_predictor_adds_what_does_not_depend_on_the_image() -> None:
    views, encoder = tiny_views(), tiny_encoder()
    spaces = {n: s.space(Space()) for n, s in views.items()}
    module = MODULES["equimod"].build(encoder, spaces).eval()
    made = make_views(tiny_batch(2), views, seed=0)
    source = encoder(made["plain"].images)
    changes = [between(made["plain"].params, made[v].params, union(spaces, ["a"])) for v in ("a", "b")]
    same = [c[torch.tensor([0, 0])] for c in changes]
    first, second = (module.predict(source, c) for c in same)
    torch.testing.assert_close((first - second)[0], (first - second)[1], atol=1e-5, rtol=1e-5)


def test_the_teacher_is_a_copy_that_follows() -> None:
    encoder = tiny_encoder()
    base = BYOL.Config(projector=(8, 4), predictor=(8, 4), momentum=0.5).build(encoder, {})
    before = next(base.teacher.parameters()).clone()
    with torch.no_grad():
        next(encoder.parameters()).add_(1.0)
    base.after_step(encoder, 0.0)
    torch.testing.assert_close(next(base.teacher.parameters()), before + 0.5)
    base.after_step(encoder, 1.0)
    torch.testing.assert_close(next(base.teacher.parameters()), before + 0.5)
    names = [n for n, _ in Model(encoder, base, {}, {}, ["a", "b"]).named_parameters()]
    assert len([n for n in names if n.startswith("encoder.")]) == len(list(encoder.parameters()))


def test_views_are_independent_of_each_other() -> None:
    views = tiny_views()
    whole = make_views(tiny_batch(4), views, seed=3, epoch=2)
    alone = make_views(tiny_batch(4), {"b": views["b"]}, seed=3, epoch=2)
    assert torch.equal(whole["b"].images, alone["b"].images)
    assert not torch.equal(whole["a"].images, whole["b"].images)


def test_ones_own_module_is_an_encoder() -> None:
    own = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 16, 12))
    encoder = Encoder(own, {"inv": 8, "equi": 4}, probe=(3, 16, 16))
    encoded = encoder(torch.rand(2, 3, 16, 16))
    assert encoded.vector.shape == (2, 12) and encoded.part("equi").shape == (2, 4) and encoded.grid is None


def test_pairs_of_renders_give_the_same_call() -> None:
    data = Solids.example(None)  # type: ignore[arg-type]
    recipe = Recipe(
        data=data,
        views={"a": replace(tiny_views()["plain"]), "b": replace(tiny_views()["plain"], image="partner")},
        encoder=EncoderConfig(name="test_resnet", size=16),
        base=BASES["simclr"],
        modules={
            "m": Weighted(module=EquiMod.Config(pairs=(("a", "b"),), factors=("pose", "floor_hue"), **SMALL))
        },
    )
    model = recipe.build(data.spaces)
    batch = data.open("train").batch(torch.arange(6))
    assert all(t.isfinite() for t in model(make_views(batch, recipe.views, 0)).values())
