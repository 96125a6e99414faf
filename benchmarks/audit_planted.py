"""Does the audit rank encoders correctly whose content is known?

    uv run python benchmarks/audit_planted.py [--images 300] [--data DIR]

Eight encoders without training: pixels, channel means, a grey thumbnail, means over rings around the centre,
pixels averaged over quarter turns or over mirror images, pixels of which brightness was erased linearly, and
one unit among 512 that says how bright an image is. What each can know follows from how it is made; the
checks are listed below the table, and the exit status is 1 if one of them fails.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from equissl.data.base import Dataset
from equissl.data.folder import open_data
from equissl.data.solids import Solids
from equissl.distributed import limit_threads
from equissl.encoder.encoder import Encoder
from equissl.evaluate.audit.factors import audited
from equissl.evaluate.audit.joint import JointEncoder, Passes
from equissl.evaluate.audit.readouts.interval import resample_weights
from equissl.evaluate.audit.readouts.readout import Readout, Views, read_factors
from equissl.evaluate.audit.references import Luminance, Pixels, luminance

SIDE = 32
AUDITS = ("horizontal_flip", "quarter_turns", "rotation", "hue", "brightness", "blur")


class ChannelMeans(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3))


class Rings(nn.Module):
    """Mean of each channel over rings around the centre: the same however an image is turned or mirrored."""

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        y, x = (torch.arange(n) - (n - 1) / 2 for n in (height, width))
        ring = (2 * (y[:, None] ** 2 + x**2).sqrt() / min(height, width) * 6).long()
        masks = torch.stack([(ring == k).float() / (ring == k).sum() for k in range(6)])
        return torch.einsum("bchw,khw->bck", images, masks).flatten(1)


class TurnAveraged(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return torch.stack([Pixels()(torch.rot90(images, k, (2, 3))) for k in range(4)]).mean(0)


class MirrorAveraged(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return (Pixels()(images) + Pixels()(images.flip(3))) / 2


class BrightnessErased(nn.Module):
    """Pixels less the mean image's direction, along which brightness moves them on average."""

    def __init__(self, images: Tensor):
        super().__init__()
        direction = Pixels()(images).mean(0)
        self.register_buffer("direction", direction / direction.norm())

    def forward(self, images: Tensor) -> Tensor:
        x = Pixels()(images)
        return x - (x @ self.direction)[:, None] * self.direction


class OneUnit(nn.Module):
    """How bright an image is, among 511 numbers that depend on its pixels like a hash."""

    def forward(self, images: Tensor) -> Tensor:
        seeds = (images.double().flatten(1) * torch.arange(1, images[0].numel() + 1)).sum(1) * 1e4
        noise = (seeds[:, None] * torch.arange(1, 512).sqrt()).sin().float()
        return torch.cat([luminance(images).mean((1, 2, 3))[:, None], noise], 1)


@dataclass(frozen=True)
class Check:
    """What must hold for an encoder and a factor: above or below a score, or above another encoder's.

    Args:
        above, below: scores.
        over: another encoder, which is to be exceeded by ``margin``.
        probe: whose score is meant; the chosen one if empty.
    """

    encoder: str
    factor: str
    above: float = -float("inf")
    below: float = float("inf")
    over: str = ""
    margin: float = 0.1
    probe: str = ""


CHANCE = 0.07  # above chance at most
CHECKS = (
    Check("pixels", "hue", over="grey"),
    Check("channel means", "hue", over="grey"),
    Check("rings", "hue", over="grey"),
    Check("pixels", "rotation", over="rings"),
    Check("rings", "rotation", below=CHANCE),
    Check("channel means", "rotation", below=CHANCE),
    Check("one unit of 512", "rotation", below=CHANCE),
    Check("one unit of 512", "hue", below=CHANCE + 0.1),  # hue changes luminance
    Check("pixels", "horizontal_flip", over="mirror-averaged"),
    Check("mirror-averaged", "horizontal_flip", below=0.5 + CHANCE),
    Check("rings", "horizontal_flip", below=0.5 + CHANCE),
    Check("channel means", "horizontal_flip", below=0.5 + CHANCE),
    Check("pixels", "quarter_turns", over="turn-averaged"),
    Check("turn-averaged", "quarter_turns", below=0.25 + CHANCE),
    Check("rings", "quarter_turns", below=0.25 + CHANCE),
    Check("channel means", "blur_sigma", below=CHANCE),
    Check("one unit of 512", "brightness", above=0.6),
    Check("brightness erased", "brightness", above=0.5),
    Check("brightness erased", "brightness", below=0.3, probe="linear"),
    Check("pixels", "brightness", above=0.5, probe="linear"),
)


def encoders(images: Tensor) -> Mapping[str, nn.Module]:
    """The planted encoders; one is made from images (B, C, H, W) in [0, 1]."""
    return {
        "pixels": Pixels(),
        "channel means": ChannelMeans(),
        "grey": Luminance(),
        "rings": Rings(),
        "turn-averaged": TurnAveraged(),
        "mirror-averaged": MirrorAveraged(),
        "brightness erased": BrightnessErased(images),
        "one unit of 512": OneUnit(),
    }


def read(dataset: Dataset, count: int, draws: int = 2) -> dict[str, dict[str, Readout]]:
    """Encoder -> factor -> what was read of ``count`` images."""
    index = torch.arange(count)
    images = dataset.batch(index).images["image"].float() / 255
    black, unit = (0.0,) * 3, (1.0,) * 3
    joint = JointEncoder(
        {n: Encoder(e, mean=black, std=unit, probe=(3, SIDE, SIDE)) for n, e in encoders(images).items()}
    )
    passes = Passes(dataset, "image", 0, 256, "cpu")
    weights = resample_weights(dataset.groups[index])
    found: dict[str, dict[str, Readout]] = {name: {} for name in joint.names}
    for name in AUDITS:
        item = audited(name)
        plain = passes.features(joint, index, item.source, draws)
        changed = [passes.features(joint, index, item.augment, k) for k in range(draws)]
        views = Views.of(plain, changed, item.factors)
        for encoder in joint.names:
            for readout in read_factors(views.of_part(f"{encoder}/all"), weights, control=False):
                found[encoder][readout.factor.name] = readout
    return found


def failures(found: Mapping[str, Mapping[str, Readout]]) -> list[str]:
    """Which checks fail, in words."""
    said = []
    for check in CHECKS:
        readout = found[check.encoder][check.factor]
        value = readout.probes[check.probe] if check.probe else readout.score.value
        above = check.above
        if check.over:
            above = found[check.over][check.factor].score.value + check.margin
        if not above <= value <= check.below:
            said.append(f"{check}: {value:.3f}")
    return said


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--data", type=Path, help="folder of images; Solids if absent")
    args = parser.parse_args()
    limit_threads()
    if args.data:
        dataset = open_data(args.data, SIDE).open_all()
    else:
        dataset = Solids(size=SIDE, objects=args.images, views=1).open_all()
    found = read(dataset, args.images)
    factors = list(next(iter(found.values())))
    print("| encoder | " + " | ".join(factors) + " |\n|" + "---|" * (len(factors) + 1))
    for encoder, readouts in found.items():
        print(f"| {encoder} | " + " | ".join(f"{readouts[f].score.value:.2f}" for f in factors) + " |")
    failed = failures(found)
    print(f"\n{len(CHECKS) - len(failed)} of {len(CHECKS)} checks hold", *failed, sep="\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
