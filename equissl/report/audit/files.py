"""Audits as ``audit.json`` (docs/audit_json.md) and as a section of a model card, ``audit.md``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from equissl.report import display_names as names
from equissl.report.audit import equivariance_words, words
from equissl.report.audit.equivariance import Equivariance
from equissl.report.audit.intervals import Interval
from equissl.report.audit.readings import Audit, Reading
from equissl.report.audit.section import comparisons, measured
from equissl.report.rows import Row, text
from equissl.storage import write_json, write_text

SCHEMA = 1
_MARKUP = re.compile(r"([\\`*_{}\[\]<>|#~])")


def write_files(audits: Sequence[Audit], folder: Path, paired: Sequence[Row] = ()) -> list[Path]:
    """Write both files, each whole or not at all."""
    data, card = folder / "audit.json", folder / "audit.md"
    write_json(data, as_json(audits, paired))
    write_text(card, as_markdown(audits, paired), newline="\n")
    return [data, card]


def as_json(audits: Sequence[Audit], paired: Sequence[Row] = ()) -> dict[str, Any]:
    """All that the page shows, as plain data; ``schema`` changes when a field is renamed or removed."""
    return {
        "schema": SCHEMA,
        "models": [_model(a) for a in audits],
        "comparisons": [
            {
                "model": pair["first"].name,
                "other": pair["second"].name,
                "claim": pair["claim"],
                "factors": {
                    text(r["name"]).removeprefix("audit/"): {
                        **{k: r[k] for k in ("value", "low", "high", "word")},
                        "sentence": r["sentence"],
                    }
                    for r in pair["rows"]
                },
            }
            for pair in comparisons(audits, paired)
        ],
    }


def _model(audit: Audit) -> dict[str, Any]:
    facts, environment = audit.facts, audit.run.environment
    return {
        "name": audit.name,
        "claim": words.claim(audit),
        "warnings": list(words.warnings(audit)),
        "random_weights": audit.random,
        "images": audit.count,
        "distinct_images": audit.distinct,
        "groups": audit.groups,
        **{k: facts.get(k) for k in ("data", "split", "weights", "size", "mean", "std", "fit")},
        **{k: facts.get(k) for k in ("draws", "precision", "seed")},
        "versions": environment.get("versions"),
        "command": environment.get("command"),
        "not_held": list(words.to_repair(audit)),
        "to_decide": words.to_decide(audit) or None,
        "repair": words.repair(audit)[1] or None,
        "factors": {r.factor: _factor(r) for r in audit.readings},
        "equivariance": {e.factor: _equivariance(e) for e in audit.equivariance} or None,
        "parts": {part: {f: i.value for f, i in values.items()} for part, values in audit.layers.items()},
    }


def _factor(r: Reading) -> dict[str, Any]:
    return {
        "title": r.title,
        "sentence": words.sentence(r),
        "downstream": words.downstream(r) or None,
        "verdict": r.verdict or None,
        "degree": words.degree(r),
        "measure": r.measure,
        **_interval(r.score),
        "chance": r.chance,
        "ceiling": r.ceiling,
        "untrained": list(r.untrained),
        "to_untrained": _interval(r.to_untrained),
        "to_statistics": _interval(r.to_statistics),
        "decided_by": r.decided_by and dict(zip(("images", "networks"), r.decided_by, strict=True)),
        "references": {n: _interval(i) for n, i in r.references.items()},
        "shuffled": _interval(r.shuffled),
        "absolute": _interval(r.absolute),
        "degrees": r.degrees,
        "sign": r.sign,
        "recorded": r.recorded,
        **{n: _interval(getattr(r, n)) for n in ("from_class", "within_class", "from_others", "partial")},
        "bits": r.bits,
        "amplitude": r.amplitude,
        "probe": r.probe or None,
        "probes": dict(r.probes),
        "learning_curve": {str(n): v for n, v in r.curve.items()},
        "live_columns": r.live,
        "columns": r.width,
    }


def _equivariance(found: Equivariance) -> dict[str, Any]:
    return {
        "title": found.title,
        "sentence": equivariance_words.sentence(found),
        "degree": equivariance_words.degree(found) or None,
        "changes": {
            c.name: {
                "moved": _interval(c.moved),
                "error": _interval(c.error),
                "without_fit": dict(c.trivial),
                "untrained": list(c.untrained),
                "to_untrained": _interval(c.to_untrained),
                "verdict": c.verdict or None,
                "references": {n: _interval(i) for n, i in c.references.items()},
            }
            for c in found.changes
        },
        "products": [
            {
                "first": p.first,
                "second": p.second,
                "product": p.whole,
                **_interval(p.error),
                "shift": p.shift,
                "untrained": list(p.untrained),
                "composed": p.composed,
            }
            for p in found.products
        ],
        "curve": found.curve
        and {
            "unit": found.curve.unit,
            "points": [{"strength": s, **_interval(i)} for s, i in found.curve.points],
        },
        "predictions": [
            {"module": p.module, "law": p.law, **_interval(p.error), "baselines": dict(p.baselines)}
            for p in found.predictions
        ],
    }


def _interval(found: Interval | None) -> Any:
    return None if found is None else {"value": found.value, "low": found.low, "high": found.high}


def as_markdown(audits: Sequence[Audit], paired: Sequence[Row] = ()) -> str:
    """A section for a model card; texts from outside are escaped."""
    parts = [line for audit in audits for line in _card(audit)]
    for pair in comparisons(audits, paired):
        parts += [f"### {escaped(pair['first'].name)} against {escaped(pair['second'].name)}", ""]
        parts += [escaped(f"{pair['claim']}."), ""]
        parts += [*(f"- {escaped(r['sentence'])}" for r in pair["rows"]), ""]
    return "\n".join(parts)


def _card(audit: Audit) -> Iterator[str]:
    yield from (f"## What {escaped(audit.name)} keeps of an image", "")
    for warning in words.warnings(audit):
        yield from (f"> {escaped(warning)}", "")
    yield from (escaped(words.claim(audit)), "")
    yield "| factor | verdict | score [95 %] | untrained networks | chance |"
    yield "|---|---|---|---|---|"
    for r in audit.readings:
        band = [names.decimal(v, 2) for v in (min(r.untrained), max(r.untrained))] if r.untrained else []
        score = f"{r.symbol} {words.interval(r.score)}"
        cells = (r.title, words.degree(r), score, " to ".join(band), names.decimal(r.chance, 2))
        yield f"| {' | '.join(escaped(c) for c in cells)} |"
    yield ""
    for r in audit.readings:
        said = " ".join(s for s in (f"{words.sentence(r)}.", words.downstream(r)) if s)
        yield f"- {escaped(said[:1].upper() + said[1:])}"
    yield ""
    if earlier := words.earlier_layers(audit):
        yield from (*(f"- {escaped(line[:1].upper() + line[1:])}." for line in earlier), "")
    if audit.equivariance:
        said = equivariance_words.claim(audit.equivariance)
        yield from ("### How its features change with the images", "", escaped(said), "")
        for found in audit.equivariance:
            line = f"{equivariance_words.sentence(found)}."
            yield f"- {escaped(line[:1].upper() + line[1:])}"
        yield ""
    shown = ("Images", "Number of images", "Different images", "Weights", "Size", "Normalisation", "Versions")
    facts: Mapping[str, str] = dict(measured(audit))
    facts_line = "; ".join(f"{n.lower()}: {facts[n]}" for n in shown if n in facts)
    yield from (f"Measured with `equissl audit`; {escaped(facts_line)}.", "")


def escaped(line: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", " ".join(line.split()))
