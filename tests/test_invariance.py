"""Bases against slow references, queues, teachers, crops of two sizes; bases and modules on two processes."""

from __future__ import annotations

import math
import os
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from objective_cases import BASES, MODULES, surroundings
from torch import Tensor, nn

from equissl.augment import presets
from equissl.distributed import world_size
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoded
from equissl.evaluate.metrics import r2
from equissl.invariance.barlow_twins import barlow_twins_terms
from equissl.invariance.dino import DINO
from equissl.invariance.feature_distillation import FeatureDistillation
from equissl.invariance.moco import MoCo
from equissl.invariance.moco_v3 import MoCoV3
from equissl.invariance.simsiam import SimSiam, simsiam_loss
from equissl.invariance.vicreg import VICReg, vicreg_terms
from equissl.losses.contrastive import info_nce
from equissl.losses.distillation import dino_loss, relative_error
from equissl.model import Model
from equissl.nn.ema import Teacher
from equissl.nn.sync_batch_norm import synchronise_batch_norm
from equissl.params import Space
from equissl.testing.objective import tiny_batch, tiny_encoder, tiny_views
from equissl.training.optim import parameter_groups
from equissl.views import View, ViewSpec, make_views


def rows(count: int, n: int = 5, d: int = 6, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(n, d, generator=g, dtype=torch.float64) for _ in range(count)]


def cosine(a: Tensor, b: Tensor) -> float:
    return float(a @ b) / math.sqrt(float(a @ a) * float(b @ b))


def build(config: Any, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return config.build(tiny_encoder(), {n: s.space(Space()) for n, s in tiny_views().items()})


def encode(module: nn.Module, views: dict[str, View]) -> dict[str, Encoded]:
    encoder = tiny_encoder()
    return {n: encoder(v.images) for n, v in views.items()}


def test_simsiam_equals_a_loop() -> None:
    p, z = rows(2)
    expected = -sum(cosine(a, b) for a, b in zip(p, z, strict=True)) / len(p)
    assert float(simsiam_loss(p, z)) == pytest.approx(expected, abs=1e-12)
    total = 0.0
    for a, b in zip(p.tolist(), z.tolist(), strict=True):
        weights = [math.exp(v) / sum(math.exp(u) for u in b) for v in b]
        total -= sum(w * (v - math.log(sum(math.exp(u) for u in a))) for w, v in zip(weights, a, strict=True))
    assert float(simsiam_loss(p, z, "cross_entropy")) == pytest.approx(total / len(p), abs=1e-12)


@pytest.mark.parametrize("queued", [True, False])
def test_info_nce_equals_a_loop(queued: bool) -> None:
    q, k, queue = rows(3)
    total = 0.0
    for i in range(len(q)):
        others = list(queue) if queued else [k[j] for j in range(len(k)) if j != i]
        weights = [math.exp(cosine(q[i], v) / 0.3) for v in [k[i], *others]]
        total -= math.log(weights[0] / sum(weights))
    found = info_nce(q, k, 0.3, queue if queued else None)
    assert float(found) == pytest.approx(total / len(q), abs=1e-12)


def test_vicreg_equals_numpy() -> None:
    a, b = rows(2)
    terms = vicreg_terms(a, b)
    hinge = [sum(max(0.0, 1 - math.sqrt(v + 1e-4)) for v in x.var(0).tolist()) / 6 for x in (a, b)]
    cov = [
        torch.tensor([[torch.cov(x.T)[i, j] for j in range(6) if j != i] for i in range(6)]) for x in (a, b)
    ]
    assert float(terms["invariance"]) == pytest.approx(float(((a - b) ** 2).sum()) / a.numel())
    assert float(terms["variance"]) == pytest.approx(sum(hinge) / 2)
    assert float(terms["covariance"]) == pytest.approx(sum(float((c**2).sum()) / 6 for c in cov))


def test_barlow_twins_equals_a_loop() -> None:
    a, b = rows(2, n=200)
    diagonal, rest = 0.0, 0.0
    for i in range(6):
        for j in range(6):
            c = float(torch.corrcoef(torch.stack([a[:, i], b[:, j]]))[0, 1])
            diagonal, rest = (diagonal + (1 - c) ** 2, rest) if i == j else (diagonal, rest + c**2)
    terms = barlow_twins_terms(a, b)
    assert float(terms["diagonal"]) == pytest.approx(diagonal, abs=1e-4)  # the epsilon of 1e-5 is not in c
    assert float(terms["off_diagonal"]) == pytest.approx(rest, abs=1e-4)


def test_dino_equals_a_loop() -> None:
    crops, center = rows(4), rows(1, n=1)[0][0]
    teacher = rows(2, seed=1)
    pairs = []
    for i, t in enumerate(teacher):
        for j, s in enumerate(crops):
            if i != j:
                wanted = ((t - center) / 0.04).softmax(1)
                pairs.append(float(-(wanted * (s / 0.1).softmax(1).log()).sum(1).mean()))
    assert len(pairs) == 6
    assert float(dino_loss(crops, teacher, center, 0.1, 0.04)) == pytest.approx(sum(pairs) / 6)


@pytest.mark.parametrize("size", [1, 7, 12, 16])
def test_the_queue_is_first_in_first_out(size: int) -> None:
    module = build(MoCo.Config(projector=(8, 4), queue_size=size))
    expected: deque[Tensor] = deque(module.queue.clone(), maxlen=size)
    for step in range(5):
        keys = torch.nn.functional.normalize(rows(1, n=5 + 3 * (step % 2), d=4, seed=step)[0].float(), dim=1)
        module.enqueue(keys)
        expected.extend(keys)
        start = int(module.pointer)
        torch.testing.assert_close(module.queue.roll(-start, 0), torch.stack(list(expected)))


def test_moco_contrasts_with_its_queue() -> None:
    """The first view is the query, the second the key; keys enter after the step, and only in training."""
    module = build(MoCo.Config(projector=(8, 4), queue_size=12, temperature=0.3))
    made = make_views(tiny_batch(5), tiny_views(), seed=0)
    encoded = encode(module, made)
    (keys,) = module.teacher([made["b"].images])
    expected = info_nce(module.projector(encoded["a"].vector), keys, 0.3, module.queue)
    torch.testing.assert_close(module(made, encoded).losses["contrast"], expected)
    before = module.queue.clone()
    module.after_step(tiny_encoder(), 0.5)
    torch.testing.assert_close(module.queue[:5], torch.nn.functional.normalize(keys, dim=1))
    assert torch.equal(module.queue[5:], before[5:]) and int(module.pointer) == 5
    module.eval()(made, encoded)
    module.after_step(tiny_encoder(), 0.6)
    assert int(module.pointer) == 5


def test_moco_needs_no_online_pass_for_the_key() -> None:
    module = build(MoCo.Config(projector=(8, 4), queue_size=12))
    made = make_views(tiny_batch(5), tiny_views(), seed=0)
    outcome = module(made, {k: v for k, v in encode(module, made).items() if k == "a"})
    assert set(outcome.embeddings) == {"a"} and outcome.losses["contrast"].isfinite()
    both = build(MoCo.Config(projector=(8, 4), queue_size=12, symmetric=True))
    both(made, encode(both, made))
    both.after_step(tiny_encoder(), 0.5)
    assert int(both.pointer) == 10


def test_moco_v3_is_scaled_by_twice_its_temperature() -> None:
    module = build(MoCoV3.Config(projector=(8, 4), predictor=(8, 4), temperature=0.2))
    made = make_views(tiny_batch(5), tiny_views(), seed=0)
    encoded = encode(module, made)
    one, two = (module.predictor(module.projector(encoded[v].vector)) for v in ("a", "b"))
    first, second = (module.teacher([made[v].images])[0] for v in ("a", "b"))
    expected = 0.4 * (info_nce(one, second, 0.2) + info_nce(two, first, 0.2))
    torch.testing.assert_close(module(made, encoded).losses["contrast"], expected)


def test_dino_center_temperature_and_frozen_prototypes() -> None:
    config = DINO.Config(
        projector=(8, 4),
        num_prototypes=6,
        teacher_temperature=(0.04, 0.08),
        temperature_warmup=0.5,
        freeze_prototypes=0.25,
    )
    module, encoder = build(config), tiny_encoder()
    made = make_views(tiny_batch(5), tiny_views(), seed=0)
    for progress, temperature, rests in ((0.125, 0.04, True), (0.25, 0.05, True), (0.5, 0.06, False)):
        encoded = encode(module, made)
        module.zero_grad()
        loss = module(made, encoded).losses["assignment"]
        loss.backward()
        assert bool(module.head.prototypes.grad.any()) is not rests
        student = [module.head(encoded[v].vector) for v in ("a", "b")]
        teacher = module.teacher([made[v].images for v in ("a", "b")])
        torch.testing.assert_close(loss, dino_loss(student, teacher, module.center, 0.1, temperature))
        center = 0.9 * module.center + 0.1 * torch.cat(teacher).mean(0)
        module.after_step(encoder, progress)
        torch.testing.assert_close(module.center, center)


def test_the_length_of_fixed_prototypes_does_not_matter() -> None:
    fixed, learned = (
        build(DINO.Config(projector=(8, 4), num_prototypes=6, prototype_norm=n)) for n in ("fixed", "learned")
    )
    assert {n for n, _ in learned.head.named_parameters()} - {
        n for n, _ in fixed.head.named_parameters()
    } == {"lengths"}
    x = torch.randn(3, 16)
    before = fixed.head(x)
    with torch.no_grad():
        fixed.head.prototypes.mul_(3)
    torch.testing.assert_close(fixed.head(x), before)
    assert before.abs().max() <= 1


@pytest.mark.parametrize("backbone", ["convolutions", "transformer"])
@pytest.mark.parametrize("batch_norm", ["all_views", "per_view"])
def test_crops_of_two_sizes(backbone: str, batch_norm: Any) -> None:
    policies = presets.multi_crop(32, 16, num_local_crops=3)
    assert list(policies) == ["a", "b", "local_1", "local_2", "local_3"]
    specs = {name: ViewSpec(p) for name, p in policies.items()}
    made = make_views(tiny_batch(4), specs, seed=0)
    assert made["b"].images.shape[-1] == 32 and made["local_3"].images.shape[-1] == 16
    torch.manual_seed(0)
    options = {"patch_size": 8, "dynamic_img_size": True, "dynamic_img_pad": True}
    encoder = (
        tiny_encoder()
        if backbone == "convolutions"
        else EncoderConfig(name="test_vit", options=options, size=32).build()
    )
    local = tuple(n for n in specs if n.startswith("local"))
    config = DINO.Config(projector=(8, 4), num_prototypes=6, local=local, freeze_prototypes=0.0)
    assert set(config.reads()) == set(specs)
    base = config.build(encoder, {})
    model = Model(encoder, base, {}, {}, list(specs), batch_norm)
    loss = model(made)["base/assignment"]
    loss.backward()
    assert loss.isfinite() and not [
        n for n, p in model.named_parameters() if p.requires_grad and p.grad is None
    ]
    encoded = model.encode(made)
    student = [base.head(encoded[n].vector) for n in specs]
    teacher = base.teacher([made[n].images for n in ("a", "b")])
    expected = dino_loss(student, teacher, base.center, 0.1, 0.04)
    torch.testing.assert_close(base(made, encoded).losses["assignment"], expected)
    model.after_step(0.5)


@pytest.mark.parametrize("copies", [True, False])
def test_teachers_keep_or_copy_statistics(copies: bool) -> None:
    encoder, head = tiny_encoder(), nn.Linear(16, 4)
    teacher = Teacher(encoder, head, copy_buffers=copies)
    with torch.no_grad():
        encoder.backbone[1].running_mean.add_(5)  # type: ignore[operator,union-attr]
    before = teacher.encoder.backbone[1].running_mean.clone()  # type: ignore[operator,union-attr]
    teacher.update_ema(encoder, head, 0.9)
    moved = teacher.encoder.backbone[1].running_mean - before  # type: ignore[operator,union-attr]
    assert bool((moved == 5).all()) is copies and bool((moved == 0).all()) is not copies
    assert not any(p.requires_grad for p in teacher.parameters())


def test_one_view_at_a_time_has_its_own_statistics() -> None:
    made = make_views(tiny_batch(6), tiny_views(), seed=0)
    config = BASES["simsiam"]
    alone, both = (build(replace(config, batch_norm=m)) for m in ("per_view", "all_views"))
    encoded = encode(alone, made)
    z = alone(made, encoded).embeddings
    torch.testing.assert_close(z["a"], alone.projector(encoded["a"].vector))
    assert not torch.allclose(z["a"], both(made, encoded).embeddings["a"])


def test_the_predictor_of_simsiam_keeps_its_rate() -> None:
    encoder = tiny_encoder()
    model = Model(encoder, BASES["simsiam"].build(encoder, {}), {}, {}, ["a", "b"])
    groups = parameter_groups(model, model.fixed_lr)
    steady = {id(p) for g in groups if g["fixed_lr"] for p in g["params"]}
    assert steady == {id(p) for p in model.base.predictor.parameters()}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MoCo.Config(queue_size=0), "queue_size must be in .*, got 0"),
        (lambda: MoCo.Config(temperature=0.0), "temperature must be above 0"),
        (lambda: MoCoV3.Config(predictor=(8, 4)), "end with the projector's width 256"),
        (lambda: SimSiam.Config(predictor=(8, 4)), "end with the projector's width 2048"),
        (lambda: VICReg.Config(variance=-1.0), "variance must be at least 0"),
        (lambda: DINO.Config(momentum=1.5), "momentum must be in"),
        (lambda: DINO.Config(local=("a",)), "different crops"),
        (lambda: DINO.Config(temperature_warmup=2.0), "temperature_warmup must be in"),
    ],
)
def test_bad_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def _two_steps(name: str, chosen: Tensor) -> dict[str, Any]:
    """Loss, gradients and state of two steps on the images ``chosen`` of one batch of 8."""
    torch.manual_seed(0)
    make, specs = surroundings(name)
    encoder = make().double()
    config = {**BASES, **MODULES}[name]
    module = config.build(encoder, {n: s.space(Space()) for n, s in specs.items()}).double()
    if world_size() > 1:
        synchronise_batch_norm(module, torch.device("cpu"))
    found: dict[str, Any] = {"losses": [], "rows": []}
    for step in range(2):
        made = make_views(tiny_batch(8, seed=step), specs, seed=step)
        views = {n: View(v.images.double()[chosen], v.params[chosen]) for n, v in made.items()}
        encoded = {n: encoder.eval()(v.images) for n, v in views.items()}
        vectors = {n: e.vector.detach().requires_grad_() for n, e in encoded.items()}
        grids = {n: e.grid.detach() for n, e in encoded.items()}
        encoded = {n: Encoded(x, grids[n], encoder.parts) for n, x in vectors.items()}
        losses = module(views, encoded).losses if name in BASES else module(views, encoded, {})
        loss = torch.stack(list(losses.values())).sum()
        loss.backward()
        if name in BASES:
            module.after_step(encoder, (step + 1) / 4)
        found["losses"].append(loss.detach())
        found["rows"] += [vectors[n].grad for n in ("a", "b") if vectors[n].grad is not None]
    found["parameters"] = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    found["state"] = module.state_dict()
    return found


def _shard(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {name: _two_steps(name, torch.arange(4) + 4 * rank) for name in [*BASES, *MODULES]}
    torch.save(found, os.path.join(folder, f"{rank}.pt"))
    dist.destroy_process_group()


def test_sharded_equals_single_process(tmp_path: Path) -> None:
    """The mean over ranks of loss and gradient, as DDP takes it, is that of the whole batch; states agree."""
    mp.start_processes(_shard, (str(tmp_path),), nprocs=2, start_method="spawn")
    one, two = (torch.load(tmp_path / f"{r}.pt") for r in range(2))
    for name in [*BASES, *MODULES]:
        whole, a, b = _two_steps(name, torch.arange(8)), one[name], two[name]
        for i, loss in enumerate(whole["losses"]):
            torch.testing.assert_close((a["losses"][i] + b["losses"][i]) / 2, loss, msg=name)
        for i, gradient in enumerate(whole["rows"]):
            sharded = torch.cat([a["rows"][i], b["rows"][i]]) / 2
            torch.testing.assert_close(sharded, gradient, msg=name)
        assert whole["parameters"]
        for key, gradient in whole["parameters"].items():
            sharded = (a["parameters"][key] + b["parameters"][key]) / 2
            torch.testing.assert_close(sharded, gradient, msg=f"{name} {key}")
        for key, value in whole["state"].items():
            assert torch.equal(a["state"][key], b["state"][key]), f"{name} {key} differs between ranks"
            torch.testing.assert_close(a["state"][key], value, msg=f"{name} {key}")


def test_relative_error_is_what_r2_leaves() -> None:
    generator = torch.Generator().manual_seed(0)
    targets = torch.randn(30, 5, generator=generator)
    predictions = targets + 0.3 * torch.randn(30, 5, generator=generator)
    assert float(relative_error(predictions, targets)) == pytest.approx(
        1 - r2(predictions, targets), abs=1e-5
    )


def distillation(**options: Any) -> tuple[Model, dict[str, View]]:
    """Feature distillation of an encoder whose BatchNorm is frozen, and views of eight images."""
    encoder, views = tiny_encoder(), make_views(tiny_batch(8), tiny_views(), seed=0)
    base = FeatureDistillation.Config(**options).build(encoder, {})
    return Model(encoder, base, {}, {}, ["a", "b"], "frozen"), views


@pytest.mark.parametrize("regressor", ["linear", "none"])
def test_feature_distillation_begins_at_zero(regressor: str) -> None:
    model, views = distillation(regressor=regressor)
    assert model(views)["base/forgotten"].item() == pytest.approx(0, abs=1e-8)
    assert model.train()(views)["base/forgotten"].item() == pytest.approx(0, abs=1e-8)


def test_the_teacher_of_feature_distillation_is_never_trained() -> None:
    model, views = distillation()
    base = model.base
    assert isinstance(base, FeatureDistillation)
    before = {n: v.clone() for n, v in model.state_dict().items()}
    optimizer = torch.optim.SGD((p for p in model.parameters() if p.requires_grad), 0.1)
    with torch.no_grad():  # away from the teacher
        model.encoder.backbone[0].weight.mul_(1.5)
    for _ in range(2):
        optimizer.zero_grad()
        model(views)["base/forgotten"].backward()
        optimizer.step()
    changed = {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}
    assert not {n for n in changed if "teacher" in n or "running" in n or "num_batches" in n}
    assert {"encoder.backbone.0.weight", "base.regressor.weight"} <= changed
    assert all(p.grad is None for p in base.teacher.parameters())
    assert not any(m.training for m in base.teacher.modules())


def test_a_regressor_finds_the_old_features_in_scaled_ones() -> None:
    model, views = distillation()
    fixed, _ = distillation(regressor="none")
    for m in (model, fixed):
        with torch.no_grad():
            for p in (m.encoder.backbone[3].weight, m.encoder.backbone[3].bias):
                p.mul_(2.0)
    assert isinstance(model.base, FeatureDistillation)
    with torch.no_grad():
        model.base.regressor.weight.copy_(0.5 * torch.eye(16))
    assert model(views)["base/forgotten"].item() == pytest.approx(0, abs=1e-8)
    assert fixed(views)["base/forgotten"].item() > 0.5


def test_frozen_batch_norm_sees_no_batch() -> None:
    model, views = distillation()
    alone = {n: View(v.images[:1], v.params[torch.tensor([0])]) for n, v in views.items()}
    torch.testing.assert_close(model.encode(alone)["a"].vector, model.encode(views)["a"].vector[:1])
    assert model.training and model.encoder.training
    assert not model.train().encoder.backbone[1].training
