"""Training loops of SIE's table and of AugSelf in plain torch, written from a description of the originals.

They share no code with the package: a head is called once per view, losses are spelled out, and the optimizer
is torch's. Each reads the initial weights of a package's model and the views of every step.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.model import Model
from equissl.views import View

Views = Sequence[Mapping[str, View]]
Trunk = Callable[[Tensor], Tensor]
XYZW = [1, 2, 3, 0]  # columns of (w, x, y, z) as the originals order them


def mlp(theirs: nn.Module, norm: bool = True, last_bias: bool = False) -> nn.Sequential:
    """Linear - BatchNorm - ReLU blocks, then Linear, with the given weights; without ``norm`` with biases.

    Raises:
        ValueError: the given layers have other parameters than these.
    """
    given = list(theirs.parameters())
    widths = [given[0].shape[1], *(p.shape[0] for p in given if p.dim() == 2)]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths[:-1]):
        layers += [nn.Linear(a, b, bias=not norm), *([nn.BatchNorm1d(b)] if norm else []), nn.ReLU()]
    head = nn.Sequential(*layers, nn.Linear(widths[-2], widths[-1], bias=last_bias)).double()
    with torch.no_grad():
        for ours, initial in zip(head.parameters(), given, strict=True):
            ours.copy_(initial)
    return head


def trunk_of(model: Model) -> tuple[nn.Module, Trunk]:
    """A copy of the backbone, and the backbone after the normalisation of images."""
    backbone = copy.deepcopy(model.encoder.backbone)
    mean, std = (model.encoder.get_buffer(n).clone() for n in ("mean", "std"))
    return backbone, lambda images: backbone((images - mean) / std)


def nt_xent(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    z = F.normalize(torch.cat([a, b]), dim=1)
    scores = (z @ z.T / temperature).masked_fill(torch.eye(len(z), dtype=torch.bool), -math.inf)
    return F.cross_entropy(scores, torch.arange(len(z)).roll(len(a)))


def steps(
    parameters: list[nn.Parameter], build: Callable[..., torch.optim.Optimizer]
) -> Callable[..., float]:
    optimizer = build(parameters)

    def step(loss: Tensor, lr: float) -> float:
        optimizer.zero_grad()
        loss.backward()
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        return float(loss.detach())

    return step


# --- SIE and the rows of its table ------------------------------------------------------------------------


def relative(x: View, y: View, hues: bool) -> Tensor:
    """conj(q_x) q_y as (x, y, z, w), its sign as it comes; differences of both hues, not wrapped."""
    p, q = x.params.values["pose"], y.params.values["pose"]
    w, v = p[:, :1], -p[:, 1:]
    scalar = w * q[:, :1] - (v * q[:, 1:]).sum(1, keepdim=True)
    vector = w * q[:, 1:] + q[:, :1] * v + torch.linalg.cross(v, q[:, 1:])
    change = [y.params.values[n] - x.params.values[n] for n in ("floor_hue", "light_hue") if hues]
    return torch.cat([vector, scalar, *change], 1)


def hypernetwork(weights: Tensor) -> nn.Linear:
    """Linear, without bias, from z to the numbers of a matrix (out, in)."""
    k, width, _ = weights.shape
    made = nn.Linear(k, width * width, bias=False).double()
    with torch.no_grad():
        made.weight.copy_(weights[[*XYZW, *range(4, k)]].permute(2, 1, 0).reshape(width * width, k))
    return made


class Predictor(nn.Module):
    """The changed image's embedding: M(z) e by a hypernetwork, or one linear layer on [z, e]."""

    def __init__(self, theirs: nn.Module):
        super().__init__()
        weights = next(theirs.parameters()).detach()
        self.hyper = weights.dim() == 3
        if self.hyper:
            self.layer = hypernetwork(weights)
            return
        self.layer = nn.Linear(weights.shape[1], weights.shape[0]).double()
        width = weights.shape[0]
        order = [*XYZW, *range(4, 4 + width)]
        with torch.no_grad():
            self.layer.weight.copy_(weights[:, order])
            self.layer.bias.copy_(list(theirs.parameters())[1])

    def forward(self, e: Tensor, z: Tensor) -> Tensor:
        if not self.hyper:
            return self.layer(torch.cat([z, e], 1))
        matrix = self.layer(z).view(len(e), e.shape[1], e.shape[1])
        return (matrix @ e[:, :, None])[:, :, 0]


def sie_table(name: str, model: Model, views: Views) -> Iterator[float]:
    """Adam at a constant 1e-3 with decay 1e-6 on all; temperature 0.1; weights 10, 4.5, 10, 10, 1."""
    backbone, f = trunk_of(model)
    module = next(iter(model.modules_by_name.values()), None)
    made: dict[str, nn.Module] = {"backbone": backbone}
    if model.base is not None:
        made["inv"] = mlp(model.base.projector)
    if name == "simclr_augself":
        head = mlp(module.heads["change"], norm=False, last_bias=True)
        with torch.no_grad():
            for parameter in (head[-1].weight, head[-1].bias):
                parameter.copy_(parameter[XYZW].clone())
        made["head"] = head
    elif module is not None:
        made |= {"equi": mlp(module.projector), "predictor": Predictor(module.predictor)}
    parameters = [p for m in made.values() for p in m.parameters()]
    step = steps(parameters, lambda p: torch.optim.Adam(p, 1e-3, weight_decay=1e-6))
    for batch in views:
        x, y = batch["a"], batch["b"]
        z = relative(x, y, "color" in name)
        rx, ry = f(x.images), f(y.images)
        if name.startswith("sie"):
            loss = sie_loss(made, rx, ry, z, variance="without" not in name)
        else:
            loss = torch.zeros(())
            if "inv" in made:
                loss = loss + nt_xent(made["inv"](rx), made["inv"](ry), 0.1)
            if "head" in made:
                loss = loss + F.mse_loss(made["head"](torch.cat([rx, ry], 1)), z)
            if "equi" in made:
                ex, ey = made["equi"](rx), made["equi"](ry)
                loss = loss + nt_xent(made["predictor"](ex, z), ey, 0.1)
        yield step(loss, 1e-3)


def sie_loss(made: Mapping[str, nn.Module], rx: Tensor, ry: Tensor, z: Tensor, variance: bool) -> Tensor:
    half = rx.shape[1] // 2
    inv = [made["inv"](r[:, :half]) for r in (rx, ry)]
    equi = [made["equi"](r[:, half:]) for r in (rx, ry)]
    predicted = made["predictor"](equi[0], z)
    both = [torch.cat(pair, 1) for pair in zip(inv, equi, strict=True)]
    loss = 10 * F.mse_loss(*inv) + 4.5 * F.mse_loss(predicted, equi[1])
    for e in both:
        centred = e - e.mean(0)
        covariance = centred.T @ centred / (len(e) - 1)
        off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
        loss = loss + 10 * hinge(e) / 2 + off_diagonal / e.shape[1]
    return loss + 10 * hinge(predicted) / 2 if variance else loss


def hinge(e: Tensor) -> Tensor:
    return F.relu(1 - (e.var(0) + 1e-4).sqrt()).mean()


# --- AugSelf ----------------------------------------------------------------------------------------------


def augself(model: Model, views: Views, epochs: int) -> Iterator[float]:
    """SimCLR at 0.2 and both heads; SGD at 0.03, momentum 0.9, decay 5e-4, cosine by the epoch."""
    backbone, f = trunk_of(model)
    projector = mlp(model.base.projector, last_bias=True)
    module = model.modules_by_name["augself"]
    heads = {n: mlp(module.heads[n], last_bias=True) for n in ("crop", "color")}
    made = [backbone, projector, *heads.values()]
    parameters = [p for m in made for p in m.parameters()]
    step = steps(parameters, lambda p: torch.optim.SGD(p, 0.03, momentum=0.9, weight_decay=5e-4))
    for number, batch in enumerate(views):
        one, two = batch["a"], batch["b"]
        y1, y2 = f(one.images), f(two.images)
        loss = nt_xent(projector(y1), projector(y2), 0.2)
        both = torch.cat([torch.cat([y1, y2], 1), torch.cat([y2, y1], 1)])
        for name, difference in (("crop", crop_difference), ("color", color_difference)):
            wanted = torch.cat([difference(one, two), difference(two, one)])
            loss = loss + F.mse_loss(heads[name](both).tanh(), wanted)
        epoch = number * epochs // len(views)
        yield step(loss, 0.03 * (1 + math.cos(math.pi * epoch / epochs)) / 2)


def crop_difference(first: View, second: View) -> Tensor:
    """Centres and sizes in fractions; both centres are mirrored if the first view is flipped."""
    flipped = first.params.values["horizontal_flip"] > 0.5
    boxes = []
    for view in (first, second):
        top, left, height, width = (
            view.params.values[f"crop_{n}"] for n in ("top", "left", "height", "width")
        )
        x = left + width / 2
        boxes.append(torch.cat([top + height / 2, torch.where(flipped, 1 - x, x), height, width], 1))
    return boxes[0] - boxes[1]


def color_difference(first: View, second: View) -> Tensor:
    """Of the jitter's factors, over the width of their ranges."""
    names = {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2}
    return torch.cat([(first.params.values[n] - second.params.values[n]) / w for n, w in names.items()], 1)
