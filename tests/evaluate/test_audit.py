from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import equissl
from equissl.augment.filters.gaussian_blur import GaussianBlur
from equissl.data.base import InMemoryDataset
from equissl.encoder.encoder import Encoder
from equissl.encoder.untrained import untrained_copy
from equissl.errors import UserError
from equissl.evaluate.audit.audit import audit
from equissl.evaluate.audit.factors import AUDITS, ON_REQUEST, audited, factors_of
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.plan import Speed, choose
from equissl.evaluate.audit.references import REFERENCES, ImageStatistics
from equissl.evaluate.base import Score
from equissl.params import Params, Real, Space
from equissl.random import Stream

COUNT = 100
QUICK = AuditOptions(count=COUNT, draws=1, untrained=1, minutes=0)


class Thumbnail(nn.Module):
    """The image itself, small: (B, C, H, W) -> (B, C * 36)."""

    def forward(self, images: Tensor) -> Tensor:
        return F.adaptive_avg_pool2d(images, 6).flatten(1)


class Noise(nn.Module):
    """Features that depend on an image as a hash does, so that nothing can be read from them."""

    def forward(self, images: Tensor) -> Tensor:
        pixels = images.double().flatten(1)
        seeds = (pixels * torch.arange(1, pixels.shape[1] + 1)).sum(1) * 1e4
        return (seeds[:, None] * torch.arange(1, 41).sqrt()).sin().float()


def make_images(channels: int = 3, count: int = COUNT) -> InMemoryDataset:
    """A coloured shade from corner to corner, always brighter on top and left, with noise."""
    stream = Stream.of(torch.arange(count), "images")
    ramp = torch.linspace(0, 1, 24)
    strength = stream.uniform("strength", 2 * channels, 0.2, 0.5).view(count, channels, 2, 1, 1)
    shade = strength[:, :, 0] * (1 - ramp[:, None]) + strength[:, :, 1] * (1 - ramp)
    noise = stream.uniform("noise", channels * 24 * 24, 0, 0.1).view(count, channels, 24, 24)
    pixels = ((shade + noise).clamp(0, 1) * 255).to(torch.uint8)
    none = torch.full((count,), -1)
    return InMemoryDataset(pixels, Params.of(Space((Real("hue"),)), {"hue": torch.ones(count, 1)}), none)


def wrapped(module: nn.Module) -> Encoder:
    return Encoder(module, probe=(3, 24, 24))


@cache
def rows(noise: bool = False) -> dict[tuple[str, str], Score]:
    few = replace(QUICK, factors=("crop", "horizontal_flip", "quarter_turns", "hue"))
    scores = audit(wrapped(Noise() if noise else Thumbnail()), make_images(), few if noise else QUICK)
    return {(s.name.removeprefix("audit/"), s.baseline): s for s in scores}


def test_every_factor_has_a_row_and_its_baselines() -> None:
    factors = {f for name in AUDITS if name not in ON_REQUEST for f in factors_of(name)}
    baselines = {"", "constant", "shuffled", *REFERENCES}  # no random one: there are no weights
    assert set(rows()) == {(f, b) for f in factors for b in baselines}
    for (factor, _), score in rows().items():
        assert score.count == COUNT
        assert score.low is not None and score.high is not None and score.low <= score.value <= score.high
        discrete = factor in ("horizontal_flip", "grayscale", "quarter_turns")
        assert score.unit == ("balanced accuracy" if discrete else "R2")


@pytest.mark.parametrize("factor", ["brightness", "contrast", "rotation", "hue"])
def test_pixels_tell_numbers(factor: str) -> None:
    assert rows()[factor, ""].value > 0.4


@pytest.mark.parametrize(
    ("factor", "least"), [("horizontal_flip", 0.75), ("grayscale", 0.75), ("quarter_turns", 0.6)]
)
def test_pixels_tell_classes(factor: str, least: float) -> None:
    assert rows()[factor, ""].value > least


def test_noise_tells_nothing() -> None:
    for (factor, baseline), score in rows(noise=True).items():
        chance = rows()[factor, "constant"].value
        if baseline in ("", "shuffled"):
            assert score.low is not None and score.low <= chance + 0.02, (factor, baseline)
        if baseline == "constant":
            assert score.value == {"R2": 0.0}.get(score.unit, 0.25 if factor == "quarter_turns" else 0.5)


def test_scores_repeat_whatever_the_batches() -> None:
    options = replace(QUICK, count=60, factors=("rotation",))

    def scores_of(batch_size: int) -> list[Score]:
        return audit(wrapped(Thumbnail()), make_images(), options, batch_size=batch_size)

    first, second = scores_of(60), scores_of(17)
    assert first == scores_of(60)
    assert [s.value for s in first] == pytest.approx([s.value for s in second], abs=1e-4)


def test_a_flip_cannot_be_read_from_features_that_did_not_move() -> None:
    """An encoder blind to left and right must not tell a flip; without the crop, "no change" would."""

    class Blind(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return F.adaptive_avg_pool2d(images, (6, 1)).flatten(1)

    scores = audit(wrapped(Blind()), make_images(), replace(QUICK, factors=("horizontal_flip",)))
    assert scores[0].value < 0.65
    assert audited("hue").source is None and audited("grayscale").source is not None


def test_mistakes_are_explained() -> None:
    encoder = wrapped(Thumbnail())
    with pytest.raises(UserError, match=r"'rotatoin'.*did you mean 'rotation'"):
        audit(encoder, make_images(), AuditOptions(factors=("rotatoin",)))
    with pytest.raises(UserError, match=r"at least 40 different images.*30"):
        audit(encoder, make_images(count=30), AuditOptions(minutes=0))
    with pytest.raises(UserError, match=r"'hue' needs colour images.*1 channels"):
        audit(encoder, make_images(1), AuditOptions(factors=("hue",)))
    with pytest.raises(UserError, match="an audit has no setting 'cuont'; did you mean 'count'"):
        equissl.audit(encoder, torch.rand(60, 3, 24, 24), cuont=60)


def test_grey_images_get_the_audits_that_suit_them() -> None:
    progress: list[tuple[int, int]] = []

    def report(what: str, done: int, total: int) -> None:
        progress.append((done, total))

    scores = audit(wrapped(Thumbnail()), make_images(1), replace(QUICK, count=60), progress=report)
    assert {s.name for s in scores} >= {"audit/brightness", "audit/rotation"}
    assert not {s.name for s in scores} & {"audit/hue", "audit/contrast"}
    done = [d for d, _ in progress]
    assert done == sorted(done) and progress[-1] == (60 * 8, 60 * 8)  # 6 audits, two kinds of plain images


def test_named_parts_have_rows_of_their_own() -> None:
    class Both(nn.Module):
        """The images' brightness, and a column for each that says nothing of it."""

        def forward(self, images: Tensor) -> Tensor:
            mean = images.mean((1, 2, 3))[:, None]
            return torch.cat([mean, torch.linspace(0, 1, len(images))[:, None]], 1)

    encoder = Encoder(Both(), {"mean": 1, "number": 1}, probe=(3, 24, 24))
    scores = audit(encoder, make_images(), replace(QUICK, factors=("brightness",)))
    values = {s.part: s.value for s in scores if not s.baseline}
    assert values["mean"] > 0.3 > 0.1 > values["number"] and list(values) == ["all", "mean", "number"]
    references = {s.part for s in scores if s.baseline == "statistics"}
    assert references == {"all"} and len([s for s in scores if s.baseline == "constant"]) == 3


def untrained_network() -> Encoder:
    torch.manual_seed(0)
    return wrapped(nn.Sequential(nn.Conv2d(3, 8, 5, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten()))


def test_an_interrupted_audit_goes_on_where_it_was(tmp_path: Path) -> None:
    options = replace(QUICK, count=60, untrained=0, factors=("brightness", "hue"))
    seen: list[str] = []

    def stop_at_hue(what: str, done: int, total: int) -> None:
        seen.append(what)
        if "hue" in what:
            raise KeyboardInterrupt

    straight = audit(untrained_network(), make_images(), options)
    with pytest.raises(KeyboardInterrupt):
        audit(untrained_network(), make_images(), options, store=tmp_path, progress=stop_at_hue)
    seen.clear()
    again = audit(
        untrained_network(), make_images(), options, store=tmp_path, progress=lambda *a: seen.append(a[0])
    )
    assert again == straight and "audit: brightness" not in seen
    seen.clear()
    (tmp_path / "hue.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    audit(untrained_network(), make_images(), options, store=tmp_path, progress=lambda *a: seen.append(a[0]))
    assert {s.partition(": ")[2] for s in seen} == {"plain images", "hue"}  # what cannot be read is made anew
    other = replace(options, seed=1)
    assert audit(untrained_network(), make_images(), other, store=tmp_path)[0].value != straight[0].value


def test_untrained_copies_are_built_only_where_a_readout_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[int] = []

    def count(encoder: Encoder, images: Tensor, seed: int, calibrate: bool) -> Encoder:
        built.append(seed)
        return untrained_copy(encoder, images, seed, calibrate)

    monkeypatch.setattr("equissl.evaluate.audit.audit.untrained_copy", count)
    options = replace(QUICK, count=48, untrained=2, draws=1, factors=("brightness", "hue"), minutes=0.0)
    network, calls = untrained_network(), []
    network.register_forward_hook(lambda *_: calls.append(1))
    first = audit(network, make_images(), options, store=tmp_path)
    assert built == [0, 1] and calls
    built.clear(), calls.clear()
    said: list[str] = []
    assert audit(network, make_images(), options, store=tmp_path, say=said.append) == first
    assert not built and not calls  # nor does an image pass the encoder
    assert said[1] == "audit: 2 of 2 readouts are kept from before"
    (tmp_path / "hue.safetensors").unlink()
    assert audit(network, make_images(), options, store=tmp_path) == first
    assert built == [0, 1] and calls


def test_an_audit_goes_on_with_the_numbers_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However busy the machine is by then: what was read would have to be read again."""
    options = replace(QUICK, count=None, draws=None, untrained=0, factors=("brightness",), minutes=1.0)
    for slow, draws in ((1e-9, 2), (1e9, 2)):
        speed = Speed(slow, slow, slow, 0.0)
        monkeypatch.setattr("equissl.evaluate.audit.audit.measure", lambda *_, speed=speed: speed)
        found = audit(untrained_network(), make_images(), options, store=tmp_path)
        assert found[0].extra["draws"] == draws
    assert audit(untrained_network(), make_images(), options)[0].extra["draws"] == 1
    (tmp_path / "chosen numbers.safetensors").write_bytes(b"{}")
    assert audit(untrained_network(), make_images(), options, store=tmp_path)[0].extra["draws"] == 1


def test_a_factor_is_read_from_one_image_and_from_fewer_images_too() -> None:
    rows = {
        (s.name, s.baseline): s
        for s in audit(untrained_network(), make_images(), replace(QUICK, factors=("brightness", "hue")))
    }
    hue, brightness = rows["audit/hue", ""].extra, rows["audit/brightness", ""]
    absolute, curve = brightness.extra["absolute"], brightness.extra["learning_curve"]
    assert absolute[0] < brightness.value  # the plain image tells how bright it was before
    assert list(curve) == ["25", "50", "100"] and curve["100"] == brightness.value
    assert 0 <= hue["degrees"] <= 180 and 0 <= hue["sign"] <= 1 and hue["sine_r2"] <= 1
    assert "absolute" in rows["audit/hue", "random"].extra


def test_an_augmentation_of_ones_own_is_a_factor() -> None:
    scores = audit(
        untrained_network(),
        make_images(),
        replace(QUICK, factors=(GaussianBlur(sigma=(0.1, 4.0), p=1.0), "hue")),
    )
    assert {s.name for s in scores} == {"audit/blur_sigma", "audit/hue"}


def test_what_does_not_fit_into_the_time_is_left_out_and_what_is_given_is_not() -> None:
    slow = Speed(views=0.0, forward=0.1, fit=0.0, growing=0.0)
    options, seconds = choose(AuditOptions(minutes=10), slow, 10, 1000)
    assert (options.count, options.draws, options.untrained) == (100, 1, 3)
    copies = 3 * (64 + 100 / 2)  # checked, and every second one calibrated
    assert seconds == pytest.approx((100 * 12 * 4 + copies) * 0.1)
    options, seconds = choose(AuditOptions(minutes=10, count=1000), slow, 10, 700)
    copies = 3 * (64 + 256 / 2)
    assert options.count == 1000 and seconds == pytest.approx((700 * 12 * 4 + copies) * 0.1)
    assert choose(AuditOptions(), None, 10, 1000)[0].count == 400
    both, seconds = choose(AuditOptions(minutes=20, equivariance=True), slow, 10, 1000)
    assert both.count == 100 and seconds <= 10 * 60  # the other half is for equivariance
    assert choose(AuditOptions(minutes=20), slow, 10, 1000)[0].count == 200
    fast, seconds = choose(AuditOptions(minutes=0.0), None, 10, 1000)
    assert (fast.count, fast.draws, fast.untrained, seconds) == (400, 2, 4, 0.0)


def test_the_cost_is_announced_before_the_work() -> None:
    said: list[str] = []
    options = AuditOptions(count=60, untrained=1, factors=("brightness",))
    audit(untrained_network(), make_images(), options, say=said.append)
    assert len(said) == 1
    assert (
        said[0].startswith("audit: 60 images, 1 augmentation, 2 times each, 1 network with")
        and "about" in said[0]
    )


@pytest.mark.parametrize(("module", "adds"), [(Thumbnail(), True), (ImageStatistics(), False)])
def test_what_features_add_to_image_statistics(module: nn.Module, adds: bool) -> None:
    scores = audit(wrapped(module), make_images(), replace(QUICK, factors=("rotation",)))
    own = next(s for s in scores if not s.baseline)
    statistics = next(s for s in scores if s.baseline == "statistics")
    together, (added, low, high) = own.extra["with_statistics"], own.extra["added"]
    assert added == pytest.approx(together[0] - statistics.value)
    assert low > 0.1 if adds else low < 0.05 and abs(added) < 0.1 and high < 0.2
    assert own.extra["ceiling"] >= own.value and own.extra["limit"] == COUNT


def test_copies_are_left_out_and_images_of_one_object_count() -> None:
    images = make_images().images
    again = torch.cat([images[:60], images[:20]])
    params, none = Params.of(Space(), {}, count=80), torch.full((80,), -1)
    copied = InMemoryDataset(again, params, none)
    of_objects = InMemoryDataset(
        again, params, none, group_ids=torch.cat([torch.arange(60), torch.arange(20)])
    )
    options = replace(QUICK, untrained=0, factors=("brightness",))
    for dataset, count in ((copied, 60), (of_objects, 80)):
        own = next(s for s in audit(wrapped(Thumbnail()), dataset, options) if not s.baseline)
        assert (own.count, own.extra["copies"]) == (count, 80 - count)
