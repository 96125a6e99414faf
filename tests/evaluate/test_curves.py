"""Curves of how far features move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from equissl.data.base import InMemoryDataset
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate.audit.sensitivity.curves import CURVES, SensitivityCurves
from equissl.evaluate.base import Score
from equissl.evaluate.context import EvaluationContext
from equissl.params import Params, Space
from equissl.random import Stream


class Means(nn.Module):
    """The mean of each channel and of the middle: blind to turns, moved by colours in proportion."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


def curves(*names: str, channels: int = 3) -> dict[str, Score]:
    size = 1 if channels == 3 else 8
    x = Stream.of(torch.arange(40), "x").uniform("x", channels * size**2).view(40, channels, size, size)
    x = x.expand(-1, -1, 8, 8).contiguous()
    data = InMemoryDataset(x, Params.of(Space(), {}, count=40), torch.full((40,), -1))
    encoder = Encoder(
        Means() if channels == 3 else nn.Flatten(),
        None,
        (0.0,) * channels,
        (1.0,) * channels,
        (channels, 8, 8),
    )
    context = EvaluationContext(encoder, {"test": data}, {"test": torch.arange(40)})
    return {s.name: s for s in SensitivityCurves(names).run(context) if s.part == "all"}


def test_features_that_a_change_leaves_are_flat_and_others_rise() -> None:
    found = curves("rotation", "brightness", "saturation", "blur")
    values = {n: [row[1] for row in s.extra["curve"]] for n, s in found.items()}  # type: ignore[attr-defined]
    assert max(values["curve/rotation"]) < 1e-6 and max(values["curve/blur"]) < 1e-6
    assert max(values["curve/brightness"]) < 1e-6  # a cosine does not see a factor
    rising = values["curve/saturation"]
    assert rising == sorted(rising) and rising[0] < 0.05 < 0.3 < rising[-1]
    assert all(low <= value <= high for _, value, low, high in found["curve/saturation"].extra["curve"])  # type: ignore[attr-defined]
    assert found["curve/saturation"].value == rising[-1] and found["curve/rotation"].extra["of"] == "degrees"


def test_the_strengths_go_from_weak_to_strong() -> None:
    for unit, strengths in CURVES.values():
        neutral = {"area": 1, "factor": 1}.get(unit, 0)
        distances = [abs(s - neutral) for s in strengths]
        assert distances == sorted(distances) and len(distances) >= 5


def test_grey_images_have_no_curves_of_colour_and_unknown_names_are_refused() -> None:
    assert set(curves(channels=1)) == {f"curve/{n}" for n in ("crop", "rotation", "brightness", "blur")}
    with pytest.raises(UserError, match="rotation"):
        SensitivityCurves(("rotatoin",))
