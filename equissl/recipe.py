"""A run as plain data: what is learned from what, by which objectives, for how long."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from equissl.augment.engine import Engine
from equissl.data.base import Data
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError, nearest
from equissl.model import BatchNormMode, Model
from equissl.objective import BaseConfig, EquivarianceConfig
from equissl.optimize import LARS, OptimizerConfig, WarmupCosine
from equissl.params import Space
from equissl.views import Between, SameAs, ViewSpec

Precision = Literal["32-true", "bf16-mixed", "16-mixed"]


@dataclass(frozen=True, kw_only=True)
class Weighted:
    """An equivariance module and how much it counts in the sum."""

    weight: float = 1.0
    module: EquivarianceConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides the numbers of a run.

    Args:
        data: where the pictures come from.
        views: view name -> how it is made; drawn in this order.
        encoder: the backbone.
        base: the invariance objective; None learns from equivariance alone.
        modules: name -> weighted equivariance module; empty for the invariant baseline.
        optimizer, schedule: the rate given in the optimiser is the peak; it is not rescaled by batch size.
        epochs: passes over the training split; 0 leaves the encoder as it was drawn, the baseline
            without pretraining.
        batch_size: pictures per step, over all devices.
        seed: of weights and every random stream.
        batch_norm: whether BatchNorm sees all views together or one by one.
        precision: of the forward pass.
        clip_gradient: largest gradient norm; 0 never clips.
        channels_last: memory layout; faster on most CPUs and GPUs.
        compile: use torch.compile on the encoder (tens of seconds at the start).
        engine: what makes the views, see ``augment.engine.render``; "auto" is settled when a run starts.
        monitor_every: epochs between online probes; 0 for none.
        about: where the numbers come from, and what the paper reports, marked as the paper's.
    """

    data: Data
    views: Mapping[str, ViewSpec]
    encoder: EncoderConfig
    base: BaseConfig | None
    modules: Mapping[str, Weighted] = field(default_factory=dict)
    optimizer: OptimizerConfig = LARS()
    schedule: WarmupCosine = WarmupCosine()
    epochs: int = 100
    batch_size: int = 256
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
        for name in ("epochs", "clip_gradient", "monitor_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.base is None and not self.modules:
            raise ValueError("base and modules are both empty, so there is nothing to learn from")
        if self.batch_size < 2:
            raise ValueError("batch_size must be at least 2: objectives compare pictures of a batch")

    @property
    def compared(self) -> tuple[str, ...]:
        """The views that the base compares; none without a base."""
        return () if self.base is None else self.base.reads()

    def build(self, known: Mapping[str, Space], encoder: Encoder | None = None) -> Model:
        """The model, with weights from torch's global random state.

        Args:
            known: picture name -> the factors the dataset knows for it.
            encoder: used instead of building the one described.

        Raises:
            UserError: a view, picture or factor that is named does not exist, or a view is never used.
        """
        check_views(self, known)
        spaces = {name: spec.space(known[spec.picture]) for name, spec in self.views.items()}
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
            except (KeyError, ValueError) as error:
                problems.append(f"{name}: {error.args[0]}")
        if problems:
            raise UserError(problems)
        weights = {name: w.weight for name, w in self.modules.items()}
        encoded = [n for n, spec in self.views.items() if spec.encode]
        return Model(encoder, parts.pop("base", None), parts, weights, encoded, self.batch_norm)


def check_views(recipe: Recipe, known: Mapping[str, Space]) -> None:
    """Every view that is read exists, every view that exists is read, and its picture is in the data.

    Raises:
        UserError: listing all that is wrong.
    """
    problems = [
        f"views.{name}.picture: the data has no picture {spec.picture!r}; {nearest(spec.picture, known)}"
        for name, spec in recipe.views.items()
        if spec.picture not in known
    ]
    readers = {k: w.module.reads() for k, w in recipe.modules.items()}
    if recipe.base is not None:
        readers = {"base": recipe.base.reads(), **readers}
    for reader, names in readers.items():
        missing = [n for n in names if n not in recipe.views]
        problems += [f"{reader} reads view {n!r}; {nearest(n, recipe.views)}" for n in missing]
    used = {n for names in readers.values() for n in names}
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


def _drawn_from(spec: ViewSpec) -> tuple[str, ...]:
    """The views whose draws a view uses."""
    match spec.draw:
        case SameAs(view):
            return (view,)
        case Between(start, end):
            return (start, end) if start else (end,)
    return ()


def to_plain(value: object) -> Any:
    """JSON-ready data; a component is named by where it is defined: ``{"is": "module:Class", ...}``."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        cls = type(value)
        fields = {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value) if f.init}
        return {"is": f"{cls.__module__}:{cls.__qualname__}", **fields}
    if isinstance(value, Mapping):
        return {str(k): to_plain(v) for k, v in value.items()}
    if isinstance(value, tuple | list):
        return [to_plain(v) for v in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"a recipe holds plain data and dataclasses, but found {type(value).__name__}: {value!r}")


def from_plain(plain: Any, trusted: Sequence[str] = ("equissl",)) -> Any:
    """What ``to_plain`` was given.

    Args:
        trusted: top-level packages that may be imported; a run folder from elsewhere cannot run other code.

    Raises:
        UserError: a component outside the trusted packages, or one that no longer exists.
    """
    if isinstance(plain, dict) and "is" in plain:
        cls = locate(str(plain["is"]), trusted)
        values = {k: from_plain(v, trusted) for k, v in plain.items() if k != "is"}
        try:
            return cls(**values)
        except (TypeError, ValueError) as error:
            raise UserError(f"{plain['is']} cannot be made from {sorted(values)}: {error}") from error
    if isinstance(plain, dict):
        return {k: from_plain(v, trusted) for k, v in plain.items()}
    return tuple(from_plain(v, trusted) for v in plain) if isinstance(plain, list) else plain


def locate(address: str, trusted: Sequence[str] = ("equissl",)) -> Any:
    """What ``module:name.name`` refers to.

    Raises:
        UserError: not below a trusted package, or not found.
    """
    check_trusted(address, trusted)
    module, _, path = address.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for step in path.split("."):
            found = getattr(found, step)
    except (ImportError, AttributeError) as error:
        raise UserError(f"{address!r} cannot be found: {error}") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise UserError(f"{address!r} is not a dataclass, so it cannot be part of a recipe")
    check_trusted(f"{found.__module__}:{path}", trusted)  # what a trusted module only imports is not its own
    return found


def check_trusted(address: str, trusted: Sequence[str]) -> None:
    """Raises UserError if ``module:name`` is not below one of the packages in ``trusted``."""
    package = address.partition(":")[0].partition(".")[0]
    if package not in trusted:
        raise UserError(
            f"{address!r} is code outside {list(trusted)}; if you trust it, name its package: trust={package}"
        )
