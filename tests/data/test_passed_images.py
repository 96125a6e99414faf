"""Torch datasets and other images that Python code passes, wherever data are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import equissl
from equissl.config.serialize import from_dict, to_dict
from equissl.data.base import Data
from equissl.data.given_data import GivenImages
from equissl.data.given_images import open_images
from equissl.errors import UserError
from equissl.recipe import Recipe
from equissl.training.options import Options

PIXELS = torch.randint(0, 256, (60, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
PILLOW = [Image.fromarray(x.permute(1, 2, 0).numpy()) for x in PIXELS]
QUIET = Options(loggers=())


class Own(torch.utils.data.Dataset[Any]):
    """A dataset of a user: its samples are what a function returns."""

    def __init__(self, sample: Callable[[int], Any], classes: tuple[str, ...] = ()):
        self.sample, self.classes, self.read = sample, classes, 0

    def __len__(self) -> int:
        return len(PIXELS)

    def __getitem__(self, number: int) -> Any:
        self.read += 1
        return self.sample(number)


def described(number: int) -> tuple[Image.Image, int, dict[str, object]]:
    """An image, its class and what was measured."""
    return (
        PILLOW[number],
        number % 2,
        {"yaw_degrees": 6.0 * number, "ripe": number % 3 == 0, "plant": number // 2},
    )


@pytest.mark.parametrize(
    "sample",
    [
        lambda k: PILLOW[k],
        lambda k: (PIXELS[k] / 255, k % 2),
        lambda k: (PIXELS[k].numpy(), torch.tensor(k % 2)),
        lambda k: {"image": PILLOW[k], "label": k % 2},
        described,
    ],
)
def test_all_forms_of_samples_give_the_same_images(sample: Callable[[int], Any]) -> None:
    dataset = open_images(Own(sample), 8)
    assert torch.equal(dataset.batch(torch.arange(60)).images["image"], PIXELS)
    assert dataset.labels.tolist() in ([-1] * 60, [k % 2 for k in range(60)])


def test_a_list_of_samples_is_a_dataset_and_classes_have_names() -> None:
    named = open_images(Own(lambda k: (PILLOW[k], k % 2), classes=("cat", "dog")), 8)
    part = open_images(torch.utils.data.Subset(Own(lambda k: (PILLOW[k], k % 2), ("cat", "dog")), [0, 1]), 8)
    texts = open_images([(PILLOW[k], "dog" if k % 2 else "cat") for k in range(4)], 8)
    assert named.classes == part.classes == texts.classes == ("cat", "dog")
    assert texts.labels.tolist() == [0, 1, 0, 1]


def test_factors_have_the_kinds_of_their_types_or_those_that_are_said() -> None:
    data = GivenImages.of(Own(described), 8, group="plant")
    space = data.spaces["image"]
    assert {f.name: type(f).__name__ for f in space} == {"yaw_degrees": "Circular", "ripe": "Binary"}
    dataset = data.open_all()
    assert dataset.params.values["yaw_degrees"][5].item() == 30.0
    assert dataset.groups.tolist() == [k // 2 for k in range(60)] and set(dataset.spaces) == {
        "image",
        "partner",
    }
    said = GivenImages.of(Own(described), 8, factors=("yaw_degrees:real", "ripe:none", "plant:category"))
    assert [type(f).__name__ for f in said.spaces["image"]] == ["Real", "Cyclic"]
    with pytest.raises(UserError, match="data: number 0: ripe is"):
        _ = GivenImages.of(Own(described), 8, factors=("ripe:time",)).spaces


def test_groups_are_never_split_and_parts_are_all_there() -> None:
    data = GivenImages.of(Own(described), 8, group="plant", test_fraction=0.3)
    train, test = data.open("train"), data.open("test")
    yaw = [d.batch(torch.arange(len(d))).params["image"].values["yaw_degrees"] for d in (train, test)]
    plants = [set((y[:, 0] / 12).floor().tolist()) for y in yaw]
    assert len(train) + len(test) == 60 and not plants[0] & plants[1]


def test_samples_that_do_not_fit_into_memory_are_read_when_they_are_used() -> None:
    own = Own(described)
    kept = GivenImages.of(Own(described), 8, group="plant").open("train")
    lazy = GivenImages.of(own, 8, group="plant", memory_gb=0.0).open("train")
    before, index = own.read, torch.tensor([3, 1])
    one, other = lazy.batch(index, epoch=2), kept.batch(index, epoch=2)
    assert own.read == before + 4
    for name in ("image", "partner"):
        assert torch.equal(one.images[name], other.images[name])
    assert lazy.digest == GivenImages.of(own, 8, group="plant", memory_gb=0.0).open("train").digest


def test_a_limit_takes_the_same_samples_and_reads_no_others() -> None:
    own = Own(described)
    first = open_images(own, 8, limit=7)
    assert len(first) == 7 and own.read < 20
    assert torch.equal(
        first.batch(torch.arange(7)).images["image"],
        open_images(own, 8, limit=7).batch(torch.arange(7)).images["image"],
    )


class Stream(torch.utils.data.IterableDataset[Any]):
    """A dataset without numbers."""

    def __iter__(self) -> Iterator[Any]:
        return iter(PILLOW)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (5, "got an object of type int"),
        (None, "got None"),
        (Own, "the class Own; make one"),
        ({"a": 1}, "of type dict"),
        (b"bytes", "of type bytes"),
        ((x for x in PILLOW), "of type generator"),
        (torch.utils.data.DataLoader(Own(described)), "pass its dataset: loader.dataset"),
        (Stream(), "Stream can only be iterated"),
        (Own(lambda k: 1), "number 0: it holds an image of type int"),
        (Own(lambda k: {"pixels": PILLOW[k]}), "number 0: it holds no image"),
        (Own(lambda k: (PILLOW[k], [0, 1])), "label of number 0 is .* of type list"),
        (Own(lambda k: (PILLOW[k], 10**12)), "label of number 0 is '1000000000000'.*from 0 .* to 999,999"),
        (Own(lambda k: (PILLOW[k], "cat" if k else 0)), "labels are texts, but one is 0"),
        (Own(lambda k: (PILLOW[k], 1, 2)), "its third part is of type int, no mapping"),
        (Own(lambda k: PILLOW[k + 60]), "number 0 of Own fails: IndexError"),
        (Own(lambda k: (PILLOW[k], 0, {"a": 1} if k else {})), "number 1 has the factors"),
        (Own(lambda k: torch.rand(3, 8, 8)), "differs when it is read again: its transform draws at random"),
        (Own(lambda k: torch.full((3, 8 + k // 30, 8), 0.5)), "resize tensors in the dataset's transform"),
        (Own(lambda k: torch.full((3, 8, 8), -2.0)), "look normalised"),
    ],
)
def test_everything_else_is_refused_in_words(images: Any, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_images(images, 8)


def test_the_recipe_keeps_what_factors_mean_but_no_image(tmp_path: Path) -> None:
    data = GivenImages.of(Own(described), 8).resolve()
    stored = to_dict(data)
    assert "source" not in stored and stored["count"] == 60
    again = from_dict(stored, Data)
    assert again == data and again.spaces == data.spaces
    with pytest.raises(UserError, match="pass the same again as data="):
        again.open("train")
    with pytest.raises(UserError):
        from_dict({**stored, "source": "/etc/passwd"}, Data)
    with pytest.raises(UserError, match="30 images were passed, but the run has 60"):
        again.with_images(PILLOW[:30]).open("train")


def recipe() -> Recipe:
    from equissl.recipes import quickstart

    made = quickstart.invariant()
    encoder = replace(made.encoder, size=8)
    views = {
        n: replace(v, augment=equissl.augment.presets.simclr(8), image="image") for n, v in made.views.items()
    }
    return replace(made, encoder=encoder, views=views, epochs=1, batch_size=16, monitor_every=0)


def test_pretrain_resume_evaluate_and_embed_take_a_dataset(tmp_path: Path) -> None:
    own = Own(described)
    made = replace(recipe(), data=GivenImages.of(own, 8))
    run = equissl.pretrain(made, tmp_path / "run", QUIET)
    assert run.recipe.data.count == 60
    with pytest.raises(UserError, match="pass the same again as data="):
        equissl.resume(run.path, {"epochs": "2"})
    assert equissl.resume(run.path, {"epochs": "2"}, data=own).log[-1]["epoch"] == 2
    options = equissl.EvaluationOptions(evaluations=("knn",), steer=0)
    with pytest.raises(UserError, match="pass the same again as data="):
        equissl.evaluate_run(run.path, options=options)
    scores = equissl.evaluate_run(run.path, own, options)
    assert "knn/top1" in {s.name for s in scores} and "kNN" in repr(scores)
    table = equissl.embed(run.path, own)
    assert table.features.shape[0] == 60 and table.files[:2] == ("0", "1")
    assert "60 images" in repr(table) and table.to_pandas().shape == tuple(table.features.shape)
    tensors = equissl.embed(run.path, PIXELS)
    torch.testing.assert_close(tensors.features, table.features)


def test_the_same_dataset_is_audited_with_its_own_factors() -> None:
    def network(images: Tensor) -> Tensor:
        return images.mean((2, 3))

    quick: Any = {"size": 8, "count": 60, "untrained": 0, "draws": 1}
    scores = equissl.audit(network, Own(described), factors=("yaw_degrees",), **quick)
    assert scores["audit/yaw_degrees"].count == 60
    with pytest.raises(UserError, match="yaw_degree"):
        equissl.audit(network, Own(described), factors=("yaw_degree",), **quick)


def test_pretrain_takes_images_in_place_of_the_recipes(tmp_path: Path) -> None:
    made = replace(recipe(), data=replace(recipe().data, size=8))
    run = equissl.pretrain(made, tmp_path / "run", QUIET, data=[np.asarray(x) for x in PIXELS])
    assert type(run.recipe.data) is GivenImages and run.environment["images"] < 60
