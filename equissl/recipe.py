"""A run as plain data: what is learned from what, by which objectives, for how long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch.nn import ModuleDict

from equissl.augment.engine import Engine
from equissl.augment.moments import varies
from equissl.config import summary
from equissl.config.overrides import setting_values
from equissl.config.validation import Checked, check_bounds
from equissl.data.base import Data
from equissl.encoder.backbone import BackboneConfig
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError, nearest
from equissl.model import BatchNormMode, Model
from equissl.objective import BaseConfig, EquivarianceConfig, Objective
from equissl.params import Space
from equissl.tables import data_frame, html_table
from equissl.training.optim import LARS, OptimizerConfig, WarmupCosine
from equissl.views import Between, SameAs, ViewSpec

_PARTNER = " (a partner is another image of the same group: data.group=COLUMN of a table, or paired data)"
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class Weighted(Checked):
    """An equivariance module and how much it counts in the sum."""

    weight: float = 1.0
    module: EquivarianceConfig

    def __post_init__(self) -> None:
        check_bounds(self, "weight", low=0)


@dataclass(frozen=True, kw_only=True)
class Recipe(Checked):
    """Everything that decides the numbers of a run.

    Args:
        data: where the images come from.
        views: view name -> how it is made; drawn in this order.
        encoder: how the encoder is built: a timm model, a module of the user's own, or a typed config.
        base: the invariance objective; None learns from equivariance alone.
        modules: name -> weighted equivariance module; empty for the invariant baseline.
        optimizer, schedule: the optimizer's ``lr`` is the peak; it is not rescaled by batch size.
        epochs: passes over the training split; 0 leaves the encoder as it was drawn, the baseline
            without pretraining.
        batch_size: images per step, over all devices.
        distinct_objects: no batch holds two images of one object (group of the data), which a contrast would
            take for negatives. Every round takes one image of each object; those that do not fill the
            round's last batch are left out.
        seed: of weights and every random stream.
        batch_norm: whether the encoder's BatchNorm sees all views together or one by one, or is "frozen".
        precision: of the forward pass; "auto" is settled when a run starts, see ``training.precision``.
        clip_gradient: largest gradient norm; 0 never clips.
        channels_last: memory layout; faster on most CPUs and GPUs.
        compile: use torch.compile on the encoder (tens of seconds at the start).
        engine: what makes the views, see ``augment.engine.render``; "auto" is settled when a run starts.
        monitor_every: epochs between online probes; 0 for none.
        about: where the numbers come from, and what the paper reports, marked as the paper's.
    """

    data: Data
    views: Mapping[str, ViewSpec]
    encoder: BackboneConfig
    base: BaseConfig | None
    modules: Mapping[str, Weighted] = field(default_factory=dict)
    optimizer: OptimizerConfig = LARS()
    schedule: WarmupCosine = WarmupCosine()
    epochs: int = 100
    batch_size: int = 256
    distinct_objects: bool = False
    seed: int = 0
    batch_norm: BatchNormMode = "all_views"
    precision: Precision = "32-true"
    clip_gradient: float = 0.0
    channels_last: bool = True
    compile: bool = False
    engine: Engine = "auto"
    monitor_every: int = 1
    about: str = ""

    def __post_init__(self) -> None:
        check_bounds(self, "epochs", "clip_gradient", "monitor_every", low=0)
        if self.base is None and not self.modules:
            raise ValueError("base and modules are both empty, so there is nothing to learn from")
        for name in self.modules:
            if name in ("", "base") or "." in name or hasattr(ModuleDict(), name):
                raise ValueError(f"modules: {name!r} cannot be the name of a module; choose another word")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2: objectives compare images of a batch")

    @property
    def compared(self) -> tuple[str, ...]:
        """The views that the base compares; none without a base."""
        return () if self.base is None else self.base.reads()

    def lines(self) -> list[tuple[str, str]]:
        """(setting, value) of all that has no default, or another value than it; for people."""
        return summary.lines(self)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` of every setting as the command line writes it: ``setting``, ``value``.

        Raises:
            UserError: pandas is not installed.
        """
        named = list(setting_values(self))
        return data_frame({"setting": [path for path, _ in named], "value": [value for _, value in named]})

    def __repr__(self) -> str:
        return f"Recipe\n{summary.aligned(self.lines())}"

    def _repr_html_(self) -> str:
        return html_table(("recipe", ""), self.lines())

    def build(self, known: Mapping[str, Space], encoder: Encoder | None = None) -> Model:
        """The model, with weights from torch's global random state.

        Args:
            known: image name -> the factors the dataset knows for it.
            encoder: used instead of building the one described.

        Raises:
            UserError: a view, image or factor that is named does not exist, or a view is never used.
        """
        check_views(self, known)
        spaces = _spaces(self.views, known)
        encoder = self.encoder.build() if encoder is None else encoder
        problems: list[str] = []
        parts: dict[str, Any] = {}
        configs: dict[str, BaseConfig | EquivarianceConfig]
        configs = {name: weighted.module for name, weighted in self.modules.items()}
        if self.base is not None:
            configs = {"base": self.base, **configs}
        for name, config in configs.items():
            try:
                parts[name] = config.build(encoder, spaces)
                if not isinstance(parts[name], Objective):
                    problems.append(f"{name}: build returned a {type(parts[name]).__name__}, no objective")
            except (KeyError, ValueError) as error:
                problems.append(f"{name}: {error.args[0]}")
        if problems:
            raise UserError(problems)
        weights = {name: w.weight for name, w in self.modules.items()}
        encoded = [n for n, spec in self.views.items() if spec.encode]
        return Model(encoder, parts.pop("base", None), parts, weights, encoded, self.batch_norm)


def _spaces(views: Mapping[str, ViewSpec], known: Mapping[str, Space]) -> dict[str, Space]:
    """The factors that each view records."""
    spaces = {}
    for name, spec in views.items():
        try:
            spaces[name] = spec.space(known[spec.image])
        except ValueError as error:
            raise UserError(f"views.{name}: {error}") from error
    return spaces


def check_views(recipe: Recipe, known: Mapping[str, Space]) -> None:
    """Every view that is read exists, every view that exists is read, and its image is in the data.

    A view whose features are read is encoded.

    Raises:
        UserError: listing all that is wrong.
    """
    problems = [
        f"views.{name}.image: the data has no image {spec.image!r}; {nearest(spec.image, known)}"
        f"{_PARTNER if spec.image == 'partner' else ''}"
        for name, spec in recipe.views.items()
        if spec.image not in known
    ]
    readers: dict[str, BaseConfig | EquivarianceConfig] = {k: w.module for k, w in recipe.modules.items()}
    if recipe.base is not None:
        readers = {"base": recipe.base, **readers}
    for reader, config in readers.items():
        missing = [n for n in config.reads() if n not in recipe.views]
        problems += [f"{reader} reads view {n!r}; {nearest(n, recipe.views)}" for n in missing]
        unencoded = [n for n in config.reads_encoded() if n in recipe.views and not recipe.views[n].encode]
        problems += [
            f"{reader} reads the features of view {n!r}, which has none with views.{n}.encode=false; "
            f"leave that out"
            for n in unencoded
        ]
    used = {n for config in readers.values() for n in config.reads()}
    before: list[str] = []
    for name, spec in recipe.views.items():
        drawn = _drawn_from(spec)
        missing = [n for n in drawn if n not in before]
        problems += [
            f"views.{name}.draw names view {n!r}, which must stand before it; {nearest(n, before)}"
            for n in missing
        ]
        used |= set(drawn)
        before.append(name)
    idle = [n for n in recipe.views if n not in used]
    problems += [f"views.{n} is made but never read; remove it or add a module that reads it" for n in idle]
    if problems:
        raise UserError(problems)


def check_targets(recipe: Recipe) -> None:
    """Every factor that a module predicts changes in its views.

    Raises:
        UserError: naming the targets whose factors never change: an empty range, or a probability of 0.
    """
    problems = []
    for key, weighted in recipe.modules.items():
        views = weighted.module.reads()
        varies = [_varying(recipe.views[v]) for v in views]
        constant = {n for v in varies for n in v} - {n for v in varies for n, moves in v.items() if moves}
        problems += [
            f"modules.{key}: target {target!r} is about {', '.join(names)}, which never changes in the views "
            f"{', '.join(views)} (an empty range, or a probability of 0): give it a range, or leave it out"
            for target, names in weighted.module.unlearnable(constant).items()
        ]
    if problems:
        raise UserError(problems)


def _varying(spec: ViewSpec) -> dict[str, bool]:
    """Factor of a view's augmentation -> whether its value depends on the draw."""
    moments = {n: pair for n, pair in spec.augment.moments().items() if not n.endswith("/applied")}
    return {name: bool(varies(first, second).any()) for name, (first, second) in moments.items()}


def _drawn_from(spec: ViewSpec) -> tuple[str, ...]:
    """The views whose draws a view uses."""
    match spec.draw:
        case SameAs(view):
            return (view,)
        case Between(start, end):
            return (start, end) if start else (end,)
    return ()
