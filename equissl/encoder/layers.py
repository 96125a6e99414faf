"""Features of several layers of a backbone at once, each a named part of the features."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.encoder.encoder import Encoder
from equissl.encoder.features import features
from equissl.encoder.modes import eval_mode
from equissl.errors import UserError, nearest

ALL, TOKENS = "all", "tokens"
TOKEN_GRID = 4  # side of the grid that places are averaged to
_DEPTHS = (4, 6)  # how many of more layers are chosen, and how many are taken as they are
_INSIDE = 0.8  # share of the layers with parameters above which a child is descended into


class LayerOutputs(nn.Module):
    """A backbone that returns its vector and, after it, the outputs of some of its layers, (B, D + ...).

    A feature map (B, C, h, w) is averaged over places, tokens (B, N, C) over tokens; "tokens" is the
    backbone's own feature map, averaged to 4 x 4 places and flattened.

    Args:
        layers: names as of ``backbone.named_modules()``, or "tokens".
    """

    def __init__(self, backbone: nn.Module, layers: Sequence[str]):
        super().__init__()
        self.backbone, self.layers = backbone, tuple(layers)

    def extra_repr(self) -> str:
        return f"layers={self.layers}"

    def outputs(self, images: Tensor) -> dict[str, Tensor]:
        """ "" -> the backbone's vector, layer -> its output as a vector (B, C).

        Raises:
            UserError: a layer is not used, or gives something else.
        """
        modules = [n for n in self.layers if n != TOKENS]
        with _watched(self.backbone, modules, len(images)) as seen:
            vector, grid = features(self.backbone, images)
        found = {"": vector}
        for name in self.layers:
            if name == TOKENS:
                if grid is None:
                    raise UserError(
                        f"layer={TOKENS}: this encoder gives vectors only, no feature map or tokens"
                    )
                side = (min(TOKEN_GRID, grid.shape[2]), min(TOKEN_GRID, grid.shape[3]))
                found[name] = F.adaptive_avg_pool2d(grid, side).flatten(1)
                continue
            if name not in seen:
                raise UserError(f"layer={name} is not used when the encoder reads images")
            if isinstance(out := seen[name], str):
                raise UserError(f"layer={name} gives {out}, which is no feature map, tokens or vector")
            found[name] = out.to(vector.dtype)
        return found

    def forward(self, images: Tensor) -> Tensor:
        return torch.cat(list(self.outputs(images).values()), 1)


def with_layers(encoder: Encoder, layers: Sequence[str], shape: Sequence[int] = ()) -> Encoder:
    """The encoder whose features are followed by those of layers, as parts by the layers' names.

    The part "all" stays the encoder's own features. The backbone is shared.

    Args:
        layers: names of the backbone's modules; "tokens"; or "all", for four to six depths of the backbone.
        shape: (C, H, W) of the images that it is used with; squares of its size if empty.

    Raises:
        UserError: no such layer, with the nearest names; or its output is no vector, map or tokens.
    """
    height, width = shape[1:] if shape else (encoder.size, encoder.size)
    probe = (len(encoder.mean), height, width)
    images = torch.zeros(2, *probe, device=encoder.mean.device)
    backbone = encoder.backbone
    named = dict.fromkeys(itertools.chain.from_iterable(_named(backbone, n, images) for n in layers))
    tapped = LayerOutputs(backbone, list(named))
    with torch.no_grad(), eval_mode(tapped):
        widths = [t.shape[1] for t in tapped.outputs(images).values()]
    whole = Encoder(tapped, None, _numbers(encoder.mean), _numbers(encoder.std), probe)
    ends = list(itertools.accumulate(widths))
    own = {name: slice(a, b) for name, a, b in zip(named, ends, ends[1:], strict=False)}
    whole.parts = {**encoder.parts, **own}
    return whole.to(encoder.mean.device)


def depths(backbone: nn.Module, images: Tensor) -> list[str]:
    """Names of four to six layers of a backbone from its first to its last, as these images pass them.

    They are the stages or blocks: the children of the module inside which most layers with parameters lie.
    """
    few, most = _DEPTHS
    prefix, module = "", backbone
    while True:
        children = {n: m for n, m in module.named_children() if _leaves(m)}
        inner = [(n, m) for n, m in children.items() if _leaves(m) > _INSIDE * _leaves(backbone)]
        if not inner or not dict(inner[0][1].named_children()):
            break
        prefix, module = f"{prefix}{inner[0][0]}.", inner[0][1]
    stages = {n: m for n, m in children.items() if dict(m.named_children())}
    chosen = stages if len(stages) > 2 else children
    names = [f"{prefix}{n}" for n in chosen]
    if len(names) < few and stages:  # a long sequence beside a short one, as of VGG
        longest = max(stages, key=lambda n: _leaves(stages[n]))
        inside = [f"{prefix}{longest}.{n}" for n, m in stages[longest].named_children() if _leaves(m)]
        names = [*inside, *(n for n in names if n != f"{prefix}{longest}")]
    with torch.no_grad(), eval_mode(backbone), _watched(backbone, names, len(images)) as seen:
        features(backbone, images)
    used = [n for n, out in seen.items() if not isinstance(out, str)]
    if len(used) <= most:
        return used
    return [used[round((k + 1) * len(used) / few) - 1] for k in range(few)]


def _named(backbone: nn.Module, layer: str, images: Tensor) -> list[str]:
    """The layers that a name stands for."""
    modules = [n for n, _ in backbone.named_modules() if n]
    if layer == TOKENS or layer in modules:
        return [layer]
    if not modules:
        raise UserError(
            f"layer={layer}: the encoder is a function or a file without layers that torch can see"
        )
    if layer != ALL:
        raise UserError(f"layer={layer}: no such layer; {nearest(layer, [ALL, TOKENS, *modules])}")
    if not (found := depths(backbone, images)):
        raise UserError(f"layer={ALL}: no stages or blocks were found; name layers, such as {modules[0]}")
    return found


@contextmanager
def _watched(backbone: nn.Module, names: Sequence[str], count: int) -> Iterator[dict[str, Tensor | str]]:
    """Within, the outputs of modules by name, as vectors (count, C), in the order of the computation.

    Of a module that is used several times the last counts. What has no reading is described instead.
    """
    seen: dict[str, Tensor | str] = {}

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            pooled = _pooled(output, count)  # at once: what follows may compute in place
            seen[name] = _described(output) if pooled is None else pooled

        return hook

    handles = [backbone.get_submodule(n).register_forward_hook(watch(n)) for n in names]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _pooled(output: Any, count: int) -> Tensor | None:
    """A layer's output for ``count`` images as vectors (B, C); None if it has no such reading."""
    out = _tensor(output)
    if out is None or not out.is_floating_point() or out.shape[:1] != (count,):
        return None
    if out.dim() == 4:  # channels may come last; images are squares, and so are maps
        last = out.shape[1] == out.shape[2] != out.shape[3]
        return out.mean((1, 2)) if last else out.mean((2, 3))
    if out.dim() == 3:
        return out.mean(1)
    return out if out.dim() == 2 else None


def _tensor(output: Any) -> Tensor | None:
    """The first tensor of an output."""
    if isinstance(output, Mapping):
        output = list(output.values())
    if isinstance(output, tuple | list):
        return next((t for t in output if isinstance(t, Tensor)), None)
    return output if isinstance(output, Tensor) else None


def _described(output: Any) -> str:
    out = _tensor(output)
    return f"a {type(output).__name__}" if out is None else f"a tensor {tuple(out.shape)}"


def _leaves(module: nn.Module) -> int:
    """How many modules inside hold parameters themselves."""
    return sum(any(True for _ in m.parameters(recurse=False)) for m in module.modules())


def _numbers(values: Tensor) -> tuple[float, ...]:
    return tuple(values.flatten().tolist())
