"""Checks that every base objective and equivariance module must pass."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from equissl.augment.base import Pipeline
from equissl.augment.color.color_jitter import ColorJitter
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.masking.patch_mask import PatchMask
from equissl.data.batch import Batch
from equissl.encoder.backbone import EncoderConfig
from equissl.encoder.encoder import Encoded, Encoder
from equissl.objective import BaseConfig, EquivarianceConfig
from equissl.params import Params, Space
from equissl.views import View, ViewSpec, make_views

SIDE = 16


def tiny_encoder(parts: Mapping[str, int] | None = None, width: int = 16) -> Encoder:
    """A small convolutional encoder with a grid; seeded."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        backbone = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, width, 3, 2, 1)
        )
    return Encoder(backbone, parts, probe=(3, SIDE, SIDE))


def tiny_transformer(parts: Mapping[str, int] | None = None) -> Encoder:
    """A small transformer whose patches can be masked, with a grid; seeded."""
    config = EncoderConfig(
        name="test_vit", size=SIDE, options={"patch_size": 4}, width=16, parts=parts or {}, mask_token=True
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return config.build()


def tiny_batch(count: int, seed: int = 0) -> Batch:
    """Uniform noise images, without recorded factors; ``count`` of them."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(count, 3, SIDE, SIDE, generator=generator)
    unknown = torch.full((count,), -1)
    return Batch(
        {"image": images}, {"image": Params.of(Space(), {}, count=count)}, unknown, torch.arange(count)
    )


def tiny_views() -> dict[str, ViewSpec]:
    """Two augmented views and a plain one."""
    policy = Pipeline((RandomResizedCrop(SIDE, scale=(0.5, 1.0)), HorizontalFlip(), ColorJitter()))
    return {"plain": ViewSpec(), "a": ViewSpec(policy), "b": ViewSpec(policy)}


def masked_views() -> dict[str, ViewSpec]:
    """``tiny_views`` whose augmented views also mask patches of ``tiny_transformer``."""
    mask = PatchMask(grid_size=4, p=1.0)
    return {
        n: s if n == "plain" else replace(s, augment=Pipeline((s.augment, mask)))
        for n, s in tiny_views().items()
    }


def check_objective(
    config: BaseConfig | EquivarianceConfig,
    make: Callable[..., Encoder] = tiny_encoder,
    specs: Mapping[str, ViewSpec] | None = None,
) -> None:
    """Check an objective that reads views "a", "b" and perhaps "plain".

    Its terms are finite scalars for batches of two and five images; gradient reaches every trainable
    parameter and the features; a state dict round-trips, after which the same input gives the same terms;
    it reads the features of the views of ``reads_encoded()`` alone.

    Args:
        config: of the objective.
        make: function that builds an encoder, with ``parts`` as its optional argument.
        specs: views to make, ``tiny_views()`` if absent.

    Raises:
        AssertionError: a check failed; the message says which.
    """
    encoder, specs = make(), specs or tiny_views()
    spaces = {name: spec.space(Space()) for name, spec in specs.items()}
    try:
        _run(config.build(encoder, spaces), encoder, 2, specs, config.reads_encoded())
    except KeyError as error:
        raise AssertionError(f"it reads the features of view {error}, unlike reads_encoded()") from error
    for count in (2, 5):
        module = config.build(encoder, spaces)
        terms, features = _run(module, encoder, count, specs)
        assert terms, "an objective has at least one term"
        for name, term in terms.items():
            assert term.shape == (), f"term {name} is no scalar"
            assert term.isfinite(), f"term {name} is not finite for {count} images"
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    without_gradient = [n for n, p in module.named_parameters() if p.requires_grad and p.grad is None]
    assert not without_gradient, f"no gradient reaches {without_gradient}"
    assert any(f.grad is not None and bool(f.grad.abs().sum() > 0) for f in features.values()), (
        "no gradient reaches the features"
    )
    restored = config.build(encoder, spaces)
    restored.load_state_dict(module.state_dict())
    first, second = (_run(m.eval(), encoder, 5, specs)[0] for m in (module, restored))
    for name in first:
        assert torch.equal(first[name], second[name]), f"{name} differs after a state dict round trip"


def check_part(
    config: BaseConfig | EquivarianceConfig,
    part: str,
    make: Callable[..., Encoder] = tiny_encoder,
    specs: Mapping[str, ViewSpec] | None = None,
) -> None:
    """Check that an objective built with ``part=...`` sends no gradient to other columns of the features."""
    encoder, specs = make({"inv": 10, "equi": 6}), specs or tiny_views()
    spaces = {name: spec.space(Space()) for name, spec in specs.items()}
    terms, features = _run(config.build(encoder, spaces), encoder, 4, specs)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    columns = encoder.parts[part]
    for name, feature in features.items():
        if feature.grad is not None:
            outside = feature.grad.clone()
            outside[:, columns] = 0
            assert not outside.any(), f"columns outside {part!r} of view {name!r} receive gradient"


def _run(
    module: nn.Module,
    encoder: Encoder,
    count: int,
    specs: Mapping[str, ViewSpec],
    to_encode: Collection[str] | None = None,
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    views = make_views(tiny_batch(count), specs, seed=0)
    encoded = {n: _leaves(encoder, v) for n, v in views.items() if to_encode is None or n in to_encode}
    features = {n: e.vector for n, e in encoded.items()}
    features |= {f"{n}/grid": e.grid for n, e in encoded.items() if e.grid is not None}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if len(_arguments(module)) == 2:
            return module(views, encoded).losses, features
        # Detached: through the base's embeddings a module may well reach columns that it does not read.
        embeddings = {n: e.vector[:, :4].detach() for n, e in encoded.items()}
        return module(views, encoded, embeddings), features


def _leaves(encoder: Encoder, view: View) -> Encoded:
    encoded = encoder(view.images)
    grid = None if encoded.grid is None else encoded.grid.detach().requires_grad_()
    return Encoded(encoded.vector.detach().requires_grad_(), grid, encoded.parts)


def _arguments(module: nn.Module) -> list[str]:
    import inspect

    return list(inspect.signature(module.forward).parameters)
