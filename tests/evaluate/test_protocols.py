"""The protocols of papers, by name: their settings, and what they compute against torch and scikit-learn."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from timm.optim import Lars
from torch import Tensor, nn

from equissl.api.evaluate import EvaluationOptions, _left_out, evaluation_context
from equissl.data.base import InMemoryDataset
from equissl.errors import UserError
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.classification.augmented_probe import (
    EQUIMOD_PROBE,
    ESSL_IMAGENET_BARLOW_TWINS,
    ESSL_IMAGENET_SIMCLR,
    ESSL_IMAGENET_SIMSIAM,
    ESSL_PROBE,
    AugmentedProbe,
)
from equissl.evaluate.classification.fewshot import AUGSELF_FEW_SHOT, FewShot, _one_vs_rest
from equissl.evaluate.classification.knn import KNN
from equissl.evaluate.classification.linear_probe import AUGSELF_LINEAR, LinearProbe
from equissl.evaluate.classification.object_probe import ObjectProbe
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.equivariance.ranking import SIE_PROTOCOL
from equissl.evaluate.equivariance.retrieval import Retrieval
from equissl.evaluate.factors.relative import RelativeFactors
from equissl.evaluate.probes.logistic import LogisticSettings, logistic
from equissl.evaluate.probes.network import fit_classifier, fit_pair_network, random_images, random_pairs
from equissl.evaluate.probes.penalized_logistic import fit_penalized_logistic
from equissl.evaluate.probes.sgd import LinearLayers, epochs_of_batches
from equissl.evaluate.protocol import PROTOCOLS, available, run_evaluations, select_evaluations
from equissl.params import Space
from equissl.testing.encoder_evaluation import example_context
from equissl.testing.evaluation import example_table


def test_protocols_are_the_papers() -> None:
    assert select_evaluations(["essl"]) == {
        "augmentedprobe": AugmentedProbe(
            protocol="essl", lr=30.0, min_lr=0.0, inits=5, epochs=100, batch_size=256, momentum=0.9
        ),
        "knn": KNN(k=200, temperature=0.1),
    }
    assert select_evaluations(["equimod"]) == {
        "augmentedprobe": AugmentedProbe(
            protocol="equimod", lr=0.2, min_lr=1e-4, inits=1, epochs=90, momentum=0.9, nesterov=True
        )
    }
    # E-SSL's table of ImageNet probes.
    linear = AugmentedProbe(
        protocol="essl_imagenet",
        inits=1,
        momentum=0.9,
        weight_std=0.01,
        interpolation="bilinear",
        weight_decay=1e-6,
    )
    per_method = {
        "simclr": replace(linear, lr=1.0, min_lr=1.0, batch_size=256, epochs=100),
        "barlowtwins": replace(linear, lr=0.3, update_every="epoch", batch_size=256, epochs=100),
        "simsiam": replace(
            linear,
            lr=0.1 * 4096 / 256,
            update_every="epoch",
            batch_size=4096,
            epochs=90,
            weight_decay=0.0,
            trust_coefficient=1e-3,
        ),
    }
    for method, probe in per_method.items():
        assert select_evaluations([f"essl_imagenet_{method}"]) == {"augmentedprobe": probe}
    assert select_evaluations(["sie"]) == {
        "objectprobe": ObjectProbe(hidden=(), epochs=300, batch_size=256, lr=1e-3),
        "relativefactors": RelativeFactors(probe="sie", epochs=300),
        "retrieval": Retrieval(protocol=SIE_PROTOCOL),
    }
    augself = select_evaluations(["augself"])
    few, linear = FewShot(ways=5, shots=(1, 5), queries=16, episodes=2000, head="one_vs_rest"), AUGSELF_LINEAR
    assert augself == {"linearprobe": linear, "fewshot": few}
    assert LinearProbe().penalties == LogisticSettings().penalties
    assert len(linear.penalties) == 45 and not linear.standardize and linear.max_iter == 5000
    assert linear.penalties[0] == pytest.approx(1e-6) and linear.penalties[-1] == pytest.approx(1e5)


def test_settings_and_seeds_change_a_protocol() -> None:
    (probe, _) = select_evaluations(["essl"], {"augmentedprobe.epochs": "2"}, seed=3).values()
    assert probe == replace(ESSL_PROBE, epochs=2, seed=3)


def test_contradicting_protocols_are_refused_and_costly_ones_are_not_in_all() -> None:
    with pytest.raises(UserError, match="essl and equimod both set augmentedprobe"):
        select_evaluations(["essl", "equimod"])
    assert set(available()) - set(select_evaluations(["all"])) == {"augmentedprobe"}
    assert not set(PROTOCOLS) & set(available())


PAPER_PROBES = {
    "essl": ESSL_PROBE,
    "equimod": EQUIMOD_PROBE,
    "simclr": ESSL_IMAGENET_SIMCLR,
    "barlowtwins": ESSL_IMAGENET_BARLOW_TWINS,
    "simsiam": ESSL_IMAGENET_SIMSIAM,
}


@pytest.mark.parametrize("name", PAPER_PROBES)
def test_layers_equal_torchs_sgd_and_timms_lars(name: str) -> None:
    probe, steps, epochs = PAPER_PROBES[name], 5, 4
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 6, generator=g) / 10, torch.arange(40) % 4
    layers = LinearLayers(
        6,
        4,
        [probe.lr] * 2,
        probe.momentum,
        probe.weight_decay,
        probe.nesterov,
        probe.min_lr,
        weight_std=probe.weight_std,
        trust_coefficient=probe.trust_coefficient,
    )
    started = [(layers.weight[k].T.clone(), layers.bias[k].clone()) for k in range(2)]
    order = list(epochs_of_batches(40, epochs, 8, 0, probe.update_every))
    for rows, _, decay in order:
        layers.step(x[rows], y[rows], decay)
    for k, (weight, bias) in enumerate(started):
        layer = nn.Linear(6, 4)
        layer.load_state_dict({"weight": weight, "bias": bias})
        common = (layer.parameters(), probe.lr, 0.9)
        if probe.trust_coefficient:
            optimizer: torch.optim.Optimizer = Lars(*common, always_adapt=True)  # type: ignore[arg-type]
        else:
            optimizer = torch.optim.SGD(*common, 0, probe.weight_decay, probe.nesterov)
        total = epochs if probe.update_every == "epoch" else epochs * steps
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, total, eta_min=probe.min_lr)
        for step, (rows, _, _) in enumerate(order, 1):
            optimizer.zero_grad()
            F.cross_entropy(layer(x[rows]), y[rows]).backward()
            optimizer.step()
            if probe.update_every == "step" or step % steps == 0:
                schedule.step()
        torch.testing.assert_close(layers.weight[k].T, layer.weight.detach(), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(layers.bias[k], layer.bias.detach(), rtol=1e-3, atol=1e-3)
        if probe.trust_coefficient:  # small steps: the tolerance above would not see them
            moved = (layer.weight - weight).detach()
            torch.testing.assert_close(layers.weight[k].T - weight, moved, rtol=1e-3, atol=1e-6)


def test_layers_start_as_the_papers_do() -> None:
    normal = LinearLayers(2048, 100, [1.0], weight_std=0.01)
    assert float(normal.weight.std()) == pytest.approx(0.01, rel=0.02) and not normal.bias.any()
    uniform = LinearLayers(2048, 100, [1.0])
    assert float(uniform.weight.abs().max()) == pytest.approx(2048**-0.5, rel=0.01) and uniform.bias.any()


def test_every_epoch_encodes_all_training_images_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    context, seen = example_context(60), []
    forward = type(context.encoder).forward

    def spy(self: nn.Module, images: Tensor) -> object:
        seen.append(images)
        return forward(self, images)  # type: ignore[arg-type]

    monkeypatch.setattr(type(context.encoder), "forward", spy)
    scores = list(AugmentedProbe(lr=1.0, inits=2, epochs=3, batch_size=10).run(context))
    test, *train = seen
    assert len(test) == 30 and test.shape == (30, 3, 16, 16)
    assert len(train) == 9 and all(len(images) == 10 for images in train)
    means = torch.cat(train).flatten(1).mean(1)
    assert len(means.unique()) == 90
    assert {s.name for s in scores} == {"linear_essl/top1"} and {s.part for s in scores} == {
        "all",
        "inv",
        "equi",
    }
    assert scores[0].extra["train_images"] == 30 and scores[0].value > 0.5


def test_equimods_scores_have_its_name_paper_and_top_5() -> None:
    context = example_context(60)
    data = context.datasets["train"]
    assert isinstance(data, InMemoryDataset)
    six = replace(data, targets=torch.arange(60) // 2 % 6, class_names=tuple("abcdef"))
    probe = replace(EQUIMOD_PROBE, epochs=1)
    context = replace(context, datasets={"train": six, "test": six})
    scores = run_evaluations({"augmentedprobe": probe}, context)
    assert {s.name for s in scores} == {"linear_equimod/top1", "linear_equimod/top5"}
    assert {s.paper for s in scores} == {"arXiv:2211.01244"}
    by_name = {s.name: s.value for s in scores if s.part == "all"}
    assert by_name["linear_equimod/top5"] >= by_name["linear_equimod/top1"]


@pytest.mark.parametrize("classes", [2, 3])
def test_augselfs_logistic_regression_is_the_minimum_of_its_objective(classes: int) -> None:
    """Summed cross entropy plus w times the squares of weights and biases; features as they are."""
    g = torch.Generator().manual_seed(0)
    x, y, penalty = torch.randn(60, 4, generator=g) * 3 + 1, torch.arange(60) % classes, 0.7
    x[torch.arange(60), y] += 1
    weight = torch.zeros(5, classes, dtype=torch.float64, requires_grad=True)
    inputs = torch.cat([x, torch.ones(60, 1)], 1).double()
    optimizer = torch.optim.LBFGS([weight], max_iter=200, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        total = F.cross_entropy(inputs @ weight, y, reduction="sum") + penalty * weight.square().sum()
        total.backward()
        return total

    optimizer.step(loss)  # type: ignore[arg-type]
    queries = torch.randn(3000, 4, generator=g) * 3 + 1
    settings = LogisticSettings((penalty,), "sum", standardize=False, max_iter=5000)
    predictions = logistic(x, y, torch.arange(60), queries, settings=settings).predictions
    expected = (torch.cat([queries, torch.ones(3000, 1)], 1).double() @ weight.detach()).argmax(1)
    assert float((predictions == expected).double().mean()) > 0.998


@pytest.mark.parametrize(("classes", "scale"), [(5, 1e-3), (2, 1e-2), (4, 1.0), (3, 100.0)])
def test_every_penalty_has_its_own_minimum_whatever_the_scale_of_the_features(
    classes: int, scale: float
) -> None:
    """Small features and weak penalties have small gradients far from the minimum, too."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(100, 6, generator=g) + 0.5, torch.arange(100) % classes
    x[torch.arange(100), y] += 1
    inputs, penalties = torch.cat([x * scale, torch.ones(100, 1)], 1).double(), (1e-2, 1e-5, 1.0, 1e3)

    def loss(weight: Tensor, penalty: float) -> Tensor:
        return F.cross_entropy(inputs @ weight, y, reduction="sum") + penalty * weight.square().sum()

    for penalty, fit in zip(penalties, fit_penalized_logistic(x * scale, y, penalties), strict=True):
        weight = fit.weight.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(weight, penalty), weight)
        hessian = torch.autograd.functional.hessian(lambda w, p=penalty: loss(w, p), fit.weight)  # type: ignore[no-untyped-call]
        step = torch.linalg.solve(hessian.reshape(gradient.numel(), -1), gradient.flatten())
        assert (
            fit.converged and float(gradient.flatten() @ step) < 1e-4
        )  # twice what Newton's step would gain
        expected = fit.classes[(inputs @ fit.weight).argmax(1)]
        assert torch.equal(fit.predict(x * scale), expected)


def test_fits_that_run_out_of_iterations_say_so() -> None:
    x, y = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)), torch.tensor([3, 7] * 20)
    (fit,) = fit_penalized_logistic(x, y, [1e-6], max_iter=2)
    assert not fit.converged and set(fit.predict(x).tolist()) <= {3, 7}


def test_augselfs_protocol_scores_classes_that_are_there() -> None:
    train, test = example_table(120, "train"), example_table(60, "test")
    (score, *_) = AUGSELF_LINEAR.run(train, test)
    assert score.name == "linear/top1" and score.value > 0.95
    quick = replace(AUGSELF_FEW_SHOT, ways=3, shots=(1,), queries=2, episodes=20)
    (few, *_) = quick.run(train, test)
    assert few.name == "fewshot/1" and few.extra["head"] == "one_vs_rest" and few.value > 0.8
    assert next(LinearProbe(objective="mean").run(train, test)).value > 0.95


def test_few_shots_are_one_liblinear_classifier_for_each_class_on_features_as_they_are() -> None:
    g = torch.Generator().manual_seed(0)
    support, queries = torch.randn(4, 3, 8, generator=g) * 5, torch.randn(4, 50, 8, generator=g) * 5
    y = torch.arange(4).repeat_interleave(3).numpy()
    alone = [
        LogisticRegression(solver="liblinear").fit(support.flatten(0, 1).numpy(), y == c) for c in range(4)
    ]
    likely = [m.predict_proba(queries.flatten(0, 1).numpy())[:, 1] for m in alone]
    expected = torch.from_numpy(np.stack(likely)).argmax(0)
    assert float((_one_vs_rest(support, queries) == expected).double().mean()) > 0.99
    # Classes that differ in the length of their features alone.
    index = torch.arange(60)
    lengths = (index % 2 + 1.0)[:, None] * torch.tensor([[3.0, 4.0]])
    parts = {"all": slice(0, 2)}
    table = FeatureTable(lengths, index % 2, Space().neutral(60), index, parts)
    quick = FewShot(ways=2, shots=(5,), episodes=5, head="one_vs_rest")
    assert next(quick.run(table, table)).value == 1.0
    assert next(replace(quick, head="prototype").run(table, table)).value < 0.9


def test_sies_network_reads_changes_from_new_pairs() -> None:
    train, test = example_table(240, "train"), example_table(90, "test")
    evaluation = RelativeFactors(("size", "turns"), "sie", epochs=40)
    scores = {(s.name, s.part, s.baseline): s for s in evaluation.run(train, test)}
    found, constant = scores["relative/size", "all", ""], scores["relative/size", "all", "constant"]
    assert found.value > 0.8 > constant.value and found.extra == {"probe": "sie", "epochs": 40}
    assert found.count == 30  # one pair of each object
    assert not any("turns" in name for name, _, _ in scores)  # discrete


def test_pairs_are_of_an_object_and_new_in_every_epoch() -> None:
    groups = torch.tensor([4, 4, 4, 4, 1, 9, 9, 9])
    drawn = [random_pairs(groups, 0, epoch) for epoch in range(20)]
    for first, second in drawn:
        assert torch.equal(groups[first], groups[second]) and bool((first != second).all())
        assert sorted(groups[first].tolist()) == [4, 9]
    assert len({tuple(torch.cat(pair).tolist()) for pair in drawn}) > 10


def test_one_image_of_every_object_is_new_in_every_epoch() -> None:
    groups = torch.tensor([4, 4, 4, 4, 1, 9, 9, 9])
    drawn = [random_images(groups, 0, epoch) for epoch in range(20)]
    assert all(sorted(groups[rows].tolist()) == [1, 4, 9] for rows in drawn)
    assert {int(row) for rows in drawn for row in rows} == set(range(8))


@pytest.mark.parametrize(("hidden", "name"), [((), "linear_sie/top1"), ((32,), "mlp_sie/top1")])
def test_sies_classifier_separates_classes(hidden: tuple[int, ...], name: str) -> None:
    train, test = example_table(240, "train"), example_table(90, "test")
    scores = list(ObjectProbe(hidden, epochs=60, lr=0.01).run(train, test))
    assert {s.name for s in scores} == {name} and {s.part for s in scores} == {"all", "targets"}
    assert scores[0].count == int((test.labels >= 0).sum()) and scores[0].value > 0.9


def test_sies_classifier_takes_adams_first_step() -> None:
    x, labels, groups = torch.randn(12, 3), torch.arange(12) % 2, torch.arange(12)
    network = fit_classifier(x, labels, groups, epochs=1, seed=1)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        start = nn.Linear(3, 2)
    assert [tuple(p.shape) for p in network.parameters()] == [(2, 3), (2,)]
    moved = (network[0].weight - start.weight).abs().detach()  # type: ignore[index]
    assert float(moved.max()) == pytest.approx(1e-3, rel=1e-2)


def test_the_network_is_trained_by_adam_without_touching_the_generator() -> None:
    x, groups, before = torch.randn(12, 3), torch.arange(12) // 4, torch.get_rng_state()
    network = fit_pair_network(x, groups, lambda a, b: x[b, :2] - x[a, :2], epochs=1, seed=1)
    assert torch.equal(before, torch.get_rng_state())
    widths = [tuple(p.shape) for p in network.parameters() if p.dim() == 2]
    assert widths == [(1024, 6), (1024, 1024), (2, 1024)]
    with torch.random.fork_rng():
        torch.manual_seed(1)
        start = [nn.Linear(6, 1024), nn.Linear(1024, 1024), nn.Linear(1024, 2)]
    moved = (network[0].weight - start[0].weight).abs().detach()  # type: ignore[index]
    assert float(moved.max()) == pytest.approx(1e-3, rel=1e-2)  # Adam's first step


@pytest.mark.parametrize(
    ("count", "train_count", "expected"),
    [(2, None, (20, 2)), (0, None, (40, 40)), (3, 0, (40, 3)), (3, 7, (7, 3)), (0, 5, (5, 40))],
)
def test_all_images_are_offered(count: int, train_count: int | None, expected: tuple[int, int]) -> None:
    images = torch.zeros(41, 3, 4, 4, dtype=torch.uint8)
    labels = torch.arange(41) % 2
    labels[-1] = -1
    data = InMemoryDataset(images, Space().neutral(41), labels, ("a", "b"))
    context = context_of(data, EvaluationOptions(count=count, train_count=train_count))
    assert (len(context.rows["train"]), len(context.rows["test"])) == expected
    said = _left_out(context)
    assert bool(said) == (expected != (40, 40))
    assert ("of 40 test images" in said) == (expected[1] < 40)


def context_of(data: InMemoryDataset, options: EvaluationOptions) -> EvaluationContext:
    """The context of a run that is evaluated on ``data``."""

    class Model(nn.Module):
        modules_by_name: dict[str, nn.Module] = {}

    class Run:
        path = Path("run")

    class Loaded:
        model, encoder, run, name = Model(), None, Run(), "run"

    return evaluation_context(Loaded(), data, data, options)  # type: ignore[arg-type]
