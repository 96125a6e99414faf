"""Any ``torchvision.transforms.v2`` transform as an augmentation that records and replays."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import v2

from equissl.augment.base import Augmentation
from equissl.augment.moments import REFERENCE_SIZE, Moments, params_moments, reference_stream
from equissl.augment.torchvision.seeding import unseeded_part
from equissl.augment.torchvision.tracing import PROBES, Trace, describe, leaves, numbers, running
from equissl.augment.validation import check_at_least
from equissl.params import Binary, Factor, Params, Seed, Space
from equissl.random import Stream

_MOMENT_SAMPLES = 1 << 14
_NUM_SEEDS = 1 << 24  # integers that float32 holds exactly


@dataclass(frozen=True)
class FromTorchvision(Augmentation):
    """Wrap a torchvision v2 transform (also ``Compose``, ``RandomApply``, ``RandomChoice``, ...).

    Each image gets a seed from its stream, and the transform runs on that image alone with the generators
    of torch, numpy and Python seeded by it; the seed is recorded, and a replay is bit for bit. The record
    also holds the parameters that the parts return from ``make_params``, under torchvision's names:
    "random_rotation_angle", "color_jitter_hue_factor", ... A part without parameters that may be skipped is
    a binary factor: "random_horizontal_flip". Randomness outside of ``make_params`` (``RandAugment``, noise)
    is covered by the seed alone.

    It is slow: one image at a time, twice (``sample`` runs the transform on an empty image), on the CPU.
    A record whose other numbers were changed is refused, since the seed decides. A recipe is plain data and
    cannot hold a module: there, write a frozen dataclass that makes the transform and passes the calls on.

    Args:
        transform: takes a (C, H, W) float image in [0, 1] and returns one, always of the same size.
        size: (H, W) of an image that the transform accepts, to find its parameters.
        channels: of the images.

    Raises:
        ValueError: it is no v2 transform, does not turn an image of ``size`` and ``channels`` into an image,
            or a part has randomness of its own (a generator, ``os.urandom``, a counter), so that the same
            seed gives another image.

    >>> import torch
    >>> from torchvision.transforms import v2
    >>> from equissl import augment
    >>> jitter = augment.FromTorchvision(v2.ColorJitter(hue=0.1), size=(8, 8))
    >>> jitter.space.names
    ('torchvision_seed', 'color_jitter_fn_idx', 'color_jitter_hue_factor')
    """

    stream_name: ClassVar[str] = "FromTorchvision"

    transform: v2.Transform
    size: tuple[int, int] = REFERENCE_SIZE
    channels: int = 3
    _factors: Mapping[str, tuple[Factor, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.transform, v2.Transform):
            raise ValueError(
                "FromTorchvision.transform must be a torchvision.transforms.v2.Transform, "
                f"got {type(self.transform).__name__}"
            )
        check_at_least("FromTorchvision.channels", self.channels, 1, 1024)
        image = torch.zeros(self.channels, *self.size)
        try:
            with running(self.transform) as run:
                runs = [run(image.clone(), seed) for seed in range(PROBES)]
        except Exception as error:  # whatever a foreign transform raises
            raise ValueError(
                f"FromTorchvision.transform fails on a float image {tuple(image.shape)}: {error}; "
                "set size=(height, width) and channels= to those of your images"
            ) from error
        shapes = {tuple(image.shape) for image, _ in runs}
        if len(shapes) != 1 or len(next(iter(shapes))) != 3:
            raise ValueError(
                f"FromTorchvision.transform must give images of one size, (C, h, w); got {sorted(shapes)}"
            )
        unseeded = unseeded_part(self.transform, (self.channels, *self.size))
        if unseeded:
            raise ValueError(
                f"FromTorchvision: {unseeded} gives another image with the same seed, so that its views "
                "could not be replayed: it draws from a generator of its own, from the operating system, or "
                "keeps a state between calls. Draw from torch, numpy.random or random directly (they are "
                "seeded for every image), or seed your generator in each call: "
                "numpy.random.default_rng(numpy.random.randint(2**31))"
            )
        traces = [trace for _, trace in runs]
        described = {
            name: describe(name, leaf, traces, image) for name, leaf in leaves(self.transform).items()
        }
        object.__setattr__(self, "_factors", described)

    @property
    def space(self) -> Space:
        return Space((Seed("torchvision_seed"), *(f for group in self._factors.values() for f in group)))

    def sample(self, stream: Stream, size: tuple[int, int]) -> Params:
        seeds = (stream.uniform("seed", 2) * _NUM_SEEDS).cpu()
        empty = torch.zeros(self.channels, *size)
        with running(self.transform) as run:
            rows = [self._row(run(empty, _join_seed(seed))[1]) for seed in seeds]
        values, applied = {"torchvision_seed": seeds}, {"torchvision_seed": torch.ones(len(seeds)).bool()}
        for leaf, group in self._factors.items():
            used = torch.tensor([leaf in row for row in rows], dtype=torch.bool)
            for factor in group:
                neutral = factor.neutral(1)[0]
                column = [row.get(leaf, {}).get(factor.name, neutral) for row in rows]
                values[factor.name] = torch.stack(column) if column else factor.neutral(0)
                applied[factor.name] = used
        return Params(self.space, values, applied, len(seeds)).to(stream.keys.device)

    def apply(self, images: Tensor, params: Params) -> Tensor:
        """As in ``Augmentation``; images on other devices are copied to the CPU and back.

        Raises:
            ValueError: images of another number of channels, a recorded number is not what the seed gives,
                or sizes differ between images.
        """
        if images.shape[1] != self.channels:
            raise ValueError(
                f"FromTorchvision was made for images with {self.channels} channels, these have "
                f"{images.shape[1]}; set channels={images.shape[1]}"
            )
        channels, height, width = _output_shape(self, (images.shape[2], images.shape[3]))
        space = self.space
        record = {name: params.values[name].cpu() for name in space.names}
        neutral = {f.name: f.neutral(1)[0] for f in space}
        views = []
        with running(self.transform) as run:
            for k, image in enumerate(images.cpu()):
                seed = record["torchvision_seed"][k]
                drawn: dict[str, Tensor] = {}
                if (seed < 0).any():
                    view = _resized(image, (height, width))
                else:
                    view, trace = run(image.clone(), _join_seed(seed))
                    drawn = {n: v for values in self._row(trace).values() for n, v in values.items()}
                for name in space.names[1:]:
                    if not torch.equal(record[name][k], drawn.get(name, neutral[name])):
                        raise ValueError(
                            f"{name} of image {k} is not what its seed gives on {tuple(image.shape)}; a "
                            "torchvision transform can be replayed on images of the size it was sampled for, "
                            "but not with other numbers"
                        )
                if view.shape[1:] != (height, width):
                    raise ValueError(
                        f"FromTorchvision.transform made {tuple(view.shape)} of image {k}, and elsewhere "
                        f"{(height, width)}; let it end in a transform of fixed size"
                    )
                views.append(view)
        return torch.stack(views).to(images) if views else images.new_empty(0, channels, height, width)

    def output_size(self, size: tuple[int, int]) -> tuple[int, int]:
        return _output_shape(self, size)[1:]

    def moments(self) -> Moments:
        return dict(_moments(self))

    @classmethod
    def example(cls) -> FromTorchvision:
        return cls(v2.RandomHorizontalFlip())

    def _row(self, trace: Trace) -> dict[str, dict[str, Tensor]]:
        """Leaf that was called -> factor name -> its value (size,)."""
        row: dict[str, dict[str, Tensor]] = {}
        for leaf, params in trace.items():
            drawn = numbers(leaf, params)
            row[leaf] = {}
            for factor in self._factors.get(leaf, ()):
                names = _components(factor)
                if isinstance(factor, Binary):
                    row[leaf][factor.name] = torch.ones(1)
                elif all(n in drawn for n in names):
                    row[leaf][factor.name] = torch.tensor([drawn[n] for n in names], dtype=torch.float32)
        return row


def _components(factor: Factor) -> list[str]:
    return [factor.name] if factor.size == 1 else [f"{factor.name}_{k}" for k in range(factor.size)]


def _join_seed(seed: Tensor) -> int:
    high, low = seed.tolist()
    return int(high) * _NUM_SEEDS + int(low)


def _resized(image: Tensor, size: tuple[int, int]) -> Tensor:
    if image.shape[1:] == size:
        return image
    return F.interpolate(image[None], size, mode="bilinear", antialias=True)[0]


@lru_cache
def _output_shape(augmentation: FromTorchvision, size: tuple[int, int]) -> tuple[int, int, int]:
    with running(augmentation.transform) as run:
        view, _ = run(torch.zeros(augmentation.channels, *size), 0)
    return view.shape[0], view.shape[1], view.shape[2]


@lru_cache
def _moments(augmentation: FromTorchvision) -> Moments:
    return params_moments(augmentation.sample(reference_stream(_MOMENT_SAMPLES), augmentation.size))
