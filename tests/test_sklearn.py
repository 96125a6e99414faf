"""The transformer of scikit-learn, and cached features as a torch dataset."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks as checks
from torch import Tensor, nn

import equissl
from equissl.errors import UserError
from equissl.sklearn import Embedder

IMAGES = torch.rand(24, 3, 8, 8, generator=torch.Generator().manual_seed(0)).numpy()
LABELS = np.arange(24) % 2
IMAGES[LABELS == 1, 0] *= 0.3  # the classes differ in red


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())


def test_features_are_those_of_the_network_and_of_embed() -> None:
    model = network().eval()
    features = Embedder(model).transform(IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(features), model(torch.from_numpy((IMAGES * 255).round() / 255))
        )
    torch.testing.assert_close(torch.from_numpy(features), equissl.embed(model, IMAGES).features)


def test_it_works_in_pipelines_searches_and_cross_validation() -> None:
    pipeline = make_pipeline(Embedder(network()), LogisticRegression(C=100.0))
    assert cross_val_score(pipeline, IMAGES, LABELS, cv=3).mean() > 0.9
    search = GridSearchCV(pipeline, {"logisticregression__C": [0.1, 100.0]}, cv=2).fit(IMAGES, LABELS)
    assert search.predict(IMAGES[:3]).shape == (3,)


def test_a_clone_shares_the_frozen_model_and_has_the_same_settings() -> None:
    model = network()
    embedder = Embedder(model, mean=(0.5,) * 3, std=(0.25,) * 3)
    copied = clone(embedder)
    assert copied.model is model and copied.get_params() == embedder.get_params()
    np.testing.assert_array_equal(copied.transform(IMAGES), embedder.transform(IMAGES))


def test_names_of_features_and_pandas_output() -> None:
    frame = Embedder(network()).set_output(transform="pandas").fit_transform(IMAGES)
    assert list(frame.columns)[:2] == ["embedder0", "embedder1"] and frame.shape == (24, 8)


@pytest.mark.parametrize(
    "check",
    [  # the others feed tables of numbers, which are no images
        checks.check_estimator_cloneable,
        checks.check_estimator_tags_renamed,
        checks.check_valid_tag_types,
        checks.check_estimator_repr,
        checks.check_no_attributes_set_in_init,
        checks.check_get_params_invariance,
        checks.check_set_params,
        checks.check_mixin_order,
    ],
    ids=lambda check: check.__name__,
)
def test_scikit_learns_own_checks(check: Callable[[str, Embedder], None]) -> None:
    check("Embedder", Embedder(network()))


def test_what_is_wrong_is_said_in_words() -> None:
    with pytest.raises(UserError, match=r"part='b': the features have none; .*all"):
        Embedder(network(), part="b").transform(IMAGES)
    with pytest.raises(UserError, match="expected a tensor or an array"):
        Embedder(network()).transform(5)
    with pytest.raises(UserError, match=r"expected the shape \(N, C, H, W\)"):
        Embedder(network()).fit(np.zeros((5, 4)))


def test_cached_features_are_computed_once(tmp_path: Path) -> None:
    calls: list[int] = []
    model = network()
    model.register_forward_hook(lambda *_: calls.append(1))
    samples = list(zip(torch.from_numpy(IMAGES), LABELS.tolist(), strict=True))
    make: Callable[[], equissl.FeatureDataset] = lambda: equissl.FeatureDataset(model, samples, tmp_path)  # noqa: E731
    first = make()
    tried = len(calls)
    again = make()
    assert torch.equal(again.features, first.features) and again.labels.tolist() == LABELS.tolist()
    assert len(calls) - tried < tried  # only the width is measured again
    features, label = first[3]
    assert features.shape == (8,) and label == 1 and len(first) == 24 and first.classes == ("0", "1")
    with torch.no_grad():
        parameter = next(model.parameters())
        parameter.mul_(2)
    assert not torch.equal(make().features, first.features)


def test_a_function_is_embedded_too() -> None:
    def mean(images: Tensor) -> Tensor:
        return images.mean((2, 3))

    assert Embedder(mean).transform(torch.rand(4, 3, 8, 8)).shape == (4, 3)
