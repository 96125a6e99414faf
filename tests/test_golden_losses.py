"""Losses, the momentum encoder, LARS and AugSelf against the outputs of the original code."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from golden_files import golden
from torch import Tensor, nn

from equissl.equivariance._parameter_targets import (
    CropDifference,
    FactorDifference,
    ParameterDifference,
    SameValue,
)
from equissl.invariance.barlow_twins import barlow_twins_terms
from equissl.invariance.byol import byol_loss
from equissl.invariance.simsiam import simsiam_loss
from equissl.invariance.vicreg import vicreg_terms
from equissl.losses.contrastive import info_nce, nt_xent
from equissl.losses.similarity import negative_cosine
from equissl.nn.ema import ema_momentum
from equissl.params import Binary, Circular, Cyclic, Params, Real, Space
from equissl.training.optim import LARSOptimizer, WarmupCosine

pytestmark = pytest.mark.golden


def read(path: Path) -> dict[str, Tensor]:
    with np.load(path) as file:
        return {k: torch.from_numpy(np.array(file[k])) for k in file.files if file[k].dtype.kind in "fiu"}


def leaf(x: Tensor) -> Tensor:
    return x.clone().requires_grad_()


def same(found: Tensor, wanted: Tensor, atol: float = 1e-12) -> None:
    torch.testing.assert_close(found.detach(), wanted, atol=atol, rtol=0)


@pytest.mark.parametrize("path", golden("equimod_simclr_loss"), ids=lambda p: p.stem)
def test_simclr_and_equimod(path: Path) -> None:
    g = read(path)
    totals = {}
    for name, recipe in (("tau0p5", "cifar10"), ("tau0p2", "imagenet")):
        z = leaf(g["z"])
        loss = nt_xent(*z.chunk(2), float(g[f"temperature_z_{recipe}"]))
        loss.backward()
        same(loss, g[f"loss_inv_{name}"])
        same(z.grad, g[f"grad_z_{name}"])
        totals[recipe] = loss.detach()
    view, predicted = leaf(g["y_view"]), leaf(g["y_pred"])
    loss = nt_xent(view, predicted, float(g["temperature_y"]))
    loss.backward()
    same(loss, g["loss_equi_tau0p2"])
    same(view.grad, g["grad_y_view"])
    same(predicted.grad, g["grad_y_pred"])
    for recipe, base in totals.items():
        same(base + g["lmbd"] * loss, g[f"loss_total_{recipe}"])


@pytest.mark.parametrize("path", golden("equimod_simclr_loss"), ids=lambda p: p.stem)
def test_single_precision(path: Path) -> None:
    g = read(path)
    z = g["z"].float()
    same(nt_xent(*z.chunk(2), 0.5), g["loss_inv_tau0p5_float32"], atol=2e-6)
    same(nt_xent(g["y_view"].float(), g["y_pred"].float(), 0.2), g["loss_equi_tau0p2_float32"], atol=2e-6)


@pytest.mark.parametrize("path", golden("equimod_byol_loss"), ids=lambda p: p.stem)
def test_byol(path: Path) -> None:
    g = read(path)
    q = leaf(g["q"])
    (first, second), (one, two) = q.chunk(2), g["target_proj"].chunk(2)
    same(torch.cat([two, one]), g["target_proj_swapped"])
    loss = byol_loss(first, two) + byol_loss(second, one)
    loss.backward()
    same(loss, g["loss_inv"])
    same(q.grad, g["grad_q"])
    equi = nt_xent(g["y_view"], g["y_pred"], float(g["temperature_y"]))
    same(equi, g["loss_equi_tau0p2"])
    same(loss + g["lmbd"] * equi, g["loss_total"])


@pytest.mark.parametrize("path", golden("equimod_byol_loss"), ids=lambda p: p.stem)
def test_momentum_encoder(path: Path) -> None:
    g = read(path)
    total = int(g["ema_total_steps"])
    momenta = [ema_momentum(float(g["ema_tau_base"]), k / total) for k in range(len(g["ema_tau"]))]
    same(torch.tensor(momenta, dtype=torch.float64), g["ema_tau"])
    for name in ("trunk_weight", "bn_weight", "bn_bias", "proj_weight", "proj_bias"):
        target = g[f"ema_init_{name}"].clone()
        for k, momentum in enumerate(momenta):
            torch._foreach_lerp_([target], [g[f"ema_online_{name}"][k]], 1 - momentum)
            same(target, g[f"ema_target_after_{name}"][k])


@pytest.mark.parametrize("run", ["official", "strongwd"])
@pytest.mark.parametrize("path", golden("lars"), ids=lambda p: p.stem)
def test_lars(path: Path, run: str) -> None:
    g = read(path)
    names = [k.removeprefix("init_") for k in g if k.startswith("init_")]
    parameters = {n: nn.Parameter(g[f"init_{n}"].clone()) for n in names}
    decay = float(g[f"{run}_weight_decay"])
    groups = [
        {"params": [p for n, p in parameters.items() if p.dim() > 1], "matrix": True, "weight_decay": decay},
        {"params": [p for n, p in parameters.items() if p.dim() == 1], "matrix": False, "weight_decay": 0.0},
    ]
    optimizer = LARSOptimizer(groups, 1.0, float(g["momentum"]), float(g["eta"]))
    for step, rate in enumerate(g[f"{run}_lr"].tolist()):
        for group in optimizer.param_groups:
            group["lr"] = rate
        for name, parameter in parameters.items():
            parameter.grad = g[f"grads_{name}"][step].clone()
        optimizer.step()
        for name, parameter in parameters.items():
            same(parameter, g[f"{run}_after_{name}"][step])
            same(optimizer.state[parameter]["buffer"], g[f"{run}_buffer_{name}"][step])


@pytest.mark.parametrize("schedule", ["a", "b"])
@pytest.mark.parametrize("path", golden("lars"), ids=lambda p: p.stem)
def test_schedule(path: Path, schedule: str) -> None:
    g = read(path)
    facts = {
        k: g[f"schedule_{schedule}_{k}"] for k in ("epochs", "warmup_epochs", "steps_per_epoch", "peak_lr")
    }
    peak, per_epoch = float(facts["peak_lr"]), int(facts["steps_per_epoch"])
    total = int(facts["epochs"]) * per_epoch
    config = WarmupCosine(warmup_epochs=int(facts["warmup_epochs"]))
    rates = torch.tensor([config.lr_at(s, peak, total, per_epoch) for s in range(total)], dtype=torch.float64)
    same(rates, g[f"schedule_{schedule}_lr"], atol=1e-12 * peak)


@pytest.mark.parametrize("path", golden("peers"), ids=lambda p: p.stem)
def test_peers(path: Path) -> None:
    """lightly's losses, all but DCL(W), which is no base of ours."""
    g = read(path)

    def vicreg(a: Tensor, b: Tensor, both: float) -> Tensor:
        t = vicreg_terms(a, b)
        return both * (t["invariance"] + t["variance"]) + t["covariance"]

    def barlow_twins(a: Tensor, b: Tensor, weight: float) -> Tensor:
        t = barlow_twins_terms(a, b)
        return t["diagonal"] + weight * t["off_diagonal"]

    cases = {
        "vicreg_25_25_1": lambda a, b: vicreg(a, b, 25.0),
        "vicreg_10_10_1": lambda a, b: vicreg(a, b, 10.0),
        "barlow_0p005": lambda a, b: barlow_twins(a, b, 0.005),
        "barlow_0p0051": lambda a, b: barlow_twins(a, b, 0.0051),
        "ntxent_tau0p5": lambda a, b: nt_xent(a, b, 0.5),
        "ntxent_tau0p1": lambda a, b: nt_xent(a, b, 0.1),
        "negative_cosine": negative_cosine,
    }
    for name, loss_of in cases.items():
        a, b = leaf(g["z_a"]), leaf(g["z_b"])
        loss = loss_of(a, b)
        loss.backward()
        atol = 1e-11 if name.startswith("vicreg") else 1e-12
        same(loss, g[f"{name}__loss"], atol)
        same(a.grad, g[f"{name}__grad_a"], atol)
        same(b.grad, g[f"{name}__grad_b"], atol)
    terms = vicreg_terms(g["z_a"], g["z_b"])
    same(terms["invariance"], g["vicreg_terms__invariance"])
    for term, share in (("variance", 0.5), ("covariance", 1.0)):
        parts = g[f"vicreg_terms__{term}_a"] + g[f"vicreg_terms__{term}_b"]
        same(terms[term], share * parts, 1e-11)


@pytest.mark.parametrize("path", golden("essl"), ids=lambda p: p.stem)
def test_bases_of_essl(path: Path) -> None:
    """E-SSL's SimCLR ("other_view", also as two InfoNCEs), SimSiam and Barlow Twins."""
    g = read(path)
    for loss_of in (
        lambda a, b, t: nt_xent(a, b, t, "other_view"),
        lambda a, b, t: (info_nce(a, b, t) + info_nce(b, a, t)) / 2,
    ):
        one, two = leaf(g["z1"]), leaf(g["z2"])
        loss = loss_of(one, two, float(g["simclr_temperature_cifar10"]))
        loss.backward()
        same(loss, g["simclr_loss"])
        same(one.grad, g["simclr_grad_z1"])
        same(two.grad, g["simclr_grad_z2"])
        temperature = float(g["simclr_temperature_imagenet"])
        same(loss_of(g["z1"], g["z2"], temperature), g["simclr_loss_imagenet"])
    one, two, target = leaf(g["simsiam_p1"]), leaf(g["simsiam_p2"]), leaf(g["z2"])
    loss = (simsiam_loss(one, target) + simsiam_loss(two, g["z1"])) / 2
    loss.backward()
    same(loss, g["simsiam_loss"])
    same(one.grad, g["simsiam_grad_p1"])
    same(two.grad, g["simsiam_grad_p2"])
    assert target.grad is None
    one = leaf(g["barlow_x1"])
    terms = barlow_twins_terms(one, g["barlow_x2"])
    loss = terms["diagonal"] + float(g["barlow_lambd"]) * terms["off_diagonal"]
    loss.backward()
    same(loss, g["barlow_loss"])
    same(one.grad, g["barlow_grad_x1"])


@pytest.mark.parametrize("path", golden("sie_baselines"), ids=lambda p: p.stem)
def test_bases_of_sie(path: Path) -> None:
    """SIE's VICReg (10, 10, 1) and SimCLR."""
    g = read(path)
    weights = {"invariance": g["sim_coeff"], "variance": g["std_coeff"], "covariance": g["cov_coeff"]}
    one = leaf(g["e_x"])
    terms = vicreg_terms(one, g["e_y"])
    loss = torch.stack([weights[k] * v for k, v in terms.items()]).sum()
    loss.backward()
    same(loss, g["vicreg__loss"], 1e-11)
    same(one.grad, g["vicreg__grad_e_x"], 1e-11)
    one = leaf(g["e_x"])
    loss = nt_xent(one, g["e_y"], float(g["temperature"]))
    loss.backward()
    same(loss, g["simclr__loss"], 1e-11)
    same(one.grad, g["simclr__grad_e_x"], 1e-11)


CROP = tuple(
    Real(n, neutral_value=r)
    for n, r in (("crop_top", 0), ("crop_left", 0), ("crop_height", 1), ("crop_width", 1))
)
COLOUR = (
    *(Real(n, neutral_value=1.0) for n in ("brightness", "contrast", "saturation")),
    Circular("hue", period=1.0),
)
OTHERS = {
    "blur_sigma": Real("blur_sigma"),
    "rot_quarter_turns": Cyclic("quarter_turns", order=4),
    "sol_threshold": Real("solarize_threshold", neutral_value=1.0),
}


def augself_record(g: dict[str, Tensor], pipe: str, view: int) -> Params:
    """A view's parameters as our augmentations would have recorded them."""
    box = g[f"{pipe}__view{view}_crop_top_left_height_width_over_source"]
    factors = [*CROP, Binary("horizontal_flip"), *COLOUR]
    columns = [*box.unbind(1), g[f"{pipe}__view{view}_flip"]]
    columns += [g[f"{pipe}__view{view}_{f.name}"] for f in COLOUR]
    for key, factor in OTHERS.items():
        if f"{pipe}__view{view}_{key}" in g:
            factors.append(factor)
            columns.append(g[f"{pipe}__view{view}_{key}"])
    values = {f.name: c.float()[:, None] for f, c in zip(factors, columns, strict=True)}
    return Params.of(Space(tuple(factors)), values)


@pytest.mark.parametrize("pipe", ["rotpipe", "solpipe"])
@pytest.mark.parametrize("path", golden("augself"), ids=lambda p: p.stem)
def test_augself(path: Path, pipe: str) -> None:
    """Targets, losses and gradients in AugSelf's conventions (``mirror="first"``, raw blur).

    Deviation: AugSelf's solarize target has shape (2B,) against outputs (2B, 1) and broadcasts; ours
    does not, so its loss is compared with the mean square against the target's own rows instead.
    """
    g = read(path)
    first, second = (augself_record(g, pipe, v) for v in (1, 2))
    spans = (
        g["jitter_ranges_brightness_contrast_saturation_hue"] @ torch.tensor([-1.0, 1.0]).double()
    ).tolist()
    targets = {
        "crop": CropDifference(mirror="first"),
        "color": ParameterDifference(("brightness", "contrast", "saturation", "hue"), tuple(spans)),
        "flip": SameValue("horizontal_flip"),
        "blur": ParameterDifference(("blur_sigma",), (1.0,)),
        "rot": FactorDifference(("quarter_turns",)),
    }
    total = torch.zeros(())
    outputs = {}
    for name, target in targets.items():
        key = f"{pipe}__head_output_{name}"
        if key not in g:
            continue
        outputs[name] = leaf(g[key])
        forth, back = outputs[name].chunk(2)
        loss = (target.loss(forth, first, second) + target.loss(back, second, first)) / 2
        same(loss, g[f"{pipe}__loss_{name}"], atol=1e-6)
        total = total + float(g[f"{pipe}__weight_{name}"]) * loss
    for name in ("crop", "color"):
        forth = g[f"{pipe}__head_output_{name}"].chunk(2)[0]
        same(targets[name].loss(forth, first, second), g[f"{pipe}__onedirection_loss_{name}"], atol=1e-6)
        for key, a, b in (("target12", first, second), ("target21", second, first)):
            same(targets[name].difference(a, b), g[f"{pipe}__{key}_{name}"], atol=2e-7)  # type: ignore[attr-defined]
    total.backward()
    for name, output in outputs.items():
        same(output.grad, g[f"{pipe}__grad_head_output_{name}"], atol=1e-6)


@pytest.mark.parametrize("path", golden("augself"), ids=lambda p: p.stem)
def test_augself_solarize_and_own_mirror(path: Path) -> None:
    """The solarize target, and the antisymmetry that our default crop target has and the original's lacks."""
    g = read(path)
    first, second = (augself_record(g, "solpipe", v) for v in (1, 2))
    change = ParameterDifference(("solarize_threshold",), (1.0,))
    same(change.difference(first, second).squeeze(1), g["solpipe__target12_sol"], atol=2e-7)
    broadcast = g["solpipe__head_output_sol"].tanh()
    wanted = torch.cat([g["solpipe__target12_sol"], g["solpipe__target21_sol"]])
    same(
        F.mse_loss(broadcast.expand(-1, len(wanted)), wanted.expand(len(wanted), -1)),
        g["solpipe__loss_sol"],
        1e-6,
    )
    ours = CropDifference()
    same(ours.difference(first, second), -ours.difference(second, first), atol=1e-7)
