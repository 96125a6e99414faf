"""Score rows of an audit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

import torch

from equissl.evaluate.audit.differences import Evidence, Times, difference
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.readouts.interval import Resampled, beyond
from equissl.evaluate.audit.readouts.readout import Readout
from equissl.evaluate.audit.readouts.store import Finding, Readouts
from equissl.evaluate.audit.references import REFERENCES
from equissl.evaluate.audit.verdict import Verdict, deciding, verdicts
from equissl.evaluate.base import Score
from equissl.evaluate.metrics import angular_error, balanced_accuracy, component_r2
from equissl.evaluate.statistics import Estimate
from equissl.evaluate.titles import AUDIT, title
from equissl.params import Circular, Rotation

MODEL, RANDOM = "model", "random"  # names of rows
AS_BUILT = "as built"  # of an untrained network whose running statistics are not of the images
LEFT = 0.05  # of a factor that the class and others leave to be read; a share of less means nothing
Rows = Mapping[str, Mapping[str, Finding]]  # row -> factor -> what was read


@dataclass(frozen=True)
class Counts:
    """How many images were read, of how many groups, and how many copies of them were left out."""

    images: int
    groups: int
    copies: int


def audit_scores(
    readouts: Sequence[Readouts], options: AuditOptions, counts: Counts, trained: Sequence[str]
) -> Iterator[Score]:
    """The rows of all factors, for each part of the features.

    Args:
        readouts: of each audit.
        trained: parameters of the untrained copies that could not be drawn.
    """
    parts = dict.fromkeys(part for found in readouts for row, part in found if row == MODEL)
    for part in sorted(parts, key=lambda name: name != "all"):  # the whole first
        rows: dict[str, dict[str, Finding]] = {}
        for found in readouts:
            for (row, of), findings in found.items():
                if of == part or row in REFERENCES:
                    rows.setdefault(row, {}).update(findings)
        yield from _part_scores(rows, part, options, counts, trained)


def _part_scores(
    rows: Rows, part: str, options: AuditOptions, counts: Counts, trained: Sequence[str]
) -> Iterator[Score]:
    random = {row: found for row, found in rows.items() if row.startswith(RANDOM)}
    evidence = _evidence(rows)
    found, decided_by = verdicts(evidence), deciding(evidence) if part == "all" else {}
    for factor, finding in rows[MODEL].items():
        readout = finding.readout

        def score(
            result: Estimate,
            baseline: str = "",
            extra: Mapping[str, object] | None = None,
            readout: Readout = readout,
        ) -> Score:
            return Score.of(
                f"audit/{readout.factor.name}",
                result,
                unit="R2" if readout.score.regress else "balanced accuracy",
                count=counts.images,
                part=part,
                baseline=baseline,
                seed=options.seed,
                extra=extra or {},
                title=title(readout.factor.name),
                group=AUDIT,
                higher_is_better=True,
            )

        extra = _facts(finding) | {
            "precision": options.precision,
            "draws": options.draws,
            "untrained": options.untrained,
            "limit": options.count,
            "distinct": counts.images,
            "groups": counts.groups,
            "copies": counts.copies,
            # A small network that is trained on thumbnails of a few hundred images reads hardly more.
            "ceiling": max(r[factor].readout.score.value for r in rows.values() if factor in r),
        }
        if finding.together is not None:
            extra["with_statistics"] = _numbers(finding.together.interval())
            statistics = rows["statistics"][factor].readout.score
            extra["added"] = _numbers(difference(finding.together, [statistics]).interval())
        if factor in found:
            extra |= _verdict_facts(found[factor], decided_by.get(factor))
        yield score(readout.score.interval(), "", extra)
        yield score(Estimate(readout.chance, readout.chance, readout.chance), "constant")
        if readout.shuffled is not None:
            yield score(readout.shuffled.interval(), "shuffled")
        if part == "all":
            for row in REFERENCES:
                if factor in rows.get(row, {}):
                    yield score(rows[row][factor].readout.score.interval(), row)
        if networks := [r[factor] for r in random.values() if factor in r]:
            more: dict[str, object] = {
                "each": [n.readout.score.value for n in networks],
                "as_built": [row.endswith(AS_BUILT) for row in random],
                "kept": list(trained),
            }
            if absolutes := [n.absolute for n in networks if n.absolute is not None]:
                more["absolute"] = _numbers(_mean(absolutes))
            yield score(_mean([n.readout.score for n in networks]), RANDOM, more)


def _facts(finding: Finding) -> dict[str, object]:
    readout = finding.readout
    facts: dict[str, object] = {
        "probe": readout.chosen,
        "probes": dict(readout.probes),
        "amplitude": readout.amplitude,
        "live": readout.live,
        "width": readout.width,
        "bits": bits(readout),
        "unit": readout.factor.unit,
        "recorded": readout.recorded,
    }
    if finding.absolute is not None:
        facts["absolute"] = _numbers(finding.absolute.interval())
    if finding.from_class is not None and finding.with_class is not None:
        facts["from_class"] = _numbers(finding.from_class.interval())
        facts["within_class"] = _beyond(finding.with_class, finding.from_class)
    if finding.from_others is not None and finding.with_others is not None:
        facts["from_others"] = _numbers(finding.from_others.interval())
        facts["partial"] = _beyond(finding.with_others, finding.from_others)
    if finding.curve is not None:
        points = {**finding.curve, len(readout.targets): readout.score.value}
        facts["learning_curve"] = {str(n): value for n, value in sorted(points.items())}
    predictions, targets = readout.predictions, readout.targets.double()
    if isinstance(angle := readout.read, Circular | Rotation):
        facts["degrees"] = float(angular_error(angle, predictions, targets).median())
    if isinstance(readout.factor, Circular):
        signs = [(x[:, 1] > 0).long() for x in (predictions, targets)]
        facts["sign"] = balanced_accuracy(*signs)
        facts["cosine_r2"], facts["sine_r2"] = component_r2(predictions, targets)
    return facts


def _beyond(together: Resampled, alone: Resampled) -> list[float] | None:
    """What features add to others; None where those leave next to nothing to be read."""
    return None if 1 - alone.value < LEFT else _numbers(beyond(together, alone).interval())


def _verdict_facts(verdict: Verdict, decided_by: Times | None) -> dict[str, object]:
    return {
        "verdict": verdict.word,
        "to_untrained": _numbers(verdict.to_untrained.interval()),
        "to_statistics": _numbers(verdict.to_statistics.interval()),
        "decided_by": decided_by and asdict(decided_by),
    }


def row_of_untrained(number: int, calibrated: bool) -> str:
    """The name of the row of an untrained network."""
    return f"{RANDOM} {number}" + ("" if calibrated else f" {AS_BUILT}")


def _evidence(rows: Rows) -> Mapping[str, Evidence]:
    """Of each factor that every row has; empty where fewer than two untrained networks show no spread."""
    families: dict[bool, list[Mapping[str, Finding]]] = {}
    for row, found in rows.items():
        if row.startswith(RANDOM):
            families.setdefault(row.endswith(AS_BUILT), []).append(found)
    if sum(map(len, families.values())) < 2:
        return {}
    return {
        factor: Evidence(
            finding.readout.score,
            [[found[factor].readout.score for found in family] for family in families.values()],
            rows["statistics"][factor].readout.score,
            [rows["pixels"][factor].readout.score],
            finding.readout.chance,
        )
        for factor, finding in rows[MODEL].items()
        if all(factor in found for found in rows.values())
    }


def bits(readout: Readout) -> float:
    """Usable information in bits: -1/2 log2(1 - R2) for each number, as of Gaussians; classes by accuracy."""
    value = readout.score.value
    if readout.score.regress:
        return -0.5 * math.log2(1 - min(max(value, 0.0), 1 - 1e-6)) * readout.targets.shape[1]
    classes = round(1 / readout.chance)
    p = min(max(value, readout.chance), 1.0)
    other = (1 - p) * math.log2((1 - p) / (classes - 1)) if p < 1 else 0.0
    return math.log2(classes) + p * math.log2(p) + other


def _mean(scores: Sequence[Resampled]) -> Estimate:
    """The mean of several networks' scores, with the interval of images and initialisations together."""
    mean = Resampled(
        torch.stack([s.values for s in scores]).mean(0),
        torch.stack([s.resamples for s in scores]).mean(0),
        scores[0].regress,
    )
    spread = (
        float(torch.tensor([s.value for s in scores]).double().var()) / len(scores) if len(scores) > 1 else 0
    )
    half = 1.96 * math.sqrt(mean.variance() + spread)
    return Estimate(mean.value, mean.value - half, min(1.0, mean.value + half))


def _numbers(estimate: Estimate) -> list[float]:
    return [estimate.value, estimate.low, estimate.high]
