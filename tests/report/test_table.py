"""The comparison: its text, who is marked, and how seeds and baselines are merged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from report.fake_runs import EQUIVARIANT, INVARIANT, Scores, build_run, lines, recipe, row
from rich.console import Console

from equissl.report import Table, comparison, finding, text
from equissl.report import display_names as words
from equissl.report.groups import ACCURACY, READ

GOLDEN = """
                      invariant          equivariant          Untrained encoder  Constant
 ─────────────────────────────────────────────────────────────────────────────────────────
 Accuracy
   kNN accuracy, top-1  0.74 [0.72, 0.76]  0.75 [0.73, 0.77]    0.52 [0.49, 0.55]  0.12

 Ground-truth factors
   Floor hue (R²)       0.32 [0.29, 0.36]  0.91 [0.90, 0.92] *  0.27 [0.24, 0.30]  0.00

 Collapse indicators
   RankMe               38.2               61.7                 -                  -

* clearly best, untrained included: intervals apart. [low, high]: 95 % interval.
"""
FACTORS, AUDIT = READ[:2]
CHOSEN = ("knn/top1", "factor/floor_hue", "collapse/rank_me")


def printed(table: Table, width: int) -> str:
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as capture:
        console.print(text(table, width))
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def squeezed(shown: str) -> list[list[str]]:
    return [line.split() for line in shown.splitlines() if line.strip(" ─")]


def two(tmp_path: Path, first: Scores, second: Scores) -> Table:
    a = build_run(tmp_path / "a", "invariant", first, modules=False)
    b = build_run(tmp_path / "b", "equivariant", second, modules=True)
    return comparison([a, b])


def test_the_terminal_table_reads_as_agreed(tmp_path: Path) -> None:
    table = two(tmp_path, *({k: s[k] for k in CHOSEN} for s in (INVARIANT, EQUIVARIANT)))
    assert squeezed(printed(table, 120)) == squeezed(GOLDEN)


@pytest.mark.parametrize("width", [200, 120, 100, 80])
def test_the_terminal_table_fits_and_keeps_every_number(pair: tuple[Path, Path], width: int) -> None:
    table = comparison(pair)
    shown = printed(table, width)
    assert max(map(len, shown.splitlines())) <= width
    for line in table.lines(*READ, ACCURACY):
        for cell in line.cells[:2]:
            assert cell and cell.margin(line.digits) in shown


def test_only_intervals_that_do_not_touch_make_a_winner(tmp_path: Path) -> None:
    first = {"factor/apart": (0.5, 0.05), "factor/touching": (0.5, 0.05), "factor/exact": (0.5, 0.0)}
    second = {"factor/apart": (0.61, 0.05), "factor/touching": (0.6, 0.05), "factor/exact": (0.9, 0.0)}
    table = two(tmp_path, first, second)
    assert {line.name: line.winner for line in table.lines(FACTORS)} == {
        "factor/apart": 1,
        "factor/touching": None,
        "factor/exact": None,  # without an interval nothing is known to be clear
    }


def test_collapse_indicators_have_no_winner(tmp_path: Path) -> None:
    table = two(tmp_path, {"collapse/rank_me": (10, 1)}, {"collapse/rank_me": (20, 1)})
    assert table.lines("Collapse indicators")[0].winner is None


def test_seeds_become_one_cell_with_mean_spread_and_number(tmp_path: Path) -> None:
    runs = [
        build_run(tmp_path / f"run{s}", "simclr", {"factor/hue": (v, 0.01)}, modules=False, seed=s)
        for s, v in enumerate([0.5, 0.6, 0.7])
    ]
    table = comparison(runs)
    cell = table.lines(FACTORS)[0].cells[0]
    assert cell is not None
    assert [c.title for c in table.columns] == ["simclr", "Untrained encoder", "Constant"]
    assert cell.text(2) == "0.60 ± 0.10 (n=3)"
    assert (cell.low, cell.high) == (pytest.approx(0.49), pytest.approx(0.71))


def test_seeds_are_compared_in_pairs(tmp_path: Path) -> None:
    """By the t interval of the differences, however far single runs lie apart."""
    scores = {"a": [0.5, 0.6, 0.9], "b": [0.52, 0.63, 0.92], "c": [0.45, 0.95, 0.99]}
    runs = {
        name: [
            build_run(tmp_path / f"{name}{s}", name, {"factor/hue": (v, 0.1)}, modules=False, seed=s)
            for s, v in enumerate(values)
        ]
        for name, values in scores.items()
    }
    assert comparison(runs["a"] + runs["b"]).lines(FACTORS)[0].winner == 1
    assert comparison(runs["a"] + runs["c"]).lines(FACTORS)[0].winner is None
    assert comparison(runs["a"][:1] + runs["b"][1:]).lines(FACTORS)[0].winner is None  # no seed in common


def test_lower_wins_where_lower_is_better(tmp_path: Path) -> None:
    errors = {"a": 0.2, "b": 0.1}
    rows = [row(m, "retrieval/pre/pose", v, v - 0.01, v + 0.01) for m, v in errors.items()]
    (tmp_path / "scores.jsonl").write_text(lines([{**r, "higher_is_better": False} for r in rows]))
    (line,) = comparison([tmp_path]).lines("Retrieval of the predicted image")
    assert (line.label, line.winner) == ("Pre, pose", 1)


def test_scores_that_say_nothing_of_themselves_go_by_their_name(tmp_path: Path) -> None:
    plain = {"value": 0.5, "low": 0.4, "high": 0.6}
    rows = [{"name": "my/own_score", "model": m, **plain, "value": v} for m, v in (("a", 0.5), ("b", 0.59))]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    table = comparison([tmp_path])
    assert [g.title for g in table.groups] == ["Other measures"]
    assert table.groups[0].lines[0].label == "My, own score" and table.groups[0].lines[0].winner is None


def test_runs_of_one_name_and_different_recipes_stay_apart(tmp_path: Path) -> None:
    runs = [build_run(tmp_path / n, "simclr", INVARIANT, modules=False, seed=s) for s, n in enumerate("ab")]
    (runs[1] / "recipe.json").write_text(json.dumps({**recipe(False, 1), "epochs": 90}))
    titles = [c.title for c in comparison(runs).columns if c.kind == "model"]
    assert titles == ["simclr (a)", "simclr (b)"]


def test_probe_seeds_of_one_run_are_merged(tmp_path: Path) -> None:
    rows = [row("m", "factor/hue", 0.5 + 0.1 * s, seed=s) for s in range(3)]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    cell = comparison([tmp_path]).lines(FACTORS)[0].cells[0]
    assert cell is not None and cell.text(2) == "0.60 ± 0.10 (n=3)"


def test_the_newest_step_replaces_older_ones(tmp_path: Path) -> None:
    rows = [row("m", "factor/hue", 0.1, step=10), row("m", "factor/hue", 0.7, step=20)]
    rows += [row("m", "factor/hue", 0.2, step=10, seed=1)]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    cell = comparison([tmp_path]).lines(FACTORS)[0].cells[0]
    assert cell is not None and cell.text(2) == "0.70"


def test_each_architecture_has_its_own_random_encoder(tmp_path: Path) -> None:
    rows = [row(m, "factor/hue", v) for m, v in (("resnet18", 0.4), ("vit", 0.5))]
    rows += [row(m, "factor/hue", v, baseline="random") for m, v in (("resnet18", 0.1), ("vit", 0.2))]
    rows += [row(m, "factor/hue", 0.0, baseline="constant") for m in ("resnet18", "vit")]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    table = comparison([tmp_path])
    assert [c.title for c in table.columns] == [
        "resnet18",
        "vit",
        "Untrained encoder (resnet18)",
        "Untrained encoder (vit)",
        "Constant",
    ]
    assert [c and c.text(2) for c in table.lines(FACTORS)[0].cells] == [
        "0.40",
        "0.50",
        "0.10",
        "0.20",
        "0.00",
    ]


def test_parts_and_datasets_are_rows_of_their_own(tmp_path: Path) -> None:
    rows = [row("m", "factor/hue", 0.1), row("m", "factor/hue", 0.2, part="equi")]
    rows += [row("m", "linear/top1", 0.3), row("m", "linear/top1", 0.4, data="flowers")]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    table = comparison([tmp_path])
    assert [line.label for line in table.lines(FACTORS)] == ["Hue", "Hue · part equi"]
    assert [line.label for line in table.lines(ACCURACY)] == [
        "Linear accuracy, top-1 · solids",
        "Linear accuracy, top-1 · flowers",
    ]


def claim(table: Table) -> str:
    return finding(table).claim


def test_the_headline_is_a_dozen_words_on_what_is_kept(pair: tuple[Path, Path]) -> None:
    found = finding(comparison(pair))
    assert found.claim == "equivariant keeps hue, floor hue, brightness and 4 more better than invariant."
    assert found.evidence[0].startswith(
        "equivariant keeps hue (R² 0.87 vs 0.18, untrained 0.34), floor hue ("
    )
    assert "There is no clear difference in accuracy (0.78 vs 0.77, untrained 0.33)." in found.evidence
    assert not found.conditions


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ((0.5, 0.1), (0.6, 0.1), "There is no clear difference between a and b."),
        ((0.2, 0.1), (0.6, 0.1), "b keeps hue better than a."),
        ((-0.9, 0.1), (-0.2, 0.1), "There is no clear difference"),  # both are worse than a constant
        ((0.2, 0.0), (0.6, 0.0), "There is no clear difference"),  # no intervals
        ((0.1, 0.02), (0.25, 0.02), "There is no clear difference"),  # both below untrained weights
    ],
)
def test_the_headline_names_clear_differences_only(
    tmp_path: Path, first: tuple[float, float], second: tuple[float, float], expected: str
) -> None:
    scores = {"a": first, "b": second}
    runs = [build_run(tmp_path / n, n, {"factor/hue": s}, modules=False) for n, s in scores.items()]
    assert claim(comparison(runs)).startswith(expected)


def test_paired_audits_make_the_claim_where_nothing_is_kept_better(tmp_path: Path) -> None:
    scores = {"a": (0.5, 0.1), "b": (0.6, 0.1)}
    runs = [build_run(tmp_path / n, n, {"factor/hue": s}, modules=False) for n, s in scores.items()]
    assert finding(comparison(runs), "b reads hue better.").claim == "b reads hue better."


@pytest.mark.parametrize(
    ("value", "word", "mark"),
    [
        (0.9, "kept", 1),
        (0.6, "partly kept", 1),
        (0.3, "undecided", None),
        (0.1, "lost", None),
        (-0.22, "lost", None),
    ],
)
def test_what_does_not_beat_untrained_weights_is_never_kept_nor_marked(
    tmp_path: Path, value: float, word: str, mark: int | None
) -> None:
    """However clearly it beats the other model; an untrained encoder reads 0.25 here."""
    scores = {"a": {"factor/hue": (-0.5, 0.02)}, "b": {"factor/hue": (value, 0.08)}}
    table = comparison([build_run(tmp_path / n, n, s, modules=False) for n, s in scores.items()])
    (line,) = table.lines(FACTORS)
    assert line.cells[1] is not None and (line.cells[1].word, line.winner) == (word, mark)
    found = finding(table)
    assert ("keeps" in found.claim) == (mark is not None)
    assert ("reads hue" in " ".join(found.evidence)) == (mark is None)
    assert ("b has lost hue" in " ".join(found.evidence)) == (word == "lost") or "a and b" in found.claim
    shown = printed(table, 120)
    assert ("lost" in shown.splitlines()[-3]) and ("*" in shown.splitlines()[-3]) == (mark is not None)


def test_scores_without_verdicts_are_not_called_kept(tmp_path: Path) -> None:
    """As of folders that were scored before there were verdicts."""
    rows = [row(m, "factor/hue", v, v - 0.02, v + 0.02) for m, v in (("a", -0.22), ("b", 0.8))]
    rows += [row(m, "factor/hue", 0.0, baseline="constant") for m in "ab"]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    table = comparison([tmp_path])
    found = finding(table)
    assert "keeps" not in found.claim and "none can be called kept or lost" in " ".join(found.conditions)
    assert "b reads hue better than a" in " ".join(found.evidence)
    assert "-0.22 [-0.24, -0.20] not readable" in printed(table, 120)


def test_few_images_and_different_sizes_stand_beside_the_claim(tmp_path: Path) -> None:
    scores = {"a": {"factor/hue": (0.5, 0.02)}, "b": {"factor/hue": (0.9, 0.02)}}
    runs = [build_run(tmp_path / n, n, s, modules=False) for n, s in scores.items()]
    for run, size in zip(runs, (32, 64), strict=True):
        plain = json.loads((run / "recipe.json").read_text())
        plain["encoder"]["size"] = size
        (run / "recipe.json").write_text(json.dumps(plain))
        written = (run / "scores.jsonl").read_text()
        (run / "scores.jsonl").write_text(written.replace('"count": 2000', '"count": 120'))
    few, sizes = finding(comparison(runs)).conditions
    assert few.startswith("Only 120 test images: below 200") and "a 32 px and b 64 px" in sizes


@pytest.mark.parametrize(
    ("accuracy", "expected"),
    [
        (0.9, "b is the most accurate (0.90 vs 0.77, untrained 0.33)."),
        (0.5, "a is the most accurate (0.77 vs 0.50, untrained 0.33)."),
        (0.78, "There is no clear difference in accuracy (0.78 vs 0.77, untrained 0.33)."),
    ],
)
def test_the_evidence_tells_the_price(tmp_path: Path, accuracy: float, expected: str) -> None:
    better = {"factor/hue": (0.8, 0.02), "linear/top1": (accuracy, 0.02)}
    worse = {"factor/hue": (0.3, 0.02), "linear/top1": (0.77, 0.02)}
    runs = [build_run(tmp_path / n, n, s, modules=False) for n, s in (("a", worse), ("b", better))]
    found = finding(comparison(runs))
    assert found.claim == "b keeps hue better than a." and expected in found.evidence


def test_a_single_model_is_held_against_its_untrained_network(tmp_path: Path) -> None:
    scores = {"factor/hue": (0.9, 0.02), "linear/top1": (0.8, 0.02)}
    found = finding(comparison([build_run(tmp_path / "a", "a", scores, modules=False)]))
    assert found.claim == "a keeps hue."
    assert found.evidence == ("a keeps hue (R² 0.90, untrained 0.25).",)


def test_models_are_never_seeds(tmp_path: Path) -> None:
    """A baseline beside two models has a range, and folders of one name without recipes stay apart."""
    scores = {"factor/hue": (0.9, 0.02)}
    runs = [build_run(tmp_path / n, n, scores, modules=n == "b", seed=s) for s, n in enumerate("ab")]
    (line,) = comparison(runs).lines(FACTORS)
    random = line.cells[2]
    assert random is not None and random.std is None and random.margin(2) == "(0.25 to 0.26)"
    assert "deviation" not in printed(comparison(runs), 120)
    for k in range(2):
        (tmp_path / f"audit{k}").mkdir()
        (tmp_path / f"audit{k}" / "scores.jsonl").write_text(lines([row("net", "audit/hue", 0.5, seed=k)]))
    titles = [c.title for c in comparison([tmp_path / "audit0", tmp_path / "audit1"]).columns]
    assert titles == ["net (audit0)", "net (audit1)"]


def test_names_and_numbers_are_for_people() -> None:
    assert words.label("floor_hue") == "Floor hue" and words.label("probe/knn") == "kNN accuracy, online"
    assert words.label("equimod/contrast") == "EquiMod, contrast"
    assert [words.decimal(v, 2) for v in (-0.001, 0.825, -1.0)] == ["0.00", "0.82", "-1.00"]
    assert [words.digits([v]) for v in (312.0, 38.2, 0.5, 0.04, 0.0004)] == [0, 1, 2, 3, 4]
    assert words.digits([0.5], [0.004]) == 3
    assert [words.duration(s) for s in (59.6, 61, 3725)] == ["1 min 0 s", "1 min 1 s", "1 h 2 min"]


def test_controls_of_one_model_are_lines_and_what_is_implied_is_left_out(tmp_path: Path) -> None:
    kinds = {"": 0.4, "shuffled": 0.1, "identity": 0.0}
    rows = [row("m", "equivariance/absolute/hue", v, baseline=b) for b, v in kinds.items()]
    (tmp_path / "scores.jsonl").write_text(lines(rows))
    table = comparison([tmp_path])
    assert [c.title for c in table.columns] == ["m"]
    assert [
        (line.label, line.cells[0] and line.cells[0].value)
        for line in table.lines("Equivariance of the predictor")
    ] == [
        ("Absolute, hue", 0.4),
        ("Absolute, hue · shuffled", 0.1),
    ]


def test_seeds_in_folders_of_their_own_names_are_one_column(tmp_path: Path) -> None:
    """Rows carry the folder's name as model, so equal recipes are what tells seeds of one."""
    runs = [
        build_run(tmp_path / name, name, {"fewshot/5": (v, 0.01)}, modules=False, seed=s)
        for s, (name, v) in enumerate({"plain-seed0": 0.5, "plain-seed1": 0.7}.items())
    ]
    other = build_run(tmp_path / "equi", "equi", {"fewshot/5": (0.9, 0.01)}, modules=True)
    table = comparison([*runs, other])
    assert [c.title for c in table.columns if c.kind == "model"] == ["plain", "equi"]
    line = table.lines(ACCURACY)[0]
    assert line.cells[0] is not None
    assert line.cells[0].text(2) == "0.60 ± 0.14 (n=2)" and line.winner == 1
    (runs[1] / "recipe.json").write_text(json.dumps({**recipe(False, 1), "epochs": 90}))
    apart = [c.title for c in comparison([*runs, other]).columns if c.kind == "model"]
    assert apart == ["plain-seed0", "plain-seed1", "equi"]
