from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from report.fake_audits import PIXEL, build_audit, factor
from report.test_page import Page

from equissl.report import audit_text, run_folders, write, write_audits
from equissl.report.audit import equivariance_words, words
from equissl.report.audit.readings import Audit, audits
from equissl.report.models import models
from equissl.report.rows import read

FACTORS = {
    "hue": factor(0.41, probes={"linear": 0.41, "kernel": 0.4}),
    "crop_top": factor(0.1, "lost", 0.6),
    "crop_left": factor(0.12, "lost", 0.6),
    "brightness": factor(0.5, "as untrained", 0.5, to_statistics=[-0.1, -0.2, 0.1]),
    "blur_sigma": factor(0.0, "not readable", 0.0),
}


def opened(folder: Path) -> Audit:
    (audit,) = audits(models([read(folder)]))
    return audit


def sentence_of(tmp_path: Path, **found: Any) -> str:
    audit = opened(build_audit(tmp_path / "one", {"hue": factor(**found)}))
    return words.sentence(audit.readings[0])


def test_the_claim_names_every_factor_by_its_verdict(tmp_path: Path) -> None:
    audit = opened(build_audit(tmp_path / "one", FACTORS))
    assert words.claim(audit) == (
        "On 400 images, timm/resnet18 keeps part of hue; it has lost crop; "
        "it reads brightness no better than untrained networks; "
        "it cannot be judged by blur sigma, which neither it nor any reference reads from these images."
    )
    assert words.to_repair(audit) == ("crop", "brightness")
    assert words.repair(audit)[1].endswith("keep=crop,brightness")
    assert list(words.warnings(audit)) == []


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (
            {"value": 0.41},
            "hue: partly kept: R² 0.41 [0.36, 0.46], 0.21 more than three untrained networks of its kind, "
            "0.22 more than image statistics; a linear head suffices",
        ),
        ({"value": 0.9}, "hue: kept: R² 0.90"),
        ({"value": 0.41, "ceiling": 0.5}, "hue: kept: "),
        ({"value": 0.1}, "hue: slightly kept: "),
        ({"value": 0.5, "verdict": "lost", "untrained": 0.8}, "hue: partly lost: "),
        ({"value": 0.89, "probes": {"linear": 0.16, "kernel": 0.89}}, "linearly gone (R² 0.16), but there"),
        (
            {"value": 0.89, "probes": {"linear": 0.0, "kernel": 0.9}, "unit": "turns"},
            "; a kernel probe reads",
        ),
        ({"value": 0.01, "verdict": "not readable"}, "hue: not readable on these images"),
        ({"value": 0.3, "verdict": "undecided"}, "three untrained networks of its kind (0.18 to 0.23)"),
        ({"value": 0.05, "verdict": "lost", "amplitude": 0.7}, "; features move (0.70 of the way"),
        ({"value": 0.8, "amplitude": 0.02}, "; features move little (0.02 of the way"),
        (
            {"value": 0.8, "recorded": True, "from_class": [0.7, 0.6, 0.8], "within_class": [0.1, 0.0, 0.2]},
            "; the class alone tells 0.70, within a class features read 0.10 [0.00, 0.20]",
        ),
        (
            {"value": 0.8, "recorded": True, "from_class": [0.97, 0.96, 0.98], "within_class": None},
            "; the class alone tells it (0.97), so no more can be said",
        ),
        ({"value": 0.04, "verdict": ""}, "hue: not surely read: R² 0.04 [-0.01, 0.09]"),
        ({"value": 0.06, "verdict": ""}, "hue: R² 0.06 [0.01, 0.11]"),
    ],
)
def test_each_verdict_has_its_sentence(tmp_path: Path, found: dict[str, Any], said: str) -> None:
    assert said in sentence_of(tmp_path, **found)


def test_what_is_recorded_is_no_augmentation(tmp_path: Path) -> None:
    """Neither can a repair keep it, nor does it join the factors of an augmentation in a sentence."""
    recorded = {"crop_yield": factor(0.1, "lost", recorded=True), "crop_left": factor(0.1, "lost")}
    audit = opened(build_audit(tmp_path / "one", recorded))
    assert words.to_repair(audit) == ("crop",)
    assert "has lost crop yield and crop left" in words.claim(audit)


def test_few_images_and_random_weights_come_first(tmp_path: Path) -> None:
    few = {"hue": factor(0.41, distinct=60)}
    folder = build_audit(tmp_path / "one", few, "timm/resnet18 (random weights)", "random, seed 0", count=60)
    lines = audit_text([folder]).split("\n")
    assert lines[1].startswith("warning: Only 60 different images")
    html = write([folder], tmp_path / "page.html").read_text()
    assert "timm/resnet18 has random weights: there is nothing to audit." in html
    assert 0 < html.index("Only 60 different images") < html.index("<h1")


def test_the_page_shows_what_the_rows_hold(tmp_path: Path) -> None:
    more = {
        "rotation": factor(
            0.7, ceiling=0.9, absolute=[0.5, 0.4, 0.6], degrees=12.0, learning_curve={"100": 0.5, "200": 0.6}
        )
    }
    folder = build_audit(tmp_path / "one", {**FACTORS, **more})
    rows = (folder / "scores.jsonl").read_text()
    layers = [json.loads(rows.split("\n")[0]) | {"part": f"layer{k}"} for k in range(3)]
    (folder / "scores.jsonl").write_text(rows + "".join(json.dumps(r) + "\n" for r in layers))
    html = write([folder], tmp_path / "page.html").read_text()
    parsed = Page(html)
    text = re.sub(r"\s+", " ", "".join(parsed.words))
    assert parsed.open == []
    for said in ("keeps rotation; it keeps part of hue", "median error12°"):
        assert said in text, said
    for said in ("from the changed image alone", "layer2", "with 200 images", "equissl audit timm/resnet18"):
        assert said in text, said
    assert "No neighbours were recorded" not in text and "Nothing was logged" not in text
    assert "reads it better than the output" not in text
    assert html.count(PIXEL) == 4 * 6
    assert all(target.startswith(("data:image/png", "#")) for _, _, target in parsed.links)


def test_a_layer_that_reads_more_than_the_output_is_named(tmp_path: Path) -> None:
    folder = build_audit(tmp_path / "one", FACTORS)
    rows = (folder / "scores.jsonl").read_text()
    first = json.loads(rows.split("\n")[0])
    better = {"part": "layer1", "value": first["value"] + 0.3, "low": first["high"] + 0.1, "high": 0.99}
    (folder / "scores.jsonl").write_text(rows + json.dumps(first | better) + "\n")
    (said,) = words.earlier_layers(opened(folder))
    assert said.startswith("hue: layer1 reads it better than the output does, 0.71 [")
    assert said in audit_text([folder], 400) and said in write([folder], tmp_path / "page.html").read_text()


def test_equivariance_has_a_section_and_a_place_in_each_file(tmp_path: Path) -> None:
    folder = build_audit(tmp_path / "one", FACTORS, equivariance=True)
    (audit,) = audits(models([read(folder)]))
    said = {e.factor: equivariance_words.sentence(e) for e in audit.equivariance}
    assert said == {
        "quarter_turns": "quarter turns: features move by 0.70 of the way to another image; a linear map "
        "leaves 0.50 to 0.60 of the change (0.80 without a fit), less than untrained networks "
        "(0.80 to 0.90); one map after another is 0.20 [0.18, 0.22] from that of both",
        "horizontal_flip": "horizontal flip: features do not move",
        "crop": "crop: from 0.95 to 0.5 (area) features move by 0.10 to 0.60 in cosine distance",
        "hue": "hue: predicted by equimod: a step and back ends 0.30 [0.27, 0.33] from the start "
        "(1 is the change itself)",
    }
    claim = "Features change partly linearly with quarter turns; they do not move under horizontal flip."
    html = write([folder], tmp_path / "page.html").read_text()
    data, card = write_audits([folder], tmp_path)
    found = json.loads(data.read_text())["models"][0]["equivariance"]
    assert claim in html and claim in card.read_text() and claim in audit_text([folder], 200)
    for sentence in said.values():
        rest = sentence.partition(": ")[2]
        assert rest[1:] in html and rest in audit_text([folder], 300)
    assert {n: f["degree"] for n, f in found.items()} == {
        "quarter_turns": "partly linear",
        "horizontal_flip": "invariant",
        "crop": None,
        "hue": None,
    }
    change = found["quarter_turns"]["changes"]["rotate_90"]
    assert change["error"]["value"] == 0.6 and change["untrained"] == [0.8, 0.9]
    assert found["quarter_turns"]["products"][0]["product"] == "rotate_180"
    assert found["crop"]["curve"]["points"][1] == {"strength": 0.5, "value": 0.6, "low": 0.5, "high": 0.7}
    assert found["hue"]["predictions"][0]["baselines"] == {"shuffled": 0.9}
    without = build_audit(tmp_path / "two", FACTORS)
    assert "How features change" not in write([without], tmp_path / "other.html").read_text()


def test_names_of_models_and_folders_are_shown_and_not_obeyed(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|`x`\x1b[31m"
    folder = build_audit(tmp_path / "one", FACTORS, model=evil, weights=evil)
    html = write([folder], tmp_path / "page.html").read_text()
    assert "<script" not in html and "\x1b" not in html + audit_text([folder])
    _, card = write_audits([folder], tmp_path)
    assert "\\<script\\>" in card.read_text() and "\x1b" not in card.read_text()


def test_images_that_are_none_are_left_out(tmp_path: Path) -> None:
    folder = build_audit(tmp_path / "one", {"hue": factor(0.5)})
    path = folder / "audit_examples.json"
    path.write_text(path.read_text().replace(PIXEL, "https://example.org/x.png"))
    html = write([folder], tmp_path / "page.html").read_text()
    assert "example.org" not in html and "<img" not in html


def test_json_and_markdown_say_the_same(tmp_path: Path) -> None:
    folders = [build_audit(tmp_path / n, FACTORS, model=n) for n in "ab"]
    difference = {"value": 0.2, "low": 0.1, "high": 0.3, "word": "more"}
    paired = [{"name": "audit/hue", "folder": str(folders[0]), "other": str(folders[1]), **difference}]
    data, card = write_audits(folders, tmp_path, paired)
    content, text = json.loads(data.read_text()), card.read_text()
    assert content["schema"] == 1 and [m["name"] for m in content["models"]] == ["a", "b"]
    hue = content["models"][0]["factors"]["hue"]
    assert (hue["value"], hue["verdict"], hue["degree"]) == (0.41, "kept", "partly kept")
    assert hue["untrained"] == pytest.approx([0.18, 0.2, 0.23])
    said = "hue: a reads it better, by 0.20 [0.10, 0.30]"
    assert content["comparisons"][0]["factors"]["hue"]["sentence"] == said
    assert said.replace("[", "\\[").replace("]", "\\]") in text
    assert said in audit_text(folders, 120, paired)
    html = write(folders, tmp_path / "page.html", paired).read_text()
    assert "On the same 400 images, a reads hue better than b." in html
    assert run_folders([tmp_path]) == folders


@pytest.mark.parametrize(
    ("third", "said"),
    [
        ("more", "On the same 400 images, a reads hue better than all others."),
        ("alike", "On the same 400 images, none of 3 encoders reads a factor better than all others."),
    ],
)
def test_the_headline_of_three_encoders_is_about_all(tmp_path: Path, third: str, said: str) -> None:
    folders = [build_audit(tmp_path / n, FACTORS, model=n) for n in "abc"]
    difference = {"name": "audit/hue", "value": 0.2, "low": 0.1, "high": 0.3}
    pairs = [(0, 1, "more"), (0, 2, third), (1, 2, "undecided")]
    paired = [
        {**difference, "folder": str(folders[a]), "other": str(folders[b]), "word": word}
        for a, b, word in pairs
    ]
    assert said in write(folders, tmp_path / "page.html", paired).read_text()


def test_the_terminal_fits_80_columns(tmp_path: Path) -> None:
    folder = build_audit(tmp_path / "one", FACTORS)
    lines = audit_text([folder], 80).split("\n")
    assert max(map(len, lines)) <= 80
    assert any(
        re.match(r"Hue +█{5}·{7}  0\.41 \[0\.36, 0\.46\] +0\.18\.\.0\.23 +partly kept", x) for x in lines
    )
    assert max(map(len, audit_text([folder], 40).split("\n")[:12])) <= 40


def test_worse_than_image_statistics_is_not_called_as_good(tmp_path: Path) -> None:
    same = factor(0.4, "as image statistics", to_statistics=[-0.02, -0.1, 0.06])
    found = {"hue": factor(0.3, "as image statistics", to_statistics=[-0.5, -0.6, -0.4]), "rotation": same}
    readings = opened(build_audit(tmp_path / "one", found)).readings
    assert [words.degree(r) for r in readings] == ["below image statistics", "as image statistics"]
    assert "do better" in words.downstream(readings[0]) and "do as well" in words.downstream(readings[1])


def test_it_says_what_would_decide_what_is_open(tmp_path: Path) -> None:
    more = {"decided_by": {"images": 2.0, "networks": 2.0}}
    found = {
        "hue": factor(0.41, "undecided", **more),
        "rotation": factor(0.3, "undecided", decided_by={"images": 4.0, "networks": 1.0}),
        "brightness": factor(0.5, "not readable", decided_by=None),
    }
    folder = build_audit(tmp_path / "one", found)
    said = (
        "If scores stay as they are and there are as many images, nothing that can be foreseen decides "
        "brightness; count=800 and untrained=6 would decide hue; count=1600 would decide rotation (now 400 "
        "images and 3 untrained networks)."
    )
    assert words.to_decide(opened(folder)) == said
    assert said in write([folder], tmp_path / "page.html").read_text()
