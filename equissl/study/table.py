"""Table of a study: mean and standard deviation over seeds, and paired differences between cells."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from equissl.report import statistics
from equissl.study.plan import key

Rows = Sequence[Mapping[str, Any]]
Value = dict[str, Any]


def build(plan: Mapping[str, Any], rows: Rows) -> dict[str, Any]:
    """Tabulate score rows, as JSON-ready data: one entry per cell, with a value per measure.

    Args:
        plan: what ``study.json`` holds.
        rows: score rows, each with "run", "labels", "seed" and "machine".

    Returns:
        The plan's layout with "cells" (labels, cost, epochs, seeds that are done and planned, values),
        "baselines" (random-init encoder, constant prediction), "differences" and "machines".
    """
    scores: dict[tuple[str, str, str], Mapping[str, Any]] = {}
    for row in rows:  # the first row is the study's, later ones come from other data
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
    copied = {
        k: plan[k]
        for k in ("title", "about", "measures", "figure", "across", "compare", "reference", "command")
    }
    table = {**copied, "cells": list(cells.values()), "baselines": baselines}
    table["machines"] = sorted({r["machine"] for r in rows})
    table["differences"] = _differences(table)
    return table


def value_of(by_seed: Mapping[int, Mapping[str, Any] | None]) -> Value:
    """Mean, standard deviation (None for one seed) and the value per seed."""
    done = {s: r for s, r in sorted(by_seed.items()) if r is not None}
    values = {str(s): float(r["value"]) for s, r in done.items()}
    numbers = list(values.values())
    first = next(iter(done.values()), {})
    return {
        "mean": statistics.mean(numbers),
        "std": statistics.std(numbers),
        "seeds": len(numbers),
        "values": values,
        "unit": first.get("unit", ""),
        "images": first.get("count", 0),
    }


def markdown(table: Mapping[str, Any]) -> str:
    """Render a table as Markdown."""
    lines = [f"# {table['title']}", ""]
    if table["about"]:
        lines += [table["about"], ""]
    lines += [*_grid(*_body(table)), ""]
    done = sum(c["seeds"] for c in table["cells"])
    planned = sum(c["planned"] for c in table["cells"])
    images = {v["images"] for c in table["cells"] for v in c["values"].values() if v["images"]}
    scored = f", each of {_range(images)} images" if images else ""
    lines += [
        f"Mean ± standard deviation over seeds{scored}. {done} of {planned} runs are done. *views*: encoded "
        "images per image of the batch, *px*: the same in units of a full-sized image (momentum encoders and "
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
    """ "0.812 ± 0.004"; "" without a value."""
    if value["mean"] is None:
        return ""
    mean = f"{value['mean']:{'+' if signed else 'z'}.{digits}f}"
    return mean if value["std"] is None else f"{mean} ± {value['std']:.{digits}f}"


def _digits(measure: Mapping[str, Any]) -> int:
    return int(measure.get("digits", 3))  # plans of older folders have none


def machine(environment: Mapping[str, Any]) -> str:
    """Hardware and versions of a run, from its ``environment.json``."""
    gpu = environment.get("cuda") if "cuda" in str(environment.get("device", "")) else None
    threads = environment.get("threads")
    cpu = f"CPU ({environment.get('processor')}, {threads} thread{'s' * (threads != 1)})"
    hardware = gpu or cpu
    stored = environment.get("versions")
    versions = stored if isinstance(stored, dict) else {}
    return f"{hardware}, torch {versions.get('torch', '?')}, equissl {versions.get('equissl', '?')}"


def _baseline(scores: Mapping[tuple[str, str, str], Mapping[str, Any]], name: str, kind: str) -> Value:
    """Mean of a baseline over all runs."""
    values = [float(r["value"]) for (_, k, b), r in scores.items() if k == name and b == kind]
    return {"mean": statistics.mean(values), "std": None}


def _body(table: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    across, cells, measures = table["across"], table["cells"], table["measures"]
    labels = [k for k in cells[0]["labels"] if k != across]
    columns = list(dict.fromkeys(c["labels"][across] for c in cells)) if across else [""]
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for cell in cells:
        rows.setdefault(tuple(cell["labels"][k] for k in labels), {})[cell["labels"].get(across, "")] = cell
    head = [*labels, "views", "px", "images/step", "epochs", "n"]
    head += [f"{m['title']}, {b}" if b else m["title"] for m in measures for b in columns]
    body = []
    for values, by_column in rows.items():
        costs = [
            _range({c[f] for c in by_column.values()})
            for f in ("views", "pixels", "images_per_step", "epochs", "seeds")
        ]
        numbers = [
            text(by_column[b]["values"][m["name"]], digits=_digits(m)) if b in by_column else ""
            for m in measures
            for b in columns
        ]
        body.append([*values, *costs, *numbers])
    for kind, title in (("random", "random-init encoder"), ("constant", "constant prediction")):
        baseline = table["baselines"][kind]
        if any(v["mean"] is not None for v in baseline.values()):
            numbers = [text(baseline[m["name"]], digits=_digits(m)) for m in measures for _ in columns]
            body.append([title, *[""] * (len(labels) + 4), *numbers])
    return head, body


def _differences(table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Paired differences, by seed, of every cell to the one it is compared with."""
    by_labels = {json.dumps(c["labels"]): c for c in table["cells"]}
    differences = []
    for cell in table["cells"]:
        other = by_labels.get(json.dumps(_compared_with(table, cell["labels"])))
        if other is None or other is cell:
            continue
        entry: dict[str, Any] = {"labels": cell["labels"], "values": {}}
        for name, own in cell["values"].items():
            by_seed = [{int(s): v for s, v in c["values"].items()} for c in (own, other["values"][name])]
            pairs = statistics.paired_differences(*by_seed)
            change = value_of({s: {"value": v} for s, v in pairs.items()})
            change["clear"] = statistics.sign_of(list(change["values"].values())) != 0
            entry["values"][name] = change
        differences.append(entry)
    return differences


def _compared_with(table: Mapping[str, Any], labels: Mapping[str, str]) -> Mapping[str, str] | None:
    """Labels of the cell that the cell with ``labels`` is compared with."""
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
    body, without_gain = [], []
    for entry in entries:
        changes = [entry["values"][m["name"]] for m in measures]
        values = [text(c, True, _digits(m)) for c, m in zip(changes, measures, strict=True)]
        numbers = [f"**{t}**" if c["clear"] else t for c, t in zip(changes, values, strict=True)]
        body.append([*entry["labels"].values(), *numbers])
        gains = zip(changes, measures, strict=True)
        if not any(c["clear"] and (c["mean"] < 0) == m.get("lower", False) for c, m in gains):
            without_gain.append(" + ".join(entry["labels"].values()))
    other = ", ".join(f"{label} = {value}" for label, value in chosen.items())
    lines = ["", f"## Difference to {other}, paired by seed", "", *_grid(head, body), ""]
    lines += [
        "Bold: the 95 % interval of the paired differences (Student's t) leaves out 0; of twenty such "
        "numbers one is expected to by chance. Everything else is no clear difference."
    ]
    if without_gain:
        lines += ["", f"No clear gain on any measure at this scale: {'; '.join(without_gain)}."]
    return lines


def _grid(head: Sequence[str], body: Sequence[Sequence[str]]) -> list[str]:
    rows = [head, ["---"] * len(head), *body]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]


def _range(values: set[Any]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}-{high:g}"
