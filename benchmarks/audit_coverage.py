"""How often the audit's 95 % intervals hold the expected score.

    uv run python benchmarks/audit_coverage.py [--repeats 1000] [--images 200] [--draws 1] [--data DIR]
        [--pairs NAME,...]

Features of a pool of 20 times as many images are computed once, plain and with the draws of each
augmentation. Each repeat takes other images of it, other folds and other noise, as an audit with another
seed would. The estimand is the mean score over all repeats; coverage is the fraction of intervals that hold
it, and width their mean width over 3.92 standard deviations of the scores, which no interval of this
coverage can be below for long.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from equissl.data.base import Dataset
from equissl.data.folder import open_data
from equissl.data.solids import Solids
from equissl.distributed import limit_threads
from equissl.encoder.encoder import Encoder
from equissl.encoder.untrained import untrained_copy
from equissl.evaluate.audit.factors import AUDITS, audited, factors_of
from equissl.evaluate.audit.readouts.interval import Resampled, resample_weights
from equissl.evaluate.audit.readouts.readout import Views, read_factors
from equissl.evaluate.audit.references import Luminance, Pixels
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.features import extract
from equissl.progress import Display, Progress

SIDE = 32


class Noise(nn.Module):
    """64 numbers that depend on the pixels like a hash does, so that nothing can be read from them."""

    def forward(self, images: Tensor) -> Tensor:
        seeds = (images.double().flatten(1) * torch.arange(1, images[0].numel() + 1)).sum(1) * 1e4
        return (seeds[:, None] * torch.arange(1, 65).sqrt()).sin().float()


def _timm(name: str, **options: object) -> Callable[[], nn.Module]:
    return lambda: timm.create_model(name, num_classes=0, **options)


ENCODERS: Mapping[str, Callable[[], nn.Module]] = {
    "noise": Noise,
    "luminance": Luminance,
    "pixels": Pixels,
    "resnet10t-32": _timm("resnet10t", channels=(8, 16, 24, 32), stem_width=8),
    "resnet18": _timm("resnet18"),
    "resnet50": _timm("resnet50"),
}
PAIRS = (
    ("noise", "hue"),
    ("luminance", "rotation"),
    ("pixels", "hue"),
    ("pixels", "brightness"),
    ("pixels", "horizontal_flip"),
    ("resnet10t-32", "hue"),
    ("resnet10t-32", "rotation"),
    ("resnet18", "blur_sigma"),
    ("resnet50", "hue"),
)


@dataclass(frozen=True)
class Pool:
    """Features of all images of one encoder: of each audit by name, plain and all draws."""

    plain: Mapping[str, FeatureTable]
    changed: Mapping[str, Sequence[FeatureTable]]


def audit_of(factor: str) -> str:
    return next(name for name in AUDITS if factor in factors_of(name))


def pool(name: str, dataset: Dataset, audits: set[str], draws: int, progress: Progress) -> Pool:
    torch.manual_seed(0)
    encoder = Encoder(ENCODERS[name](), mean=(0.0,) * 3, std=(1.0,) * 3, probe=(3, SIDE, SIDE))
    if any(p.requires_grad for p in encoder.parameters()):
        encoder = untrained_copy(encoder, dataset.batch(torch.arange(256)).images["image"].float() / 255)
    table = lambda **more: extract(encoder, dataset, dataset_params=False, progress=progress, **more)  # noqa: E731
    items = {a: audited(a) for a in sorted(audits)}
    changed = {a: [table(augment=i.augment, view_index=k) for k in range(draws)] for a, i in items.items()}
    return Pool({a: table(augment=i.source, view_index=draws) for a, i in items.items()}, changed)


def one_repeat(features: Pool, factor: str, count: int, seed: int) -> Resampled:
    plain = features.plain[audit_of(factor)]
    rows = torch.randperm(len(plain), generator=torch.Generator().manual_seed(seed))[:count]
    changed = [view[rows] for view in features.changed[audit_of(factor)]]
    plain = plain[rows]
    weights = resample_weights(plain.groups, seed=seed)
    (readout,) = read_factors(Views.of(plain, changed, [factor], seed=seed), weights, control=False)
    return readout.score


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--images", type=int, default=200, help="of each repeat (default 200)")
    parser.add_argument("--draws", type=int, default=1, help="of each augmentation in a repeat (default 1)")
    parser.add_argument("--data", type=Path, help="folder of images; Solids if absent")
    parser.add_argument("--pairs", default="", help="encoder/factor, separated by commas; all if absent")
    args = parser.parse_args()
    limit_threads()
    size = 20 * args.images
    if args.data:
        dataset = open_data(args.data, SIDE).open_all()
    else:
        dataset = Solids(size=SIDE, objects=size, views=1).open_all()
    pairs = [tuple(p.split("/")) for p in args.pairs.split(",")] if args.pairs else list(PAIRS)
    print(f"{args.images} images of {len(dataset)}, {args.repeats} repeats")
    print(f"{'features':14} {'factor':16} {'D':>5} {'mean':>6} {'sd':>6} {'covered':>8} {'width':>6}")
    for name in dict.fromkeys(p[0] for p in pairs):
        factors = [f for e, f in pairs if e == name]
        with Display() as display:
            features = pool(name, dataset, {audit_of(f) for f in factors}, args.draws, display)
        for factor in factors:
            found = [one_repeat(features, factor, args.images, k) for k in range(args.repeats)]
            scores = torch.tensor([s.value for s in found], dtype=torch.float64)
            ends = torch.tensor([[s.interval().low, s.interval().high] for s in found], dtype=torch.float64)
            mean, deviation = float(scores.mean()), float(scores.std())
            covered = float(((ends[:, 0] <= mean) & (mean <= ends[:, 1])).double().mean())
            width = float((ends[:, 1] - ends[:, 0]).mean()) / (3.92 * deviation)
            columns = next(iter(features.plain.values())).vectors.shape[1]
            line = f"{name:14} {factor:16} {columns:5} {mean:6.3f} {deviation:6.4f}"
            print(f"{line} {100 * covered:6.1f} % {width:6.2f}", flush=True)


if __name__ == "__main__":
    main()
