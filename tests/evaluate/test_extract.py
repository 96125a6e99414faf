from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from evaluate.small import Brighten, dataset, encoder

from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.evaluate.features import extract
from equissl.params import Params, Real, Space
from equissl.testing.objective import tiny_encoder


def test_the_encoder_is_left_as_it_was() -> None:
    e = encoder().train()
    e.backbone.drop.eval()
    before = {k: v.clone() for k, v in e.state_dict().items()}
    random = torch.get_rng_state()
    extract(e, dataset(), augment=Brighten(), batch_size=7)
    assert all(torch.equal(v, before[k]) for k, v in e.state_dict().items())
    assert e.training and e.backbone.norm.training and not e.backbone.drop.training
    assert torch.equal(random, torch.get_rng_state())


def test_weights_lie_as_they_lay() -> None:
    e, seen = tiny_encoder(), []
    conv = next(m for m in e.modules() if isinstance(m, torch.nn.Conv2d))
    addresses = [p.data_ptr() for p in e.parameters()]
    conv.register_forward_hook(
        lambda m, _, out: seen.append(m.weight.is_contiguous(memory_format=torch.channels_last))
    )
    found = extract(e, dataset()).vectors
    assert seen and all(seen)
    assert [p.data_ptr() for p in e.parameters()] == addresses and conv.weight.is_contiguous()
    with eval_mode(e), torch.no_grad():
        expected = e(dataset().images / 255).vector
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_modes_return_after_an_error() -> None:
    e = encoder().train()

    def interrupted() -> None:
        with eval_mode(e):
            assert not e.training
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert e.training and e.backbone.drop.training


@pytest.mark.parametrize("batch_size", [1, 7, 50, 64])
def test_batches_do_not_matter(batch_size: int) -> None:
    e, data = encoder(), dataset()
    whole = extract(e, data, augment=Brighten(), seed=3)
    table = extract(e, data, augment=Brighten(), seed=3, batch_size=batch_size)
    assert torch.equal(table.vectors, whole.vectors)
    assert torch.equal(table.params.values["glow"], whole.params.values["glow"])
    assert len(table) == 50 and dict(table.parts) == dict(e.parts)


def test_rows_are_the_samples_of_index() -> None:
    e, data = encoder(), replace(dataset(), group_ids=torch.arange(50) // 5)
    whole = extract(e, data, augment=Brighten())
    index = torch.tensor([44, 3, 3, 17])
    some = extract(e, data, index=index, augment=Brighten())
    assert torch.equal(some.vectors, whole.vectors[index])
    assert torch.equal(some.labels, data.labels[index]) and torch.equal(some.groups, index // 5)
    assert torch.equal(some.params.values["light"], data.params.values["light"][index])
    assert torch.equal(some.params.values["glow"], whole.params.values["glow"][index])


def test_the_recorded_parameters_are_the_ones_applied() -> None:
    e, data = encoder(), dataset()
    plain, bright = extract(e, data), extract(e, data, augment=Brighten())
    shift = bright.vectors - plain.vectors
    expected = bright.params.values["glow"] / 0.25 / (1 + 1e-5) ** 0.5  # the encoder's std, BatchNorm's eps
    torch.testing.assert_close(shift, expected.expand(50, 6), atol=1e-5, rtol=1e-5)
    assert plain.params.space.names == ("light",) and bright.params.space.names == ("light", "glow")


def test_views_and_seeds_differ() -> None:
    e, data = encoder(), dataset()
    glow = [
        extract(e, data, augment=Brighten(), view_index=d, seed=s).params.values["glow"]
        for d, s in ((0, 0), (1, 0), (0, 1))
    ]
    assert not torch.equal(glow[0], glow[1]) and not torch.equal(glow[0], glow[2])


def test_a_table_can_be_trained_on() -> None:
    table = extract(encoder(), dataset())
    weight = torch.zeros(6, requires_grad=True)
    (table.vectors @ weight).sum().backward()
    assert weight.grad is not None and table.vectors.dtype == torch.float32


@pytest.mark.parametrize("kept", [True, False])
def test_what_the_augmentation_draws_replaces_a_known_factor_of_its_name(kept: bool) -> None:
    space = Space((Real("glow"), Real("weight")))
    ones = {name: torch.ones(50, 1) for name in space.names}
    data = replace(dataset(), params=Params.of(space, ones))
    table = extract(encoder(), data, augment=Brighten(), dataset_params=kept)
    assert table.params.values["glow"].max() < 0.5
    assert ("weight" in table.params.values) is kept


def test_progress_counts_every_image_and_none_is_an_error() -> None:
    seen: list[tuple[int, int]] = []

    def progress(what: str, done: int, total: int) -> None:
        seen.append((done, total))

    extract(encoder(), dataset(), batch_size=20, progress=progress)
    assert seen == [(20, 50), (40, 50), (50, 50)]
    with pytest.raises(ValueError, match="no images"):
        extract(encoder(), dataset(), index=torch.empty(0, dtype=torch.long))


def test_building_an_encoder_leaves_the_modes_of_its_layers() -> None:
    backbone = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.BatchNorm1d(12), torch.nn.Linear(12, 4))
    backbone[1].eval()  # frozen by its user
    Encoder(backbone, probe=(3, 2, 2))
    assert [layer.training for layer in backbone] == [True, False, True]
