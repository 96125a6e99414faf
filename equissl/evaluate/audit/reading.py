"""What is read from the features of all encoders of an audit, one augmentation at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

from torch import Tensor

from equissl.augment.base import Augmentation
from equissl.errors import UserError
from equissl.evaluate.audit.factors import Audited
from equissl.evaluate.audit.joint import JointEncoder, Passes
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.readouts.readout import (
    Views,
    learning_curve,
    read_absolute,
    read_factors,
    read_together,
)
from equissl.evaluate.audit.readouts.recorded import read_recorded
from equissl.evaluate.audit.readouts.store import Finding, Readouts
from equissl.evaluate.audit.references import REFERENCES
from equissl.evaluate.audit.scores import MODEL
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.probes.pair_kernels import PairFeatures
from equissl.params import Params

_SOURCE_VIEW = 1_000_000  # the view of the plain images where they are cropped: no draw has this number


@dataclass
class Reading:
    """What is read from all encoders' features of the same images.

    Args:
        build: makes the encoders, once features of one are needed.
    """

    build: Callable[[], JointEncoder]
    passes: Passes
    index: Tensor
    options: AuditOptions
    weights: Tensor
    plain: dict[Augmentation | None, FeatureTable] = field(default_factory=dict)

    @cached_property
    def network(self) -> JointEncoder:
        """All encoders side by side."""
        return self.build()

    def read_recorded(self, params: Params) -> Readouts:
        """Factors that the dataset records, of ``recorded_params``."""
        o = self.options
        return read_recorded(self._plain(None), params, o.draws or 1, o.precision, o.seed, self.weights)

    def _plain(self, source: Augmentation | None) -> FeatureTable:
        if source not in self.plain:
            self.plain[source] = self.passes.features(
                self.network, self.index, source, _SOURCE_VIEW, "plain images"
            )
            _check_alive(self.plain[source].part(f"{MODEL}/all"), self.passes.model)
        return self.plain[source]

    def read(self, item: Audited) -> Readouts:
        """The parameters of an augmentation."""
        plain = self._plain(item.source)
        changed = [
            self.passes.features(self.network, self.index, item.augment, k, item.name)
            for k in range(self.options.draws or 1)
        ]
        if any(view.parts != plain.parts for view in changed):
            raise UserError(
                f"{self.passes.model or 'the encoder'} gives another number of features each time; "
                "an encoder gives the same for the same images"
            )
        views = Views.of(plain, changed, item.factors, self.options.precision, self.options.seed)
        if not views.factors:
            raise UserError(
                f"factors: no parameter of {item.name} differs between images, so that there is "
                "nothing to read; give it wider ranges, or p= above 0"
            )
        found: dict[tuple[str, str], dict[str, Finding]] = {}
        for name in plain.parts:
            row, _, part = name.partition("/")
            found[row, part] = self._findings(views.of_part(name), row)
        together = read_together(views.of_part(f"{MODEL}/all"), views.of_part("statistics/all"), self.weights)
        own = found[MODEL, "all"]
        found[MODEL, "all"] = {n: replace(f, together=together[n]) for n, f in own.items()}
        return found

    def _findings(self, views: Views, row: str) -> dict[str, Finding]:
        absolute = {} if row in REFERENCES else read_absolute(views, self.weights)
        curves = learning_curve(views) if row == MODEL else {}
        return {
            r.factor.name: Finding(r, absolute.get(r.factor.name), curves.get(r.factor.name))
            for r in read_factors(views, self.weights, control=row == MODEL)
        }


def _check_alive(table: FeatureTable, model: str) -> None:
    if not PairFeatures.of(table.vectors, table.vectors).live:
        raise UserError(
            f"{model or 'the encoder'} gives the same features for all {len(table)} images: the network is "
            "dead, or mean= and std= are not those that it was trained with"
        )
