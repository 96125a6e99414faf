"""Pairs within a group, what changed between them, and how it is read."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from equissl.errors import UserError
from equissl.evaluate.base import Evaluation, FeatureTable
from equissl.evaluate.factors.absolute import Factors
from equissl.evaluate.factors.relative import RelativeFactors, _change, _pair_rows
from equissl.evaluate.metrics import angular_error
from equissl.params import Circular, Params, Real, Rotation, Space, between
from equissl.random import Stream


def views(count: int, name: str, each: int = 4) -> FeatureTable:
    """Images in groups whose features are an angle as cosine and sine, turned by the group's own angle."""
    index = torch.arange(count)
    stream, own = Stream.of(index, name), Stream.of(index // each, name, "own")
    angle = stream.uniform("angle", high=6.2831853)
    size = stream.normal("size")
    noise = 0.02 * stream.normal("noise", 3)
    vectors = torch.cat([angle.cos(), angle.sin(), size], 1) + noise
    vectors = torch.cat([vectors, own.normal("identity", 2)], 1)
    params = Params.of(Space((Circular("angle"), Real("size"))), {"angle": angle, "size": size})
    parts = {"equi": slice(0, 3), "inv": slice(3, 5), "all": slice(0, 5)}
    return FeatureTable(vectors, torch.full((count,), -1), params, index // each, parts)


def test_every_image_is_once_first_and_once_second_of_a_pair_of_its_group() -> None:
    table = views(41, "pairs")  # the last image is alone
    first, second = _pair_rows(table, 0)
    assert sorted(first.tolist()) == sorted(second.tolist()) == list(range(40))
    assert (first != second).all() and torch.equal(table.groups[first], table.groups[second])
    assert _pair_rows(table, 1)[1].tolist() != second.tolist()


def test_changes_equal_a_loop() -> None:
    table = views(20, "loop")
    first, second = _pair_rows(table, 0)
    result = _change(table.params.space["angle"], table, first, second)
    values = table.params.values["angle"]
    for k, (a, b) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
        turn = values[b, 0] - values[a, 0]
        torch.testing.assert_close(result[k], torch.stack([turn.cos(), turn.sin()]), atol=1e-5, rtol=0)


def test_parts_keep_what_they_hold_and_lines_cannot_read_angles() -> None:
    train, test = views(800, "train"), views(200, "test")
    kernel = {(s.name, s.part): s.value for s in RelativeFactors().run(train, test) if not s.baseline}
    assert kernel["relative/angle", "equi"] > 0.9 and kernel["relative/size", "equi"] > 0.9
    assert kernel["relative/angle", "inv"] < 0.2 and kernel["relative/size", "inv"] < 0.2
    assert kernel["relative_degrees/angle", "equi"] < 15 < 50 < kernel["relative_degrees/angle", "inv"]
    linear = {(s.name, s.part): s.value for s in RelativeFactors(probe="ridge").run(train, test)}
    assert linear["relative/angle", "equi"] < 0.3 and linear["relative/size", "equi"] > 0.9


def test_a_network_reads_them_too() -> None:
    train, test = views(400, "train"), views(120, "test")
    result = {s.name: s.value for s in RelativeFactors(("size",), "mlp").run(train, test) if s.part == "equi"}
    assert result["relative/size"] > 0.8


def test_a_constant_stands_beside_every_score_and_counts_pairs() -> None:
    train, test = views(200, "train"), views(81, "test")
    scores = list(RelativeFactors(limit=100).run(train, test))
    plain = {s.name for s in scores if not s.baseline}
    assert plain == {s.name for s in scores if s.baseline == "constant"} and {s.count for s in scores} == {80}
    flat = next(s for s in scores if s.name == "relative_flat/angle" and s.baseline)
    assert abs(flat.value) < 0.2


def test_what_is_missing_is_reported() -> None:
    alone = views(50, "x", each=1)
    assert "several images of one object" in RelativeFactors().unavailable_reason(alone, alone)
    with pytest.raises(UserError, match="records no factor 'hue'"):
        RelativeFactors(("hue",)).unavailable_reason(views(20, "x"), views(20, "x"))
    assert not list(RelativeFactors().run(alone, alone))


@pytest.mark.parametrize("evaluation", [RelativeFactors(("size", "sise")), Factors(("size", "sise"))])
def test_a_factor_that_is_not_recorded_is_refused(evaluation: Evaluation) -> None:
    train, test = views(40, "train"), views(20, "test")
    expected = f"{evaluation.name}.factors: the dataset records no factor 'sise'; did you mean 'size'"
    with pytest.raises(UserError, match=expected):
        list(evaluation.run(train, test))


def test_degrees_of_angles_and_rotations() -> None:
    hue = Circular("hue", period=1.0)
    predicted, true = (hue.encode(torch.tensor([[v], [v]])) for v in (0.95, 0.05))
    assert angular_error(hue, 3 * predicted, true).tolist() == pytest.approx([36, 36], abs=1e-3)
    pose = Rotation("pose")
    g = torch.Generator().manual_seed(0)
    a, b = (F.normalize(torch.randn(50, 4, generator=g).double(), dim=1) for _ in range(2))
    turn = between(*(Params.of(Space((pose,)), {"pose": q}) for q in (a, b)), space=Space((pose,))).values[
        "pose"
    ]
    expected = 2 * torch.rad2deg(turn[:, 0].abs().clamp(max=1).acos())
    torch.testing.assert_close(angular_error(pose, 2 * a, -b), expected, atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="has no angle"):
        angular_error(Real("size"), a, b)
