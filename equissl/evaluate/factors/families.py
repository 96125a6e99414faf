"""The four-family suite: which numbers of a transformation do the features of both images tell?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import ClassVar

from equissl.augment.paths import PATHS, continuous_factors
from equissl.errors import nearest
from equissl.evaluate.base import Score, estimate
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.factors.changes import changes
from equissl.evaluate.metrics import component_r2, mean_r2
from equissl.evaluate.probes.linear import ridge
from equissl.evaluate.probes.mlp import network
from equissl.evaluate.titles import FAMILIES as GROUP
from equissl.evaluate.titles import title

FAMILIES = ("rotation", "color", "blur", "translation")


@dataclass(frozen=True)
class Families(EncoderEvaluation):
    """R2 of the parameters of each family from both images' frozen features, for every part.

    "family/NAME" reads them with a network, "family_linear/NAME" by multiple linear regression with a small
    ridge (arXiv:2412.03314 and 2503.18753: 1 - RSS / TSS; here of each parameter, then averaged: how the
    papers pool parameters is not given). Ranges are those of ``augment.paths``. Our choice, after SIE's
    probe: two layers of 1024, stopped on held-out images instead of after 300 epochs. A constant scores 0.

    Args:
        families: of ``augment.paths.PATHS``.
        hidden: the network's layers; empty for the linear reading only.
        pairs: to fit on, at most.
        parts: that the network reads; all if empty.
        seed: of the network.

    Raises:
        ValueError: a family that does not exist.
    """

    paper: ClassVar[str] = "arXiv:2412.03314"
    name: ClassVar[str] = "families"
    scores: ClassVar[tuple[str, ...]] = ("family", "family_linear")

    families: tuple[str, ...] = FAMILIES
    hidden: tuple[int, ...] = (1024, 1024)
    pairs: int = 2000
    parts: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        wrong = [n for n in self.families if n not in PATHS]
        if wrong:
            raise ValueError(f"families: none is called {wrong[0]!r}; {nearest(wrong[0], PATHS)}")
        if self.pairs < 10:
            raise ValueError(f"pairs must be at least 10, got {self.pairs}")

    def missing(self, subject: EvaluationContext) -> str:
        count = min(len(subject.rows[s]) for s in ("train", "test"))
        if count < 10:
            return f"it needs 10 training and 10 test images or more, but there are {count}"
        shape = subject.datasets["test"].batch(subject.rows["test"][:1]).images[subject.image].shape
        return "colours need three channels" if "color" in self.families and shape[1] != 3 else ""

    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        if self.missing(subject):
            return
        for name in self.families:
            train, test = changes(subject, PATHS[name], continuous_factors(PATHS[name]), self.pairs)
            unseen = test.features()
            for part, x in train.features().items():
                given = (x, train.truth, train.plain.groups, unseen[part], self.seed)
                readings = {"family_linear": ridge(*given)}
                if self.hidden and (part in self.parts or not self.parts):
                    readings["family"] = network(*given, hidden=self.hidden)
                for kind, reading in readings.items():
                    found = estimate(
                        lambda rows, s=reading.predicted, t=test.truth: mean_r2(s[rows], t[rows]),  # type: ignore[misc]
                        test.plain.groups,
                        seed=self.seed,
                    )
                    yield Score(
                        f"{kind}/{name}",
                        **asdict(found),
                        unit="R2",
                        count=len(test.truth),
                        part=part,
                        seed=self.seed,
                        extra={"columns": component_r2(reading.predicted, test.truth), "pairs": len(x)},
                        title=title(name, "linear" if kind == "family_linear" else "MLP"),
                        group=GROUP,
                        higher_is_better=True,
                    )

    @classmethod
    def example(cls) -> Families:
        return cls(("rotation",), hidden=(8,), pairs=20)
