"""How often the audit claims something of a network that was never trained.

    uv run python benchmarks/audit_claims.py --data DIR [--images 200] [--sets 4] [--audits 8]

Of each of four architectures 12 networks with random weights (6 of ViT) are read from the same images, half
of them with running statistics of the images and half as they are built. One after the other stands for the
model, and four others, drawn at random, for its untrained copies. Whatever is then called kept or lost is a
false claim; the rule allows one in 5 % of audits for each of the two words.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import timm
import torch
from torch import Tensor, nn

from equissl.data.base import Dataset
from equissl.data.folder import open_data
from equissl.distributed import limit_threads
from equissl.encoder.encoder import Encoder
from equissl.encoder.untrained import calibrated, untrained_copy
from equissl.evaluate.audit.differences import Evidence
from equissl.evaluate.audit.factors import AUDITS, audited
from equissl.evaluate.audit.joint import JointEncoder, Passes
from equissl.evaluate.audit.readouts.interval import resample_weights
from equissl.evaluate.audit.readouts.readout import Readout, Views, read_factors
from equissl.evaluate.audit.references import ImageStatistics, Pixels
from equissl.evaluate.audit.verdict import verdicts
from equissl.evaluate.features import plain_images
from equissl.random import shuffled

SIDE, NETWORKS, RESAMPLES = 32, 6, 400
_SOURCE_VIEW = 1_000_000
_VIT = {"img_size": SIDE, "patch_size": 8, "depth": 4, "embed_dim": 64, "num_heads": 2}
_THIN = {"channels": (8, 16, 24, 32), "stem_width": 8}
ARCHITECTURES: Mapping[str, Callable[[], nn.Module]] = {
    "thin resnet10t": lambda: timm.create_model("resnet10t", num_classes=0, **_THIN),
    "mobilenetv3": lambda: timm.create_model("mobilenetv3_small_050", num_classes=0),
    "vit": lambda: timm.create_model("vit_tiny_patch16_224", num_classes=0, **_VIT),
    "resnet18": lambda: timm.create_model("resnet18", num_classes=0),
}
Read = Mapping[str, Mapping[str, Readout]]  # row -> factor -> what was read


def read(architecture: str, dataset: Dataset, index: Tensor, number: int) -> Read:
    """What is read from all networks and the references, of the images ``index``."""
    images = plain_images(dataset, index, "image", "cpu")
    torch.manual_seed(0)
    base = _encoder(ARCHITECTURES[architecture](), 0.5)
    networks = {"statistics": _encoder(ImageStatistics()), "pixels": _encoder(Pixels())}
    for k in range(NETWORKS):
        networks[f"calibrated {k}"] = untrained_copy(base, images, 100 * number + k)
        if not all(calibrated(base, 2)):
            networks[f"built {k}"] = untrained_copy(base, images, 100 * number + 50 + k, calibrate=False)
    joint, passes = JointEncoder(networks), Passes(dataset, "image", 0, 32, "cpu")
    weights = resample_weights(dataset.groups[index], RESAMPLES)
    found: dict[str, dict[str, Readout]] = {name: {} for name in networks}
    for name in AUDITS:
        item = audited(name)
        plain = passes.features(joint, index, item.source, _SOURCE_VIEW)
        views = Views.of(plain, [passes.features(joint, index, item.augment)], item.factors)
        for row in networks:
            for readout in read_factors(views.of_part(f"{row}/all"), weights, control=False):
                found[row][readout.factor.name] = readout
    return found


def audits(found: Read, count: int) -> Iterator[dict[str, Evidence]]:
    """Evidence of audits in which one of the networks stands for the model."""
    drawn = random.Random(0)
    kinds = [[n for n in found if n.startswith(kind)] for kind in ("calibrated", "built")]
    kinds = [kind for kind in kinds if kind]
    for _ in range(count):
        model = drawn.choice([n for kind in kinds for n in kind])
        families = [drawn.sample([n for n in kind if n != model], 4 // len(kinds)) for kind in kinds]
        yield {
            factor: Evidence(
                own.score,
                [[found[n][factor].score for n in family] for family in families],
                found["statistics"][factor].score,
                [found["pixels"][factor].score],
                own.chance,
            )
            for factor, own in found[model].items()
        }


def _encoder(backbone: nn.Module, half: float = 0.0) -> Encoder:
    return Encoder(backbone, mean=(half,) * 3, std=(half or 1.0,) * 3, probe=(3, SIDE, SIDE))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of images")
    parser.add_argument("--images", type=int, default=200, help="of each audit (default 200)")
    parser.add_argument("--sets", type=int, default=4, help="of images (default 4)")
    parser.add_argument("--audits", type=int, default=8, help="of each set (default 8)")
    args = parser.parse_args()
    limit_threads()
    dataset = open_data(args.data, SIDE).open_all()
    order = shuffled(len(dataset), 0, "claims")
    total: Counter[str] = Counter()
    for architecture in ARCHITECTURES:
        for number in range(args.sets):
            index = order[number * args.images : (number + 1) * args.images].sort().values
            for evidence in audits(read(architecture, dataset, index, number), args.audits):
                words = [v.word for v in verdicts(evidence).values()]
                total.update(words)
                total["audits"] += 1
                total["factors"] += len(words)
                total["false"] += any(w in ("kept", "lost") for w in words)
            print(f"{architecture} {number}: {total['false']} of {total['audits']} audits", flush=True)
    for word in ("kept", "lost", "as untrained", "as image statistics", "not readable", "undecided"):
        print(f"{word:20} {100 * total[word] / total['factors']:5.1f} % of {total['factors']} factors")


if __name__ == "__main__":
    main()
