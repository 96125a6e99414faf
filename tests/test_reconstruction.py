"""Both reconstruction modules: shapes, gradient routing, degenerate cases, overfitting (spec, section 5)."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from equissl.augment import HorizontalFlip, Pipeline, RandomResizedCrop, paths
from equissl.augment.batched import as_float
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoded, Encoder
from equissl.equivariance.cross_attention_reconstruction import CrossAttentionReconstruction
from equissl.equivariance.intermediate_reconstruction import IntermediateReconstruction
from equissl.errors import UserError
from equissl.invariance.simclr import SimCLR
from equissl.model import Model
from equissl.nn.decoder import DecoderConfig, WeakDecoder, stage_sizes
from equissl.params import Params, Space, interpolate
from equissl.testing.objective import SIDE, tiny_batch, tiny_encoder, tiny_views
from equissl.views import Between, View, ViewSpec, intermediate_views, make_views

PARTS = {"inv": 10, "equi": 6}
VIT: dict[str, Any] = {"name": "test_vit", "size": 16, "options": {"patch_size": 4}}


def path_views(family: str = "rotation", count: int = 2) -> dict[str, ViewSpec]:
    path = paths.PATHS[family]
    first, second = (
        Pipeline((RandomResizedCrop(SIDE, scale=(0.5, 1.0)), HorizontalFlip())),
        RandomResizedCrop(SIDE, scale=(0.5, 1.0)),
    )
    b = ViewSpec(Pipeline((second, path)))
    return {"a": ViewSpec(first), "b": b, **intermediate_views("b", b, paths.continuous_factors(path), count)}


def terms(module: Any, encoder: Encoder, views: dict[str, ViewSpec]) -> dict[str, Tensor]:
    made = make_views(tiny_batch(4), views, seed=0)
    encoded = {n: encoder(v.images) for n, v in made.items() if views[n].encode}
    losses: dict[str, Tensor] = module(made, encoded, {})
    return losses


@pytest.mark.parametrize(
    ("grid", "side", "channels"), [((14, 14), 224, [256, 128, 64, 32]), ((8, 8), 256, [256, 128, 64, 32, 16])]
)
def test_the_decoder_ends_at_the_image(grid: tuple[int, int], side: int, channels: list[int]) -> None:
    """ViT/16 at 224 pixels has four stages, a ResNet at 256 five; each doubles."""
    decoder = WeakDecoder(DecoderConfig(), 12, grid, (side, side))
    assert decoder(torch.randn(1, 12, *grid)).shape == (1, 3, side, side)
    assert [c.in_channels for c in decoder.convolutions] == channels
    assert [s[0] // grid[0] for s in decoder.sizes] == [2 ** (k + 1) for k in range(len(channels))]


@pytest.mark.parametrize("side", [20, 32, 33])
def test_any_size_is_reached(side: int) -> None:
    decoder = WeakDecoder(DecoderConfig(channels=(8,)), 4, (4, 4), (side, side))
    assert decoder(torch.randn(2, 4, 4, 4)).shape == (2, 3, side, side)
    assert len(stage_sizes((4, 4), (side, side))) == math.ceil(math.log2(side / 4))


@pytest.mark.parametrize("name", ["resnet18", "vit_small_patch16_224"])
def test_real_backbones_have_grids(name: str) -> None:
    config = EncoderConfig(name=name, size=64, width=32, parts={"inv": 16, "equi": 16})
    encoder = config.build().eval()
    encoded = encoder(torch.rand(2, 3, 64, 64))
    side = 64 // (32 if name == "resnet18" else 16)
    assert encoded.vector.shape == (2, 32) and encoder.grid_size() == (side, side)
    assert encoded.grid is not None and encoded.grid.shape == (2, 32, side, side)
    if name == "resnet18":  # the linear layer and the mean over places change places
        torch.testing.assert_close(encoded.grid.mean((2, 3)), encoded.vector, atol=1e-4, rtol=1e-3)


def test_patches_lie_where_they_are_in_the_image() -> None:
    encoder = EncoderConfig(**VIT).build().eval()
    tokens = encoder.backbone.forward_features((torch.ones(1, 3, 16, 16) - encoder.mean) / encoder.std)  # type: ignore[operator]
    grid = encoder(torch.ones(1, 3, 16, 16)).grid
    assert grid is not None
    for row, column in ((0, 3), (2, 1)):
        torch.testing.assert_close(grid[0, :, row, column], tokens[0, 1 + 4 * row + column])


@pytest.mark.parametrize("family", [*paths.PATHS])
def test_paths_begin_at_the_identity(family: str) -> None:
    """theta = 0 gives u, and u_k == u == v2."""
    path, images = paths.PATHS[family], tiny_batch(4).images["image"]
    rest = path.space.neutral(4)
    torch.testing.assert_close(path.apply(images, rest), images, atol=1e-6, rtol=0)
    specs = path_views(family)
    start = replace(specs["b"], draw=Between("", "b", 0.0, paths.continuous_factors(path)), encode=False)
    made = make_views(tiny_batch(4), {**specs, "u": start}, seed=0)
    crop = specs["b"].augment.steps[0]  # type: ignore[attr-defined]
    plain = crop.apply(as_float(images), made["b"].params.select(crop.space.names))
    torch.testing.assert_close(made["u"].images, plain, atol=1e-6, rtol=0)
    assert not torch.allclose(made["b"].images, plain, atol=1e-3)


@pytest.mark.parametrize("family", [*paths.PATHS])
@pytest.mark.parametrize("count", [1, 2, 3])
def test_intermediate_views_are_equally_spaced(family: str, count: int) -> None:
    path = paths.PATHS[family]
    made = make_views(tiny_batch(4), path_views(family, count), seed=0)
    assert len(made) == 2 + count
    for name in paths.continuous_factors(path):
        end, start = made["b"].params.values[name], path.space[name].neutral(4)
        for k in range(1, count + 1):
            value = made[f"intermediate_{k}"].params.values[name]
            torch.testing.assert_close(value - start, (end - start) * k / (count + 1))
    for name in set(made["b"].params.space.names) - set(paths.continuous_factors(path)):
        assert torch.equal(made["intermediate_1"].params.values[name], made["b"].params.values[name])


def test_the_second_target_is_two_thirds_of_the_rotation() -> None:
    made = make_views(tiny_batch(4), path_views(), seed=0)
    angle = made["b"].params.values["path_rotation"]
    crop, path = path_views()["b"].augment.steps  # type: ignore[attr-defined]
    u = crop.apply(tiny_batch(4).images["image"], made["b"].params)
    turned = paths.rotation().apply(u, Params.of(path.space, {"path_rotation": 2 / 3 * angle}))
    torch.testing.assert_close(made["intermediate_2"].images, turned, atol=1e-5, rtol=0)


def test_se2_goes_straight_and_in_one_warp() -> None:
    values = {n: torch.tensor([[v]]) for n, v in (("rotation", 0.6), ("shift_x", 0.04), ("shift_y", -0.02))}
    still = dict.fromkeys(("zoom", "shear_x", "shear_y"), torch.zeros(1, 1))
    path = paths.se2()
    full = Params.of(path.space, {f"path_{n}": v for n, v in (values | still).items()})
    view = View(torch.rand(1, 3, 16, 16), full)
    half = interpolate(path.space.neutral(1), full, 0.5)
    for n, v in values.items():
        torch.testing.assert_close(half.values[f"path_{n}"], v / 2)
    assert path.apply(view.images, half).shape == view.images.shape


@pytest.mark.parametrize("padding_mode", ["reflection", "zeros"])
def test_what_lies_outside(padding_mode: Any) -> None:
    path = paths.rotation(45, padding_mode)
    white = torch.ones(1, 3, 16, 16)
    turned = path.apply(white, Params.of(path.space, {"path_rotation": torch.tensor([[0.7]])}))
    assert bool((turned < 0.5).any()) is (padding_mode == "zeros")


CROSS_ATTENTION = [
    CrossAttentionReconstruction.Config(variant=v, part="equi", decoder=DecoderConfig(channels=(8, 8)))
    for v in ("R1", "R2", "R3")
]
INTERMEDIATE = IntermediateReconstruction.Config(part="equi", decoder=DecoderConfig(channels=(8, 8)))


@pytest.mark.parametrize("config", [*CROSS_ATTENTION, INTERMEDIATE], ids=["R1", "R2", "R3", "intermediate"])
@pytest.mark.parametrize("kind", ["vit", "resnet"])
def test_gradients_reach_the_equivariant_columns_only(config: Any, kind: str) -> None:
    """Of the linear head that sets the width; with the base alone it is the other way round."""
    made_of = VIT if kind == "vit" else {"name": "test_resnet", "stem": "small", "size": 16}
    encoder = EncoderConfig(**made_of, width=16, parts=PARTS).build()
    views = path_views()
    base = SimCLR.Config(projector=(8, 4), part="inv").build(encoder, {})
    made = make_views(tiny_batch(4), views, seed=0)
    for weight in (0.0, 1.0):
        model = Model(encoder, base, {"m": config.build(encoder, {})}, {"m": weight}, ["a", "b"])
        found = model(made)
        loss = found["m/reconstruction"] if weight else found["base/contrast"] + found["m/reconstruction"]
        encoder.zero_grad()
        loss.backward()
        gradient = encoder.backbone.get_classifier().weight.grad  # type: ignore[operator,union-attr]
        inv, equi = gradient[encoder.parts["inv"]], gradient[encoder.parts["equi"]]
        assert bool(inv.any()) is not bool(weight) and bool(equi.any()) is bool(weight)


def test_r4_also_teaches_the_content() -> None:
    encoder = tiny_encoder({"inv": 8, "equi": 8})
    config = CrossAttentionReconstruction.Config(variant="R4", context_part="inv", part="equi")
    made = make_views(tiny_batch(4), tiny_views(), seed=0)
    encoded = {n: encoder(v.images) for n, v in made.items()}
    leaf = {n: e.grid.detach().requires_grad_() for n, e in encoded.items() if e.grid is not None}
    module = config.build(encoder, {})
    module(made, {n: Encoded(x.mean((2, 3)), x, encoder.parts) for n, x in leaf.items()}, {})[
        "reconstruction"
    ].backward()
    assert all(leaf["a"].grad[:, encoder.parts[p]].any() for p in ("inv", "equi"))  # type: ignore[index]


@pytest.mark.parametrize("variant", ["R1", "R2", "R3", "R4"])
@pytest.mark.parametrize(("projections", "heads"), [("none", 1), ("linear", 2)])
def test_blends_equal_a_loop(variant: Any, projections: Any, heads: int) -> None:
    encoder = tiny_encoder({"inv": 8, "equi": 8})
    config = CrossAttentionReconstruction.Config(
        variant=variant,
        context_part="inv" if variant == "R4" else "",
        projections=projections,
        num_heads=heads,
        part="equi",
    )
    module = config.build(encoder, {})
    one, two = (encoder(v) for v in torch.rand(2, 1, 3, SIDE, SIDE))
    t, s = (e.grid_part("equi")[0].flatten(1).T for e in (one, two))
    queries = s if variant == "R2" else t
    context = {"R1": s, "R2": t, "R3": torch.cat([s, t]), "R4": two.grid_part("inv")[0].flatten(1).T}[variant]
    q, k, v = module.query(queries), module.key(context), module.value(context)
    rows = []
    for i in range(len(q)):
        row = []
        for h in range(heads):
            part = slice(h * 8 // heads, (h + 1) * 8 // heads)
            weights = torch.softmax((k[:, part] @ q[i, part]) / math.sqrt(8 / heads), 0)
            row.append(weights @ v[:, part])
        rows.append(queries[i] + module.output(torch.cat(row)))
    attended = module.attend(one, two)[0].flatten(1).T
    torch.testing.assert_close(attended, torch.stack(rows), atol=1e-5, rtol=1e-4)


def test_parameters_are_never_read() -> None:
    """The loss is the same to the bit when the views record no parameters."""
    encoder = tiny_encoder(PARTS)
    made = make_views(tiny_batch(4), path_views(), seed=0)
    unknown = {n: View(v.images, Params.of(Space(), {}, count=4)) for n, v in made.items()}
    encoded = {n: encoder(made[n].images) for n in ("a", "b")}
    for config in (*CROSS_ATTENTION, INTERMEDIATE):
        module: Any = config.build(encoder, {})
        assert torch.equal(*(m["reconstruction"] for m in (module(v, encoded, {}) for v in (made, unknown))))


def test_a_single_key_is_refused() -> None:
    for variant in ("R1", "R2"):
        with pytest.raises(ValueError, match="softmax over one key is 1"):
            CrossAttentionReconstruction.Config(tokens="pooled", variant=variant)  # type: ignore[arg-type]
    small = EncoderConfig(name="test_resnet", size=32).build()
    assert small.grid_size() == (1, 1)
    with pytest.raises(ValueError, match=r"single place .* softmax over one key is 1"):
        CrossAttentionReconstruction.Config(variant="R1").build(small, {})
    CrossAttentionReconstruction.Config(tokens="pooled", variant="R3").build(small, {})  # two keys: a gate


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CrossAttentionReconstruction.Config(variant="R4"), "needs context_part"),
        (lambda: CrossAttentionReconstruction.Config(context_part="inv"), "needs context_part"),
        (lambda: CrossAttentionReconstruction.Config(num_heads=0), "num_heads must be in"),
        (
            lambda: CrossAttentionReconstruction.Config(num_heads=5).build(tiny_encoder(), {}),
            "does not divide the 16 columns",
        ),
        (
            lambda: CrossAttentionReconstruction.Config(variant="R4", context_part="inv", part="equi").build(
                tiny_encoder(PARTS), {}
            ),
            "use projections=linear",
        ),
        (lambda: IntermediateReconstruction.Config(targets=()), "targets must hold at least one name"),
        (lambda: IntermediateReconstruction.Config(targets=("x", "x")), "each once"),
        (lambda: DecoderConfig(channels=()), "channels must hold at least 1 width"),
        (lambda: Between("", "b"), "must name the neutral factors"),
        (lambda: Between("a", "b", 1.5), "fraction must be in"),
        (lambda: intermediate_views("b", ViewSpec(), ("rotation",), 0), "count must be at least 1"),
        (lambda: EncoderConfig(name="m:f", width=8), "width is for timm models"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_vectors_alone_are_refused() -> None:
    with pytest.raises(UserError, match="for transformers of patches"):
        EncoderConfig(name="test_resnet", size=32, mask_token=True).build()
    own = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 16 * 16, 12))
    with pytest.raises(ValueError, match="features at every place"):
        IntermediateReconstruction.Config().build(Encoder(own, probe=(3, 16, 16)), {})


def test_sixteen_images_are_overfitted() -> None:
    """Each target is reconstructed with less error than the mean image and v2 itself have."""
    torch.manual_seed(0)
    encoder = tiny_encoder(width=32)
    views = path_views()
    noise = tiny_batch(16)
    smooth = torch.nn.functional.interpolate(
        torch.rand(16, 3, 4, 4, generator=torch.Generator().manual_seed(1)), (SIDE, SIDE), mode="bicubic"
    )
    made = make_views(replace(noise, images={"image": smooth.clamp(0, 1)}), views, seed=0)
    module: Any = IntermediateReconstruction.Config(
        decoder=DecoderConfig(channels=(64, 32)), space="unit"
    ).build(encoder, {})
    optimizer = torch.optim.AdamW([*encoder.parameters(), *module.parameters()], 5e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-2, total_steps=300)
    for _ in range(300):
        encoded = {n: encoder(made[n].images) for n in ("a", "b")}
        optimizer.zero_grad()
        module(made, encoded, {})["reconstruction"].backward()
        optimizer.step()
        schedule.step()
    reconstructions = module.reconstruct(made, encoded)
    for name in ("intermediate_1", "intermediate_2"):
        target = made[name].images
        error = float((reconstructions[name].reconstructed.detach() - target).square().mean())
        assert error < 0.5 * float((target.mean(0) - target).square().mean()), "the mean image"
        assert error < 0.5 * float((made["b"].images - target).square().mean()), "v2 itself"
