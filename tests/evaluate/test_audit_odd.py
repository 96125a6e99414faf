"""Audits of odd images and augmentations, and damaged files of what was read."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import equissl
from equissl.api.subspace import check_factors
from equissl.augment.base import Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.factor_names import ALIASES
from equissl.augment.filters.gaussian_noise import GaussianNoise
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.masking.patch_mask import PatchMask
from equissl.auto.requirements import FACTORS, kept_factors
from equissl.errors import UserError
from equissl.evaluate.audit.asked import check_asked
from equissl.evaluate.audit.factors import AUDITS
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.readouts.store import ReadoutStore
from equissl.evaluate.base import Score
from equissl.evaluate.checked_file import read_checked, write_checked

IMAGES = torch.rand(44, 3, 8, 8, generator=torch.Generator().manual_seed(0))
QUICK: dict[str, Any] = {"count": 44, "draws": 1, "untrained": 0, "minutes": 0.0}


def audit(images: Tensor = IMAGES, **settings: Any) -> list[Score]:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(images[0].numel(), 4))
    return equissl.audit(network, images, **(QUICK | {"factors": ("brightness",)} | settings))


Change = Callable[[dict[str, Any], dict[str, Tensor]], object]
DAMAGE: dict[str, Change] = {
    "a row is missing": lambda facts, tensors: facts["rows"].pop(),
    "a row has another name": lambda facts, tensors: facts["rows"][0].update(row="<script>"),
    "infinite curve": lambda facts, tensors: facts["rows"][0].update(curve=[[float("inf"), 1]]),
    "NaN": lambda facts, tensors: tensors["0/score/values"].fill_(float("nan")),
    "fewer resamples": lambda facts, tensors: tensors.update(
        {"0/score/resamples": tensors["0/score/resamples"][:9]}
    ),
    "scores of whole numbers": lambda facts, tensors: tensors.update(
        {"0/absolute/values": tensors["0/absolute/values"].long()}
    ),
    "a target is missing": lambda facts, tensors: tensors.update({"0/targets": tensors["0/targets"][1:]}),
    "targets of another shape": lambda facts, tensors: tensors.update(
        {"0/predictions": tensors["0/predictions"].repeat(1, 2)}
    ),
}


def test_what_is_not_as_an_audit_writes_it_is_read_anew(tmp_path: Path) -> None:
    audit(store=tmp_path)
    path, space = tmp_path / "brightness.safetensors", AUDITS["brightness"].space
    content = path.read_bytes()
    for damage, change in DAMAGE.items():
        facts, tensors = read_checked(path)
        rows = frozenset(row["row"] for row in facts["rows"])
        store = ReadoutStore(tmp_path, facts["key"], rows, len(IMAGES), 1)
        change(facts, tensors)
        write_checked(path, facts, tensors)  # with a digest of its own
        assert store.read("brightness", space) is None, damage
        path.write_bytes(content)
        assert store.read("brightness", space) is not None


def test_a_readout_with_a_flipped_bit_is_read_anew(tmp_path: Path) -> None:
    scores = audit(store=tmp_path)
    path = tmp_path / "brightness.safetensors"
    content = path.read_bytes()
    facts, _ = read_checked(path)
    rows = frozenset(row["row"] for row in facts["rows"])
    store, space = ReadoutStore(tmp_path, facts["key"], rows, len(IMAGES), 1), AUDITS["brightness"].space
    for place in torch.randint(len(content), (100,), generator=torch.Generator().manual_seed(0)).tolist():
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        assert store.read("brightness", space) is None, place
    assert audit(store=tmp_path) == scores
    assert read_checked(path)[0] == facts  # written anew


def test_equal_images_count_once_however_many_they_are() -> None:
    images = torch.cat([IMAGES[:11], IMAGES[:1].expand(31, -1, -1, -1)])
    with pytest.raises(UserError, match="at least 40 different images, but there are 11"):
        audit(images)
    with pytest.raises(UserError, match=r"but there are 1 among those that were read"):
        audit(IMAGES[:1].expand(44, -1, -1, -1))


@pytest.mark.parametrize(
    ("factors", "message"),
    [
        (
            (ColorJitter(0.4, 0, 0, 0, p=1), ColorJitter(0, 0.4, 0, 0, p=1)),
            "'ColorJitter' would be read from",
        ),
        (("brightness", ColorJitter(0.4, 0.4, 0, 0, p=1)), "'brightness' would be read from brightness and"),
        ((Pipeline(()),), "Pipeline has no parameter that could be read"),
        ((Pipeline((PatchMask(grid_size=9), ColorJitter())),), "Pipeline cannot be applied to .* 8 x 8 px"),
        ((RandomResizedCrop(24),), "makes images of 24 x 24 px, but they are of 8 x 8"),
        ((ColorJitter(0.4, 0.4, 0, 0, p=0),), "no parameter of ColorJitter differs between images"),
    ],
)
def test_factors_that_would_be_mixed_up_or_do_not_vary_are_refused(
    factors: tuple[object, ...], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        audit(factors=factors)


def test_factors_may_be_one_name() -> None:
    assert audit(factors="brightness") == audit()
    with pytest.raises(UserError, match="factors"):
        audit(factors=None)


def test_names_of_several_factors_and_of_parameters_stand_for_the_factors() -> None:
    colors = ("brightness", "contrast", "saturation", "hue")
    for name in ("color", "colour"):
        assert AuditOptions(factors=(name, "hue", "crop_left")).factors == (*colors, "crop")
    assert {s.name for s in audit(factors=("flip", "vertical_flip", "invert"))} == {
        "audit/horizontal_flip",
        "audit/vertical_flip",
        "audit/invert",
    }


@pytest.mark.parametrize("name", [*FACTORS, *ALIASES])
def test_what_can_be_kept_can_be_audited(name: str) -> None:
    check_asked((name,))
    assert kept_factors([name])[0]


@pytest.mark.parametrize(
    ("name", "near"),
    [("colr", "color"), ("colours", "colour"), ("greyscale", "grayscale"), ("flips", "flip")],
)
def test_names_that_are_none_are_corrected_alike_everywhere(name: str, near: str) -> None:
    for ask in (lambda: kept_factors([name]), lambda: check_asked((name,)), lambda: check_factors(name)):
        with pytest.raises(UserError, match=f"did you mean '{near}'"):
            ask()


def test_what_a_table_measures_is_not_kept_but_learned_otherwise() -> None:
    with pytest.raises(
        UserError, match=r"keep=yaw: no such factor; .* is learned with recipe=sie\.sie_measured"
    ):
        kept_factors(["yaw"])
    with pytest.raises(
        UserError, match="factor=colour stands for brightness, contrast, saturation, hue; name"
    ):
        check_factors("colour")
    assert check_factors("crop_left", ["flip"]) == ("crop", ("horizontal_flip",))


def test_parameters_that_are_only_replayed_are_not_read() -> None:
    noise = GaussianNoise()
    readable = {f"audit/{f.name}" for f in noise.space if f.encoded_size}
    assert {s.name for s in audit(factors=noise)} == readable != {f"audit/{n}" for n in noise.space.names}


def test_an_encoder_has_one_width() -> None:
    calls = itertools.count()
    with pytest.raises(UserError, match="another number of features each time"):
        equissl.audit(lambda x: x.flatten(1)[:, : 10 + next(calls)], IMAGES, factors=("brightness",), **QUICK)


def test_an_encoder_answers_alike_each_time() -> None:
    with pytest.raises(UserError, match="gives other features of the same images each time"):
        equissl.audit(lambda x: torch.randn(len(x), 5), IMAGES, factors=("brightness",), **QUICK)


def test_limits_are_said() -> None:
    with pytest.raises(UserError, match="layer=5: expected names of modules"):
        audit(layer=5)
    with pytest.raises(UserError, match=r"2 x 9 px cannot be audited: .* at least 3 px"):
        audit(torch.rand(44, 3, 2, 9))
    with pytest.raises(UserError, match=r"precision must be in \[0, 1000\]"):
        audit(precision=1e300)
