"""Retrieval with predictions: parity with SIE's scripts, a slow reference, and what cannot be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from evaluate.small import Brighten, dataset, encoder
from golden_files import golden
from torch import Tensor

from equissl.data.base import InMemoryDataset
from equissl.data.batch import Batch
from equissl.encoder.encoder import Encoded
from equissl.evaluate.base import Score
from equissl.evaluate.context import EvaluationContext
from equissl.evaluate.equivariance import ranking as module_under_test
from equissl.evaluate.equivariance.embeddings import ObjectEmbeddings, embed
from equissl.evaluate.equivariance.ranking import SIE_PROTOCOL, RetrievalProtocol, retrieve
from equissl.evaluate.equivariance.retrieval import Retrieval
from equissl.evaluate.equivariance.retrieval_metrics import retrieval_scores
from equissl.evaluate.protocol import select_evaluations
from equissl.params import Params, Real, Rotation, Space, euler_quaternion

POSE = Space((Rotation("pose", keep_sign=True),))


class Matrices:
    """M(z) = sum of z_k W_k, on embeddings given as features."""

    def __init__(self, weight: Tensor, space: Space = POSE):
        self.weight, self.space = weight, space  # (k, in, out)

    def target(self, target: Encoded) -> Tensor:
        return target.vector

    def predict(self, source: Encoded, change: Params) -> Tensor:
        return torch.einsum("bk,bi,kio->bo", change.encode(), source.vector, self.weight)


def table(vectors: Tensor, euler: Tensor, views: int, every: bool = False) -> ObjectEmbeddings:
    params = Params.of(POSE, {"pose": euler_quaternion(euler).float()})
    groups = torch.arange(len(vectors)) // views
    features = vectors if every else vectors[::views]
    return ObjectEmbeddings(vectors, features, {"all": slice(0, vectors.shape[1])}, params, groups)


def named(scores: Iterator[Score]) -> dict[str, float]:
    return {s.name: s.value for s in scores if not s.baseline}


@pytest.mark.golden
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("path", golden("sie_retrieval"), ids=lambda p: p.stem)
def test_the_originals_numbers(path: Path, normalize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "_MAX_NUMBERS", 9_000)  # several pieces
    with np.load(path) as file:
        g = {k: torch.from_numpy(np.array(file[k])) for k in file.files}
    width, views = g["embeddings_train"].shape[1], int(g["n_views"])
    weight = g["hypernet_weight"].view(width, width, 4)[:, :, [3, 0, 1, 2]].permute(2, 1, 0)
    tables = {s: table(g[f"embeddings_{s}"], g[f"euler_{s}"], views) for s in ("train", "val")}
    protocol, ending = replace(SIE_PROTOCOL, normalize=normalize), "" if normalize else "_unnormalised"
    for split in ("train", "val"):
        banks = {"same": (tables[split],), "all": (tables["train"], tables["val"])}
        scores = named(
            retrieval_scores(Matrices(weight), tables[split], banks, split=split, protocol=protocol)
        )
        key = f"{split}_{split}{ending}"
        ranks = retrieve(Matrices(weight), tables[split], protocol=protocol).rank
        assert torch.equal(ranks, g[f"{key}__ranks"].double())
        assert scores[f"retrieval/{split}/mrr"] == pytest.approx(float(g[f"{key}__MRR"]), abs=1e-6)
        for k in (1, 2, 5, 10):
            assert scores[f"retrieval/{split}/hits@{k}"] == pytest.approx(
                float(g[f"{key}__H_at_{k}"]), abs=1e-6
            )
        assert scores[f"retrieval/{split}/pre/same/pose"] == pytest.approx(float(g[f"{key}__PRE"]), abs=1e-6)
    expected = float(g[f"val_all{ending}__PRE"])
    assert scores["retrieval/val/pre/all/pose"] == pytest.approx(expected, abs=1e-6)


def reference(
    module: Matrices, embeddings: ObjectEmbeddings, protocol: RetrievalProtocol
) -> tuple[list[float], list[int]]:
    """One query after the other."""
    ranks, nearest = [], []
    unit = F.normalize(embeddings.vectors, dim=1) if protocol.normalize else embeddings.vectors
    for group in embeddings.groups.unique():
        rows = (embeddings.groups == group).nonzero()[:, 0].tolist()
        for source in rows if protocol.sources == "every" else rows[:1]:
            for target in rows:
                if target == source and not protocol.identity:
                    continue
                p, q = embeddings.params.values["pose"][source], embeddings.params.values["pose"][target]
                change = Params.of(POSE, {"pose": POSE["pose"].between(p[None], q[None])})
                where = source if protocol.sources == "every" else int(group)
                start = Encoded(embeddings.features[where][None], None, {})
                predicted = module.predict(start, change)
                predicted = (F.normalize(predicted, dim=1) if protocol.normalize else predicted)[0]
                similarity = unit @ predicted
                if not protocol.source_is_candidate:
                    similarity[source] = -torch.inf
                ranks.append(1.0 + sum(bool(similarity[r] > similarity[target]) for r in rows))
                nearest.append(int(similarity.argmax()))
    return ranks, nearest


@pytest.mark.parametrize(
    "protocol",
    [
        RetrievalProtocol(),
        RetrievalProtocol(sources="every"),
        SIE_PROTOCOL,
        RetrievalProtocol(sources="every", normalize=False),
    ],
)
def test_a_slow_reference_agrees(protocol: RetrievalProtocol, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module_under_test, "_MAX_NUMBERS", 400)
    torch.manual_seed(0)
    embeddings = table(torch.randn(30, 6), torch.rand(30, 3), 5, every=protocol.sources == "every")
    # Objects of different sizes, the last three of the second object now the first's.
    groups = embeddings.groups.clone()
    groups[7:10] = 0
    firsts = [int((groups == g).nonzero()[0]) for g in groups.unique()]
    features = embeddings.vectors if protocol.sources == "every" else embeddings.vectors[firsts]
    embeddings = replace(embeddings, groups=groups, features=features)
    module = Matrices(torch.randn(4, 6, 6))
    results = retrieve(module, embeddings, {"same": (embeddings,)}, protocol=protocol)
    ranks, nearest = reference(module, embeddings, protocol)
    # The order within an object is by source, then target in both; objects in pieces of one source step.
    assert sorted(results.rank.tolist()) == sorted(ranks)
    assert sorted(results.nearest["same"].tolist()) == sorted(nearest)
    if protocol.sources == "first":
        assert results.rank.tolist() == ranks and results.nearest["same"].tolist() == nearest


def test_collapsed_embeddings_are_chance() -> None:
    embeddings = table(torch.ones(100, 4), torch.rand(100, 3), 10)
    module = Matrices(torch.eye(4).repeat(4, 1, 1))
    scores = {(s.name, s.baseline): s for s in retrieval_scores(module, embeddings, protocol=SIE_PROTOCOL)}
    assert scores["retrieval/test/hits@1", ""].value == 0.0
    assert scores["retrieval/test/mrr", ""].value == pytest.approx(1 / 5.5)
    chance = scores["retrieval/test/mrr", "constant"].value
    assert chance == pytest.approx(sum(1 / k for k in range(1, 11)) / 10)
    assert scores["retrieval/test/hits@5", "constant"].value == pytest.approx(0.5)


def test_an_oracle_finds_everything_and_chance_is_the_specs() -> None:
    """With embeddings that are the pose, R_y = R_x D is a matrix in D: a perfect linear hypernetwork."""
    torch.manual_seed(0)
    euler = (torch.rand(4000, 3) - 0.5) * torch.pi
    pose = euler_quaternion(euler).float()
    weight = torch.zeros(4, 4, 4)
    for k in range(4):
        product = POSE["pose"].between(torch.eye(4) * torch.tensor([1.0, -1, -1, -1]), torch.eye(4)[[k] * 4])
        weight[k] = product  # row i: e_i e_k
    embeddings = table(pose, euler, 50)
    scores = {
        (s.name, s.baseline): s.value
        for s in retrieval_scores(Matrices(weight), embeddings, protocol=RetrievalProtocol())
    }
    assert scores["retrieval/test/mrr", ""] > 0.999
    assert scores["retrieval/test/pre/same/pose", ""] < 1e-3
    original = {
        (s.name, s.baseline): s.value
        for s in retrieval_scores(Matrices(weight), embeddings, protocol=SIE_PROTOCOL)
    }
    assert original["retrieval/test/mrr", "constant"] == pytest.approx(0.090, abs=1e-3)
    assert original["retrieval/test/pre/same/pose", "constant"] == pytest.approx(0.627, abs=0.02)


class Glow:
    """Adds the change of "glow" to the mean brightness, which is what the encoder sees."""

    space = Space((Real("glow", scale=0.1),))

    def target(self, target: Encoded) -> Tensor:
        return torch.cat([target.vector, torch.ones(len(target.vector), 1)], 1)

    def predict(self, source: Encoded, change: Params) -> Tensor:
        predicted = source.vector + 4 * change.values["glow"]  # the encoder divides images by 0.25
        return torch.cat([predicted, torch.ones(len(predicted), 1)], 1)


def test_embedding_augmented_photographs() -> None:
    photographs: InMemoryDataset = dataset(6)
    made = embed(Glow(), encoder(), photographs, augment=Brighten(), views=8, batch_size=20)  # type: ignore[arg-type]
    assert len(made.vectors) == 48 and len(made.features) == 6
    glow = made.params.values["glow"].view(6, 8)
    assert not glow[:, 0].any() and (glow[:, 1:] > 0).all()
    alone = embed(Glow(), encoder(), photographs, augment=Brighten(), views=8, batch_size=8)  # type: ignore[arg-type]
    torch.testing.assert_close(alone.vectors, made.vectors)
    scores = named(retrieval_scores(Glow(), made))  # type: ignore[arg-type]
    assert scores["retrieval/test/mrr"] > 0.95
    with pytest.raises(ValueError, match="views must be at least 2"):
        embed(Glow(), encoder(), photographs, augment=Brighten(), views=1)  # type: ignore[arg-type]


def test_images_of_known_objects_need_no_augmentation() -> None:
    stream = torch.arange(12)
    images = replace(dataset(12), group_ids=stream % 4)
    made = embed(Glow(), encoder(), images)  # type: ignore[arg-type]
    assert len(made.features) == 4 and torch.equal(made.groups, stream % 4)
    every = embed(Glow(), encoder(), images, sources="every")  # type: ignore[arg-type]
    torch.testing.assert_close(every.features[:4], made.features)


def test_contradictions_are_refused() -> None:
    with pytest.raises(ValueError, match="source_is_candidate"):
        RetrievalProtocol(identity=True)


@pytest.mark.parametrize("protocol", [RetrievalProtocol(), SIE_PROTOCOL])
def test_features_of_every_image_serve_queries_from_the_first(protocol: RetrievalProtocol) -> None:
    torch.manual_seed(0)
    vectors, euler, module = torch.randn(30, 6), torch.rand(30, 3), Matrices(torch.randn(4, 6, 6))
    # The first image of an object is not where counting objects would look for it.
    groups = torch.tensor([3, 1, 1, 0, 2] * 6)
    firsts = [int((groups == g).nonzero()[0]) for g in (3, 1, 0, 2)]
    every = replace(table(vectors, euler, 5, every=True), groups=groups)
    first = replace(every, features=vectors[firsts])
    found, expected = (retrieve(module, e, {"same": (e,)}, protocol=protocol) for e in (every, first))
    assert torch.equal(found.rank, expected.rank) and not torch.equal(found.rank, torch.ones(len(found.rank)))
    assert torch.equal(found.nearest["same"], expected.nearest["same"])


def test_features_that_were_not_kept_are_refused() -> None:
    embeddings = table(torch.randn(30, 6), torch.rand(30, 3), 5)
    with pytest.raises(ValueError, match='sources="every"'):
        retrieve(Matrices(torch.randn(4, 6, 6)), embeddings, protocol=RetrievalProtocol(sources="every"))


@pytest.mark.parametrize("field", ["vectors", "features", "params"])
def test_embeddings_of_other_lengths_are_refused(field: str) -> None:
    embeddings = table(torch.randn(30, 6), torch.rand(30, 3), 5)
    shorter = {"vectors": torch.randn(29, 6), "features": torch.randn(5, 6), "params": embeddings.params[:29]}
    with pytest.raises(ValueError, match=f"^{field} must"):
        replace(embeddings, **{field: shorter[field]})


class Light(Glow):
    """Predicts "light", which the images of ``small.dataset`` record."""

    space = Space((Real("light", scale=0.1),))

    def predict(self, source: Encoded, change: Params) -> Tensor:
        predicted = source.vector + 4 * change.values["light"]
        return torch.cat([predicted, torch.ones(len(predicted), 1)], 1)


def test_the_evaluation_embeds_the_sources_of_its_protocol() -> None:
    images, rows = replace(dataset(24), group_ids=torch.arange(24) % 4), torch.arange(24)
    modules = {"light": Light()}
    context = EvaluationContext(encoder(), {"test": images}, {"test": rows}, modules)  # type: ignore[arg-type]
    settings = {"retrieval.protocol.sources": "every"}
    (evaluation,) = select_evaluations(["retrieval"], settings).values()
    assert isinstance(evaluation, Retrieval)
    counts = {e.protocol.sources: {s.count for s in e.run(context)} for e in (evaluation, Retrieval())}
    assert counts == {"every": {24 * 5}, "first": {4 * 5}}


def test_images_that_cannot_be_decoded_are_neither_sources_nor_targets() -> None:
    class Damaged(InMemoryDataset):
        """Image 1, the first of its object, cannot be decoded."""

        def readable(self, index: Tensor) -> Tensor:
            return index[index != 1]

        def batch(self, index: Tensor, epoch: int = 0) -> Batch:
            return replace(super().batch(index, epoch), replaced=index == 1)

    whole = dataset(24)
    images = Damaged(whole.images, whole.params, whole.targets, whole.class_names, torch.arange(24) % 4)
    modules, rows = {"light": Light()}, images.readable(torch.arange(24))
    context = EvaluationContext(encoder(), {"test": images}, {"test": rows}, modules)  # type: ignore[arg-type]
    scores = list(Retrieval(images=24).run(context))
    assert {s.count for s in scores} == {3 * 5 + 4}
