"""The table of a study from its plan and score rows: means and spreads over seeds, and clear differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from equissl.report import statistics
from equissl.study.plan import key

Rows = Sequence[Mapping[str, Any]]
Value = dict[str, Any]


def build(plan: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """JSON-ready: one entry per cell with a value per measure; cells without scores are there too.

    Args:
        plan: what ``study.json`` holds.
        rows: score rows, each with "run", "labels", "seed" and "machine".

    Returns:
        The plan's layout with "cells" (labels, cost, epochs, seeds that are done and planned, values),
        "baselines" (untrained encoder, one answer for all), "differences" and "machines".
    """
    scores: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in rows:  # a run's own come first: what it was later asked on other data is not the study's
        scores.setdefault((row["run"], key(row["name"], row["part"]), row["baseline"]), row)
    cells: dict[str, dict[str, Any]] = {}
    for run in plan["runs"]:
        cell = cells.setdefault(
            json.dumps(run["labels"]), {"labels": run["labels"], **run["cost"], "epochs": run["epochs"]}
        )
        cell.setdefault("runs", {})[run["seed"]] = run["run"]
    for cell in cells.values():
        named = cell.pop("runs")
        cell["values"] = {
            m["name"]: value_of({s: scores.get((r, m["name"], "")) for s, r in named.items()})
            for m in plan["measures"]
        }
        cell["seeds"] = max((v["seeds"] for v in cell["values"].values()), default=0)
        cell["planned"] = len(named)
    baselines = {
        kind: {m["name"]: _baseline(scores, m["name"], kind) for m in plan["measures"]}
        for kind in ("random", "constant")
    }
    shown = {
        k: plan[k]
        for k in ("title", "about", "measures", "figure", "across", "compare", "reference", "command")
    }
    table = {**shown, "cells": list(cells.values()), "baselines": baselines}
    table["machines"] = sorted({r["machine"] for r in rows})
    table["differences"] = _differences(table)
    return table


def value_of(by_seed: Mapping[int, Mapping[str, Any] | None]) -> Value:
    """Mean, standard deviation over seeds (None for one) and the single values."""
    found = {s: r for s, r in sorted(by_seed.items()) if r is not None}
    values = {str(s): float(r["value"]) for s, r in found.items()}
    numbers = list(values.values())
    first = next(iter(found.values()), {})
    return {
        "mean": statistics.mean(numbers),
        "std": statistics.std(numbers),
        "seeds": len(numbers),
        "values": values,
        "unit": first.get("unit", ""),
        "images": first.get("count", 0),
    }


def markdown(table: Mapping[str, Any]) -> str:
    """The table as a page of Markdown."""
    lines = [f"# {table['title']}", ""]
    if table["about"]:
        lines += [table["about"], ""]
    lines += [*_grid(*_body(table)), ""]
    done = sum(c["seeds"] for c in table["cells"])
    planned = sum(c["planned"] for c in table["cells"])
    images = {v["images"] for c in table["cells"] for v in c["values"].values() if v["images"]}
    scored = f", {_range(images)} images behind each" if images else ""
    lines += [
        f"Mean ± standard deviation over seeds{scored}. {done} of {planned} runs are done. *views*: encoded "
        "images per image of the batch, *px*: the same in units of a full-sized image (teachers and "
        "heads are not counted), *n*: seeds."
    ]
    lines += _difference_lines(table)
    lines += [
        "",
        f"Command: `{table['command']}`",
        "",
        f"Hardware: {'; '.join(table['machines']) or 'none yet'}",
    ]
    return "\n".join(lines) + "\n"


def text(value: Value, signed: bool = False, digits: int = 3) -> str:
    """ "0.812 ± 0.004", or "" where nothing was measured."""
    if value["mean"] is None:
        return ""
    mean = f"{value['mean']:{'+' if signed else 'z'}.{digits}f}"
    return mean if value["std"] is None else f"{mean} ± {value['std']:.{digits}f}"


def _digits(measure: Mapping[str, Any]) -> int:
    return int(measure.get("digits", 3))  # an older folder's plan does not say


def machine(environment: Mapping[str, Any]) -> str:
    """The hardware and the library behind a run, from its ``environment.json``."""
    gpu = environment.get("cuda") if "cuda" in str(environment.get("device", "")) else None
    place = gpu or f"CPU ({environment.get('processor')}, {environment.get('threads')} threads)"
    versions = environment.get("versions", {})
    return f"{place}, torch {versions.get('torch', '?')}, equissl {versions.get('equissl', '?')}"


def _baseline(scores: Mapping[tuple[str, str, str], Mapping[str, Any]], name: str, kind: str) -> Value:
    """The same in all runs up to the probe's data, so the mean over them, without a spread."""
    found = [float(r["value"]) for (_, k, b), r in scores.items() if k == name and b == kind]
    return {"mean": statistics.mean(found), "std": None}


def _body(table: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    across, cells, measures = table["across"], table["cells"], table["measures"]
    labels = [k for k in cells[0]["labels"] if k != across]
    beside = list(dict.fromkeys(c["labels"][across] for c in cells)) if across else [""]
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell in cells:
        rows.setdefault(tuple(cell["labels"][k] for k in labels), {})[cell["labels"].get(across, "")] = cell
    head = [*labels, "views", "px", "images/step", "epochs", "n"]
    head += [f"{m['title']}, {b}" if b else m["title"] for m in measures for b in beside]
    body = []
    for named, found in rows.items():
        facts = [
            _range({c[f] for c in found.values()})
            for f in ("views", "pixels", "images_per_step", "epochs", "seeds")
        ]
        numbers = [
            text(found[b]["values"][m["name"]], digits=_digits(m)) if b in found else ""
            for m in measures
            for b in beside
        ]
        body.append([*named, *facts, *numbers])
    for kind, title in (("random", "untrained encoder"), ("constant", "one answer for all")):
        known = table["baselines"][kind]
        if any(v["mean"] is not None for v in known.values()):
            numbers = [text(known[m["name"]], digits=_digits(m)) for m in measures for _ in beside]
            body.append([title, *[""] * (len(labels) + 4), *numbers])
    return head, body


def _differences(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Every cell minus the one it is compared with, seed by seed."""
    by_labels = {json.dumps(c["labels"]): c for c in table["cells"]}
    found = []
    for cell in table["cells"]:
        other = by_labels.get(json.dumps(_compared_with(table, cell["labels"])))
        if other is None or other is cell:
            continue
        entry: dict[str, Any] = {"labels": cell["labels"], "values": {}}
        for name, mine in cell["values"].items():
            by_seed = [{int(s): v for s, v in c["values"].items()} for c in (mine, other["values"][name])]
            pairs = statistics.paired_differences(*by_seed)
            change = value_of({s: {"value": v} for s, v in pairs.items()})
            change["clear"] = statistics.sign_of(list(change["values"].values())) != 0
            entry["values"][name] = change
        found.append(entry)
    return found


def _compared_with(table: Mapping[str, Any], labels: Mapping[str, str]) -> Mapping[str, str] | None:
    """The labels of the cell that one with ``labels`` is compared with."""
    if table["reference"]:
        reference: Mapping[str, str] = table["reference"]
        return reference
    if table["compare"]:
        label, value = table["compare"]
        return {**labels, label: value}
    return None


def _difference_lines(table: Mapping[str, Any]) -> list[str]:
    entries = [e for e in table["differences"] if any(v["seeds"] for v in e["values"].values())]
    if not entries:
        return []
    chosen = table["reference"] or dict([table["compare"]])
    measures = table["measures"]
    head = [*entries[0]["labels"], *(m["title"] for m in measures)]
    body, silent = [], []
    for entry in entries:
        changes = [entry["values"][m["name"]] for m in measures]
        told = [text(c, True, _digits(m)) for c, m in zip(changes, measures, strict=True)]
        marked = [f"**{t}**" if c["clear"] else t for c, t in zip(changes, told, strict=True)]
        body.append([*entry["labels"].values(), *marked])
        gains = zip(changes, measures, strict=True)
        if not any(c["clear"] and (c["mean"] < 0) == m.get("lower", False) for c, m in gains):
            silent.append(" + ".join(entry["labels"].values()))
    named = ", ".join(f"{label} = {value}" for label, value in chosen.items())
    lines = ["", f"## Difference to {named}, seed by seed", "", *_grid(head, body), ""]
    lines += [
        "Bold: the 95 % interval of the paired differences (Student's t) leaves out 0; of twenty such "
        "numbers one is expected to by chance. Everything else is no clear difference."
    ]
    if silent:
        lines += ["", f"No clear gain on any measure at this scale: {'; '.join(silent)}."]
    return lines


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _range(values: set[Any]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"
