"""Features in bfloat16 and in channels-last memory, against float32: how much faster, and how far they move.

    uv run python benchmarks/inference.py [MODEL ...] [--images N] [--rounds N]

MODEL is a name as ``equissl audit`` takes it, timm/resnet18 (random weights) or a run folder. Images are of
the Solids. "moved": root mean square of the difference in a column over the column's standard deviation
between images, the median column and the worst of ten.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from arguments import at_least, in_words
from torch import Tensor

from equissl.data.solids import Solids
from equissl.encoder.modes import channels_last, eval_mode
from equissl.runs.load import load_encoder

MODELS = ("timm/resnet18", "timm/resnet50", "timm/convnext_tiny", "timm/vit_tiny_patch16_224")


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def moved(exact: Tensor, other: Tensor) -> tuple[float, float]:
    """Of the columns (N, D) that vary: the median one, and the ninth of ten."""
    spread = exact.std(0)
    varying = spread > 1e-6 * spread.max()
    sizes = ((exact - other).square().mean(0).sqrt() / spread)[varying]
    return float(sizes.median()), float(sizes.quantile(0.9))


def row(name: str, count: int, rounds: int) -> str:
    loaded = load_encoder(name)
    encoder, size = loaded.encoder, loaded.config.size
    images = (
        Solids(size=size, objects=count, views=1).open("train").batch(torch.arange(count)).images["image"]
    )
    images = images.float() / 255

    def plain() -> Tensor:
        features: Tensor = encoder(images).vector
        return features.float()

    def half() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return plain()

    gains: dict[str, list[float]] = {"channels-last": [], "bfloat16": []}
    with eval_mode(encoder), torch.inference_mode():
        exact = plain()
        with channels_last(encoder):
            found = {"channels-last": plain(), "bfloat16": half()}
        for _ in range(rounds):
            contiguous = seconds(plain)
            with channels_last(encoder):
                gains["channels-last"].append(contiguous / seconds(plain))
                gains["bfloat16"].append(contiguous / seconds(half))
    cells = [name, str(size)]
    for way, features in found.items():
        middle, high = moved(exact, features)
        cells += [f"{statistics.median(gains[way]):.2f}", f"{100 * middle:.2g} %", f"{100 * high:.2g} %"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--images", type=at_least(2), default=32, help="in one batch (default 32)")
    parser.add_argument("--rounds", type=at_least(1), default=5, help="of all ways in turn (default 5)")
    options = parser.parse_args()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {options.images} images\n")
    ways = " | ".join(f"{way}: times as fast | moved | of ten" for way in ("channels-last", "bfloat16"))
    print(f"| model | px | {ways} |")
    print("|---|---|---|---|---|---|---|---|")
    for name in options.models:
        print(row(name, options.images, options.rounds), flush=True)


if __name__ == "__main__":
    in_words(main)
