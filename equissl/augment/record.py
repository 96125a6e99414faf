"""Views of images with a record of their parameters, for use without training.

Training samples through ``recompute`` too, so that views made here are those of a run with the same seed,
epoch, image and view.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from equissl.augment import native
from equissl.augment.base import Augmentation
from equissl.augment.engine import Engine, check_engine, render, resolve_engine
from equissl.augment.table import Cell, Table, cells
from equissl.params import Factor, Params
from equissl.random import Stream

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Record:
    """Parameters of views, with all that is needed to make the same views again.

    Args:
        policies: view name -> the augmentation its parameters were sampled from.
        params: view name -> sampled parameters, one row per image.
        index: (B,) int64, indices of the images in their dataset.
        engine: implementation that made the views; engines differ by rounding.
        instruction_set: of the processor, if native code made the views (its bits do not depend on it).

    >>> import torch
    >>> from equissl import augment
    >>> images = torch.rand(2, 3, 32, 32)
    >>> (a, b), record = augment.views(images, augment.HorizontalFlip(p=0.5))
    >>> record.table().columns["horizontal_flip"]
    [True, False, False, True]
    >>> torch.equal(record.replay(images)[0], a)
    True
    """

    policies: Mapping[str, Augmentation]
    params: Mapping[str, Params]
    index: Tensor
    engine: Engine = "torch"
    instruction_set: str | None = None

    def table(self, applied: bool = False) -> Table:
        """All parameters by name: the views of the first image, then those of the second, ...

        Args:
            applied: after each factor, a column "NAME_applied" of bools, which tells a factor that was not
                applied from one whose value happens to be neutral.
        """
        factors: dict[str, Factor] = {}
        for params in self.params.values():
            for factor in params.space:
                factors.setdefault(factor.name, factor)
        rows = [(k, view) for k in range(len(self.index)) for view in self.params]
        columns: dict[str, list[Cell]] = {
            "image": [int(self.index[k]) for k, _ in rows],
            "view": [view for _, view in rows],
        }
        for name, factor in factors.items():
            cells_of = {v: cells(factor, p.values[name]) for v, p in self.params.items() if name in p.values}
            columns[name] = [cells_of[view][k] if view in cells_of else None for k, view in rows]
            if applied:
                flags = {v: p.applied[name].tolist() for v, p in self.params.items() if name in p.applied}
                columns[f"{name}_applied"] = [flags[v][k] if v in flags else None for k, v in rows]
        return Table(columns, {n: f.unit for n, f in factors.items()})

    def to_pandas(self) -> Any:
        """``table()`` as a ``pandas.DataFrame``, names with units.

        Raises:
            UserError: pandas is not installed.
        """
        return self.table().to_pandas()

    def plot(self) -> Figure:
        """A histogram of every factor that is one number, over all views, as matplotlib draws it."""
        import matplotlib.pyplot as plt

        table = self.table()
        shown = {n: v for n, v in table.columns.items() if n not in ("image", "view") and _plottable(v)}
        columns = min(4, max(1, len(shown)))
        rows = max(1, -(-len(shown) // columns))
        figure, axes = plt.subplots(
            rows, columns, figsize=(2.4 * columns, 1.8 * rows), squeeze=False, layout="constrained"
        )
        for ax, (name, values) in zip(axes.flat, shown.items(), strict=False):
            ax.hist([float(v) for v in values if v is not None], bins=20)  # type: ignore[arg-type]
            ax.set_title(name, fontsize=9)
            ax.set_xlabel(table.units.get(name, ""), fontsize=8)
            ax.tick_params(labelsize=7)
        for ax in axes.flat[len(shown) :]:
            ax.set_axis_off()
        return figure

    def __repr__(self) -> str:
        views = ", ".join(self.params)
        return f"Record of {len(self.index)} images, views {views} ({self.engine})\n{self.table().text(100)}"

    def _repr_html_(self) -> str:
        return self.table()._repr_html_()

    def replay(self, images: Tensor, geometric: bool = False) -> tuple[Tensor, ...]:
        """The same views of ``images`` (B, C, H, W), bit for bit, from the recorded values alone.

        Args:
            geometric: apply only what moves pixels, for example to segmentation masks.

        Raises:
            ValueError: another number of images, or ``geometric`` where the geometric part is not known.
        """
        if len(images) != len(self.index):
            raise ValueError(f"the record is of {len(self.index)} images, got {len(images)}")
        replayed = []
        for view, params in self.params.items():
            recorded = Params.of(params.space, params.values, count=len(images))
            policy = self.policies[view].geometric_part() if geometric else self.policies[view]
            replayed.append(render(policy, images, recorded, self.engine))
        return tuple(replayed)

    def valid_pixels(self, size: tuple[int, int]) -> tuple[Tensor, ...]:
        """How much of each view's pixels comes from inside the source: (B, 1, h, w) in [0, 1] per view.

        0 where a rotation, shift or shear with ``padding_mode="zeros"`` left the source, fractions at its
        border; other padding fills views with pixels of the source, so everything is valid.

        Args:
            size: (H, W) of the source in pixels.

        >>> import torch
        >>> from equissl import augment
        >>> _, record = augment.views(torch.rand(2, 3, 8, 8), augment.Rotate((45, 45)), count=1)
        >>> round(float(record.valid_pixels((8, 8))[0][0, 0, 0, 0]), 2)
        0.0
        """
        device = next((p.device for p in self.params.values() if p.device), torch.device("cpu"))
        ones = torch.ones(len(self.index), 1, *size, device=device)
        return tuple(view.clamp(0, 1) for view in self.replay(ones, geometric=True))


def views(
    images: Tensor,
    policy: Augmentation | Mapping[str, Augmentation],
    count: int = 2,
    *,
    seed: int = 0,
    epoch: int = 0,
    index: Tensor | Sequence[int] | None = None,
    engine: Engine = "torch",
) -> tuple[tuple[Tensor, ...], Record]:
    """Augmented views of images, and the record of their parameters.

    Args:
        images: (B, C, H, W), uint8 or float in [0, 1], on any device.
        policy: augmentation of all views, or view name -> augmentation (then ``count`` is ignored).
        count: number of views; they are named "a", "b", ... as in the recipes.
        seed, epoch: of the random streams.
        index: (B,) indices of the images, which key the random streams; 0, 1, ... by default.
        engine: see ``equissl.augment.engine``.

    Returns:
        One (B, C, h, w) float tensor per view, and their record.

    Raises:
        ValueError: ``images``, ``policy``, ``count`` or ``index`` has the wrong shape or type.

    >>> import torch
    >>> from equissl import augment
    >>> (a, b), record = augment.views(torch.rand(4, 3, 64, 64), augment.presets.simclr(32))
    >>> a.shape
    torch.Size([4, 3, 32, 32])
    >>> record.params["b"].values["hue"].shape
    torch.Size([4, 1])
    """
    if images.ndim != 4 or not (images.dtype == torch.uint8 or images.is_floating_point()):
        shape, dtype = tuple(images.shape), images.dtype
        raise ValueError(f"images must be (B, C, H, W), uint8 or float in [0, 1], got {shape} {dtype}")
    policies = _policies(policy, count)
    indices = torch.arange(len(images)) if index is None else torch.as_tensor(index)
    if indices.shape != (len(images),):
        raise ValueError(
            f"index must have shape ({len(images)},), one entry per image, got {tuple(indices.shape)}"
        )
    size = (images.shape[2], images.shape[3])
    on_device = indices.to(images.device)
    params = {name: recompute(p, seed, epoch, on_device, name, size) for name, p in policies.items()}
    check_engine(engine)
    engine = resolve_engine(engine, images.device)  # "auto" may be another one where it is replayed
    rendered = tuple(render(policies[name], images, p, engine) for name, p in params.items())
    instruction_set = native.instruction_set() if engine == "native" else None
    return rendered, Record(policies, params, indices.cpu(), engine, instruction_set)


def recompute(
    policy: Augmentation,
    seed: int,
    epoch: int,
    index: Tensor | Sequence[int],
    view: str,
    size: tuple[int, int],
) -> Params:
    """Parameters of a view, a function of these arguments alone: those of training, before or after it.

    Args:
        index: (B,) indices of the images in their dataset.
        view: the view's name.
        size: (H, W) of the source in pixels.

    >>> from equissl import augment
    >>> policy = augment.presets.simclr(32)
    >>> params = augment.recompute(policy, seed=0, epoch=3, index=[5], view="b", size=(64, 64))
    >>> params.space.names[:4]
    ('crop_top', 'crop_left', 'crop_height', 'crop_width')
    """
    return policy.sample(Stream.of(torch.as_tensor(index), seed, epoch, view), size)


def _plottable(values: Sequence[Cell]) -> bool:
    """Whether a column holds numbers that are not all the same."""
    numbers = [v for v in values if v is not None]
    return all(isinstance(v, int | float) for v in numbers) and len(set(numbers)) > 1


def _policies(policy: Augmentation | Mapping[str, Augmentation], count: int) -> Mapping[str, Augmentation]:
    if isinstance(policy, Augmentation):
        if not 1 <= count <= len(string.ascii_lowercase):
            raise ValueError(f"count must be from 1 to {len(string.ascii_lowercase)}, got {count}")
        return dict.fromkeys(string.ascii_lowercase[:count], policy)
    if not isinstance(policy, Mapping) or not all(isinstance(p, Augmentation) for p in policy.values()):
        raise ValueError(f"policy must be an Augmentation, or view name -> Augmentation, got {policy!r}")
    if not policy:
        raise ValueError("policy must name at least one view")
    return dict(policy)
