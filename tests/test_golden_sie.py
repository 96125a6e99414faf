"""SIE's losses, predictors, baselines and transformation parameters against the original's outputs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from golden_files import golden
from test_golden_losses import leaf, read, same
from torch import Tensor, nn

from equissl.encoder.encoder import Encoded, Encoder
from equissl.equivariance._parameter_targets import FactorRegression
from equissl.equivariance.augself import AugSelf
from equissl.equivariance.equimod import EquiMod
from equissl.equivariance.sie import SIE
from equissl.losses.contrastive import nt_xent
from equissl.losses.regularization import covariance_loss, variance_loss
from equissl.nn.predictors import ConcatenatedMLP, Hypernetwork, HypernetworkPredictor
from equissl.params import Params, Real, Rotation, Space
from equissl.views import View

pytestmark = pytest.mark.golden

POSE = Space((Rotation("pose", keep_sign=True),))
HUES = Space((Real("floor_hue"), Real("light_hue")))


def records(z: Tensor) -> tuple[Params, Params]:
    """Two records whose difference is ``z``: the quaternion (x, y, z, w), then hues."""
    space = POSE + HUES if z.shape[1] == 6 else POSE
    quaternion = z[:, [3, 0, 1, 2]]
    values = {"pose": quaternion, "floor_hue": z[:, 4:5], "light_hue": z[:, 5:6]}
    target = Params.of(space, {n: values[n] for n in space.names})
    rest = {f.name: f.neutral(len(z)).double() for f in space}
    return Params.of(space, rest), target


def generated(weight: Tensor, layers: list[int], biased: bool = False) -> list[Tensor]:
    """The original's (sizes, k) hypernetwork output weights as ours: (k, in, out), and (k, out) of biases."""
    found, start = [], 0
    for a, b in itertools.pairwise(layers):
        found.append(weight[start : start + a * b].view(b, a, -1).permute(2, 1, 0))
        start += a * b
        if biased:
            found.append(weight[start : start + b].T)
            start += b
    return found


def reordered(weight: Tensor) -> Tensor:
    """Columns for (x, y, z, w, ...) as columns for (w, x, y, z, ...)."""
    return weight[:, [3, 0, 1, 2, *range(4, weight.shape[1])]]


def sie_on(g: dict[str, Tensor], z: Tensor, weight: Tensor, parts: dict[str, int], **weights: float) -> SIE:
    """The module with the original's predictor and without projector."""
    encoder = Encoder(nn.Flatten(), parts, probe=(sum(parts.values()), 1, 1))
    width = encoder.width("equi")
    config = SIE.Config(projector=(width,), **weights)  # type: ignore[arg-type]
    module = config.build(encoder, {v: records(z)[0].space for v in ("a", "b")}).double()
    module.projector = nn.Identity()
    assert isinstance(module.predictor, HypernetworkPredictor)
    module.predictor.weights[0] = nn.Parameter(generated(reordered(weight), [width, width])[0].contiguous())
    return module


def losses(
    module: SIE, x: Tensor, y: Tensor, z: Tensor, parts: dict[str, int], embeddings: dict[str, Tensor]
) -> dict[str, Tensor]:
    source, target = records(z)
    columns = Encoder(nn.Flatten(), parts, probe=(x.shape[1], 1, 1)).parts
    views = {"a": View(x, source), "b": View(y, target)}
    return module(views, {"a": Encoded(x, None, columns), "b": Encoded(y, None, columns)}, embeddings)


VARIANTS = ["sie_rot", "sie_rotcolor", "sie_novar", "sie_rot_nominal_batch_plus_8", "sie_onlyequi"]


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("path", golden("sie_loss"), ids=lambda p: p.stem)
def test_sie_losses_and_gradients(path: Path, variant: str) -> None:
    g = read(path)
    kind = "rotcolor" if "rotcolor" in variant else "rot"
    z, weight = g[f"z_{kind}"], g[f"hypernet_weight_{kind}"]
    count, inv, equi = len(z), int(g["dim_inv"]), int(g["dim_equi"])
    sim, std, cov = (float(g[n]) for n in ("sim_coeff", "std_coeff", "cov_coeff"))
    weights = {
        "equivariance": float(g["lambda_equi_absolute"]),
        "variance": std,
        "predicted_variance": 0.0 if variant == "sie_novar" else std,
        "covariance": cov,
    }
    if "nominal" in variant:  # the original divides by (configured batch - 1), ours by the true number
        weights["covariance"] = cov * ((count - 1) / (int(g["nominal_batch_plus_8"]) - 1)) ** 2
    parts, only = {"inv": inv, "equi": equi}, variant == "sie_onlyequi"
    x, y = leaf(g["e_x"]), leaf(g["e_y"])
    if only:
        parts, weights["equivariance"] = {"equi": equi}, sim
        x, y = leaf(g["e_x"][:, inv:]), leaf(g["e_y"][:, inv:])
    module = sie_on(g, z, weight, parts, **weights)
    embeddings = {} if only else {"a": x[:, :inv], "b": y[:, :inv]}
    terms = losses(module, x, y, z, parts, embeddings)
    invariance = (x[:, :inv] - y[:, :inv]).square().mean()
    total = torch.stack(list(terms.values())).sum() + (0 if only else sim * invariance)
    total.backward()
    at = 1e-5 if only else 1e-11  # the original logged these in single precision
    named = {"equivariance": "repr_loss_equi", "variance": "std_loss", "predicted_variance": "pred_std_loss"}
    for ours, theirs in named.items():
        if ours in terms and f"{variant}__{theirs}" in g:
            same(terms[ours] / weights[ours], g[f"{variant}__{theirs}"].double(), at)
    same(
        terms["covariance"] / cov, g[f"{variant}__cov_loss"].double(), at
    ) if "nominal" not in variant else None
    same(total, g[f"{variant}__loss"].double(), 1e-4 if only else at)
    same(x.grad, g[f"{variant}__grad_e_x"], 1e-11)
    same(y.grad, g[f"{variant}__grad_e_y"], 1e-11)
    wanted = generated(reordered(g[f"{variant}__grad_hypernet_weight"]), [equi, equi])[0]
    same(module.predictor.weights[0].grad, wanted, 1e-11)  # type: ignore[union-attr,index,arg-type]
    moved = module.predict(Encoded(x, None, {"equi": slice(x.shape[1] - equi, None)}), records(z)[1])
    same(moved, g[f"{variant}__predictor_output"], 1e-12)


HYPER = ["linear_rot", "linear_rotcolor", "linear_hyperbias", "deep_rot", "two_layer_relu_bias"]


@pytest.mark.parametrize("name", [*HYPER, "two_layer_linear"])
@pytest.mark.parametrize("path", golden("sie_predictors"), ids=lambda p: p.stem)
def test_hypernetworks(path: Path, name: str) -> None:
    g = read(path)
    z = g["z_rotcolor" if name == "linear_rotcolor" else "z_rot"]
    layers = g[f"{name}__layers"].tolist()
    weights = [g[k] for k in (f"{name}__hyper_weight{n}" for n in range(3)) if k in g]
    config = Hypernetwork(
        hidden=tuple(len(w) for w in weights[:-1]),
        bias=name == "linear_hyperbias",
        layers=tuple(layers[1:-1]),
        activation=name == "two_layer_relu_bias",
        generated_bias=name == "two_layer_relu_bias",
    )
    predictor = config.build(layers[0], torch.eye(z.shape[1])[0]).double()
    assert isinstance(predictor, HypernetworkPredictor)
    with torch.no_grad():
        for ours, theirs in zip(predictor.trunk.parameters(), weights[:-1], strict=True):
            ours.copy_(theirs)
        last = weights[-1]
        if config.bias:
            last = torch.cat([last, g[f"{name}__hyper_bias0"][:, None]], 1)
        found = generated(last, layers, config.generated_bias)
        step = 2 if config.generated_bias else 1
        for ours, theirs in zip(predictor.weights, found[::step], strict=True):
            ours.copy_(theirs)
        for ours, theirs in zip(predictor.biases, found[1::2] if step == 2 else [], strict=True):
            ours.copy_(theirs)
    same(predictor(g["e"], z), g[f"{name}__output"])


@pytest.mark.parametrize("name", ["mlp1", "mlp2", "mlp3"])
@pytest.mark.parametrize("path", golden("sie_predictors"), ids=lambda p: p.stem)
def test_mlp_predictors(path: Path, name: str) -> None:
    g = read(path)
    width, depth = g["e"].shape[1], sum(k.startswith(f"{name}__weight") for k in g)
    predictor = ConcatenatedMLP(hidden=(width,) * (depth - 1)).build(width, torch.eye(4)[0]).double()
    state = {
        f"layers.{n}.{ours}": g[f"{name}__{ours}{n}"] for n in range(depth) for ours in ("weight", "bias")
    }
    predictor.load_state_dict(state)
    same(predictor(g["e"], g["z_rot"]), g[f"{name}__output"])


def half(g: dict[str, Tensor], side: str, part: str) -> Tensor:
    return (
        g[f"e_{side}"][:, : int(g["dim_half"])] if part == "inv" else g[f"e_{side}"][:, int(g["dim_half"]) :]
    )


def equimod_on(g: dict[str, Tensor], kind: str) -> EquiMod:
    width = int(g["dim_half"])
    encoder = Encoder(nn.Flatten(), probe=(width, 1, 1))
    config = EquiMod.Config(
        pairs=(("a", "b"),),
        projector=(width,),
        predictor=Hypernetwork(),
        temperature=float(g["temperature"]),
    )
    module = config.build(encoder, dict.fromkeys("ab", records(g[f"z_{kind}"])[1].space)).double()
    module.projector = nn.Identity()
    assert isinstance(module.predictor, HypernetworkPredictor)
    weight = generated(reordered(g[f"hypernet_weight_{kind}"]), [width, width])[0]
    module.predictor.weights[0] = nn.Parameter(weight.contiguous())
    return module


def contrast(g: dict[str, Tensor], kind: str, x: Tensor, y: Tensor) -> Tensor:
    """EquiMod with SIE's predictor, and with no base: SEN."""
    source, target = records(g[f"z_{kind}"])
    views = {"a": View(x, source), "b": View(y, target)}
    columns = {"all": slice(0, x.shape[1])}
    encoded = {"a": Encoded(x, None, columns), "b": Encoded(y, None, columns)}
    return equimod_on(g, kind)(views, encoded, {})["contrast"]


@pytest.mark.parametrize("path", golden("sie_baselines"), ids=lambda p: p.stem)
def test_contrastive_baselines(path: Path) -> None:
    g = read(path)
    temperature = float(g["temperature"])
    x = leaf(g["e_x"])
    loss = nt_xent(x, g["e_y"], temperature)
    loss.backward()
    same(loss, g["simclr__loss"], 1e-11)
    same(x.grad, g["simclr__grad_e_x"], 1e-11)
    for kind, weight, name in (("rot", 0.45, "simclr_equimod"), ("rotcolor", 1.0, "simclr_equimod_rotcolor")):
        x = leaf(g["e_x"])
        inv, equi = x.split(int(g["dim_half"]), 1)
        total = nt_xent(inv, half(g, "y", "inv"), temperature)
        total = total + weight * contrast(g, kind, equi, half(g, "y", "equi"))
        total.backward()
        same(total, g[f"{name}__loss"], 1e-11)
        same(x.grad, g[f"{name}__grad_e_x"], 1e-11)
    x = leaf(half(g, "x", "equi"))
    loss = contrast(g, "rot", x, half(g, "y", "equi"))
    loss.backward()
    same(loss, g["simclr_onlyequi_on_second_half__loss"], 1e-11)
    same(x.grad, g["simclr_onlyequi_on_second_half__grad_e_x"], 1e-11)


@pytest.mark.parametrize("kind", ["rot", "rotcolor"])
@pytest.mark.parametrize("path", golden("sie_baselines"), ids=lambda p: p.stem)
def test_augself_baseline(path: Path, kind: str) -> None:
    g = read(path)
    name = "simclr_augself" + ("" if kind == "rot" else "_rotcolor")
    source, target = records(g[f"z_{kind}"])
    known = FactorRegression(target.space.names, "mse", float(g["ec_weight"]))
    config = AugSelf.Config(targets={"change": known}, hidden=(), symmetric=False)
    width = g["e_x"].shape[1]
    module = config.build(Encoder(nn.Flatten(), probe=(width, 1, 1)), dict.fromkeys("ab", target.space))
    head = [g[f"{name}__head_{n}"] for n in ("weight", "bias")]
    order = [3, 0, 1, 2, *range(4, len(head[1]))]  # outputs (w, x, y, z, ...) instead of (x, y, z, w, ...)
    module.double().load_state_dict(
        {f"heads.change.layers.0.{n}": h[order] for n, h in zip(("weight", "bias"), head, strict=True)}
    )
    x, columns = leaf(g["e_x"]), {"all": slice(0, width)}
    encoded = {"a": Encoded(x, None, columns), "b": Encoded(g["e_y"], None, columns)}
    views = {"a": View(x, source), "b": View(x, target)}
    total = nt_xent(x, g["e_y"], float(g["temperature"])) + module(views, encoded, {})["change"]
    total.backward()
    same(total, g[f"{name}__loss"], 1e-11)
    same(x.grad, g[f"{name}__grad_e_x"], 1e-11)


@pytest.mark.parametrize("path", golden("sie_baselines"), ids=lambda p: p.stem)
def test_vicreg_baselines(path: Path) -> None:
    g = read(path)
    sim, std, cov, factor = (float(g[n]) for n in ("sim_coeff", "std_coeff", "cov_coeff", "equi_factor"))
    for name, columns in (("vicreg", slice(None)), ("vicreg_partinv", slice(0, int(g["dim_half"])))):
        x, y = leaf(g["e_x"]), g["e_y"]
        total = vicreg(x, y, sim * (x[:, columns] - y[:, columns]).square().mean(), std, cov)
        total.backward()
        same(total, g[f"{name}__loss"], 1e-11)
        same(x.grad, g[f"{name}__grad_e_x"], 1e-11)
    x, width = leaf(g["e_x"]), int(g["dim_half"])
    inv, equi = x.split(width, 1)
    y = half(g, "y", "inv")
    weights = {"equivariance": sim * factor, "variance": std * factor, "covariance": cov * factor}
    parts = {"equi": width}
    module = sie_on(g, g["z_rot"], g["hypernet_weight_rot"], parts, **weights, predicted_variance=0.0)
    terms = losses(module, equi, half(g, "y", "equi"), g["z_rot"], parts, {})
    total = vicreg(inv, y, sim * (inv - y).square().mean(), std, cov) + torch.stack([*terms.values()]).sum()
    total.backward()
    same(total, g["vicreg_equimod__loss"], 1e-11)
    same(x.grad, g["vicreg_equimod__grad_e_x"], 1e-11)


def vicreg(x: Tensor, y: Tensor, invariance: Tensor, std: float, cov: float) -> Tensor:
    hinge = (variance_loss(x) + variance_loss(y)) / 2
    return invariance + std * hinge + cov * (covariance_loss(x) + covariance_loss(y))
