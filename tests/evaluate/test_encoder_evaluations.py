"""Evaluations that look at images again, against slow references."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from equissl.augment.presets import simclr
from equissl.data.base import InMemoryDataset
from equissl.errors import UserError
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.audit.sensitivity.sensitivity import Sensitivity, distance_to_others
from equissl.evaluate.classification.finetune import FineTune, stratified_subset
from equissl.evaluate.classification.relabeled import RelabeledDataset
from equissl.evaluate.equivariance.alignment import Alignment
from equissl.evaluate.equivariance.equivariance import Equivariance
from equissl.params import Params, Space
from equissl.testing.encoder_evaluation import example_context


def test_sensitivity_equals_a_double_loop() -> None:
    context = example_context(24)
    scores = {s.part: s for s in Sensitivity(("horizontal_flip",)).run(context)}
    plain, moved = context.features(), context.features("test", AUDITS["horizontal_flip"])
    on = moved.params.applied["horizontal_flip"]
    assert 0 < int(on.sum()) < 12
    for part, x in plain.by_part().items():
        y, count = moved.by_part()[part], len(x)
        near, far = [], []
        for i in on.nonzero()[:, 0].tolist():
            near.append(1 - float(F.cosine_similarity(x[i], y[i], dim=0)))
            others = [j for j in range(count) if j != i]
            far.append(sum(1 - float(F.cosine_similarity(x[i], x[j], dim=0)) for j in others) / (count - 1))
        assert scores[part].value == pytest.approx(sum(near) / sum(far), rel=1e-3)
        assert scores[part].count == int(on.sum())


def test_sensitivity_knows_what_an_encoder_ignores() -> None:
    """The mean over the image cannot see a flip."""
    context = example_context(40)

    class Mean(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return images.mean((2, 3))

    blind = replace(context, encoder=type(context.encoder)(Mean(), None, probe=(3, 16, 16)))
    scores = {s.name: s.value for s in Sensitivity(("horizontal_flip", "hue"), num_views=2).run(blind)}
    assert scores["sensitivity/horizontal_flip"] == pytest.approx(0, abs=1e-6)
    assert scores["sensitivity/hue"] > 0.5


def test_distances_to_others_of_equal_and_opposite_rows() -> None:
    assert distance_to_others(torch.ones(5, 3)).tolist() == pytest.approx([0] * 5, abs=1e-12)
    assert distance_to_others(torch.tensor([[1.0], [-2.0]])).tolist() == pytest.approx([2, 2])


def test_features_that_are_all_alike_have_no_sensitivity() -> None:
    context = example_context(20)
    with torch.no_grad():
        for weight in context.encoder.parameters():
            weight.zero_()
        context.encoder.backbone[1].bias.fill_(1.0)  # type: ignore[index]
    assert not list(Sensitivity(("brightness",)).run(context))


def test_grey_images_get_the_audits_that_suit_them() -> None:
    images = torch.randint(256, (30, 1, 12, 12), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    data = InMemoryDataset(images, Params.of(Space(), {}, count=30), torch.arange(30) % 2, ("a", "b"))
    layer = torch.nn.Conv2d(1, 4, 3)
    base = example_context()
    encoder = type(base.encoder)(layer, None, (0.5,), (0.25,), (1, 12, 12))
    context = replace(base, encoder=encoder, datasets={"train": data, "test": data}, modules={})
    context = replace(context, rows={"train": torch.arange(15), "test": torch.arange(15, 30)})
    names = {s.name for s in Sensitivity().run(context)}
    assert "sensitivity/crop" in names and "sensitivity/hue" not in names
    assert next(Alignment().run(context)).value > 0
    with pytest.raises(UserError, match="needs colour"):
        list(Sensitivity(("hue",)).run(context))


def test_alignment_equals_its_definition() -> None:
    context = example_context()
    score = next(Alignment().run(context))
    policy = simclr(16, strength=0.5, blur=0, scale=(0.2, 1.0))
    a, b = (F.normalize(context.features("test", policy, k).vectors.double(), dim=1) for k in (0, 1))
    assert score.value == pytest.approx(float((a - b).square().sum(1).mean()), rel=1e-6)


def test_a_module_that_predicts_no_change_equals_the_identity() -> None:
    rows = Equivariance(("brightness", "hue")).run(example_context())
    scores = {(s.name, s.baseline): s.value for s in rows}
    assert scores["equivariance/absolute/hue", ""] == scores["equivariance/absolute/hue", "identity"] == 0
    assert scores["equivariance/relative/hue", ""] == 1
    two = replace(example_context(), modules={n: example_context().modules["identity"] for n in "ab"})
    names = [s.name for s in Equivariance(("brightness",)).run(two) if not s.baseline]
    assert "equivariance/absolute/brightness/a" in names and len(set(names)) == len(names)


@pytest.mark.parametrize("part", [0.01, 0.5, 1.0])
def test_a_subset_holds_the_same_fraction_of_every_class(part: float) -> None:
    labels = torch.tensor([0] * 40 + [1] * 10 + [2] + [-1] * 20)
    rows = stratified_subset(labels, part, seed=0)
    sizes = torch.bincount(labels[rows], minlength=3).tolist()
    assert sizes == [max(1, round(part * n)) for n in (40, 10, 1)] and len(set(rows.tolist())) == len(rows)
    assert part == 1 or stratified_subset(labels, part, seed=1).tolist() != rows.tolist()


def test_fine_tuning_learns_what_the_frozen_head_could_not_start_with() -> None:
    context = example_context(120)
    few, many = FineTune(fractions=(0.1, 1.0), epochs=12, batch_size=16, lr=0.05).run(context)
    assert few.extra["images"] == 6 and many.extra["images"] == 60
    assert many.value > 0.8 and few.count == many.count == 60
    reports: list[int] = []
    observed = replace(context, progress=lambda what, done, total: reports.append(done))
    list(FineTune(fractions=(1.0,), epochs=3).run(observed))
    assert reports == [1, 2, 3]


@pytest.mark.parametrize("wrong", [{"fractions": (0.0,)}, {"fractions": ()}, {"epochs": 0}, {"lr": 0.0}])
def test_impossible_fine_tuning(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        FineTune(**wrong)  # type: ignore[arg-type]


def test_classes_are_matched_by_name() -> None:
    labels = torch.tensor([0, 1, 1, -1])
    images = torch.zeros(4, 3, 4, 4, dtype=torch.uint8)
    data = InMemoryDataset(images, Params.of(Space(), {}, count=4), labels, ("cat", "dog"))
    other = RelabeledDataset(data, ("ant", "dog", "cat"))
    assert other.labels.tolist() == [2, 1, 1, -1] == other.batch(torch.arange(4)).labels.tolist()
    assert other.fingerprint(torch.arange(4)) != data.fingerprint(torch.arange(4))
    with pytest.raises(UserError, match=r"no training image has: 'cat'; training has 'ant', 'dog'"):
        RelabeledDataset(data, ("ant", "dog"))
