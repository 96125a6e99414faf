"""Cross-attention reconstruction: decode one view from attended features of both (arXiv:2412.03314)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.config.validation import check_bounds
from equissl.encoder.encoder import Encoded, Encoder
from equissl.nn.decoder import DecoderConfig, WeakDecoder
from equissl.nn.heads import MLP
from equissl.nn.pixel_loss import PixelSpace, Reconstruction, Reduction, TargetSpace
from equissl.objective import Encodings, Equivariance, PairConfig, Spaces, Views

Variant = Literal["R1", "R2", "R3", "R4"]
_SINGLE_KEY = (
    "one vector per view is one key, and softmax over one key is 1 whatever the query says: the blend would "
    "be a copy of the value and the attention would learn nothing"
)


class CrossAttentionReconstruction(Equivariance):
    """Cross-attention between two views' features, from which one view is reconstructed.

    A faithful reading of arXiv:2412.03314, not a reproduction: its body was no source of this. Sourced (from
    the abstract and summaries): two views, split features with a head of their own, a cross-attention step
    that blends both views, one of which is reconstructed; no transformation parameters. Ours: which view is
    query, key and value, tokens, residual, projections, decoder, loss, weight. Nothing here is told how the
    views were made. The weight of the module is lambda, 1 in our recipes.

    With t the view to draw and s the other: R1 asks with t among s; R2 asks with s among t; R3 asks with t
    among both; R4 asks with t among the other part (``content``) of s.
    """

    title: ClassVar[str] = "Cross-attention reconstruction"
    paper: ClassVar[str] = "arXiv:2412.03314"
    bibtex: ClassVar[str] = r"""
    @misc{imagereconstruction2024,
      title = {{Equivariant Representation Learning for Augmentation-based Self-Supervised Learning via
        Image Reconstruction}},
      author = {Wang, Qin and Krajsek, Kai and Scharr, Hanno},
      year = {2024},
      eprint = {2412.03314},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PairConfig):
        """
        Args:
            targets: "both" draws each from the blend with the other and averages; "first" or "second" draws
                one only (the paper reconstructs one view).
            variant: R1 to R4, see the class.
            content: R4's part of the features for keys and values, "inv" for example.
            residual: add the queries to the blend.
            projections: "none" (softmax on the features as they are) or "linear" (learned queries, keys,
                values and output).
            heads: of the attention; must divide the width.
            head: hidden widths of a network on every place before the blend; empty for none.
            tokens: "grid", every place of the image; "pooled", one vector per view, which only R3 can use.
            decoder, space, reduction: as in ``IntermediateReconstruction``.
        """

        targets: Literal["both", "first", "second"] = "both"
        variant: Variant = "R3"
        content: str = ""
        residual: bool = True
        projections: Literal["none", "linear"] = "none"
        heads: int = 1
        head: tuple[int, ...] = ()
        tokens: Literal["grid", "pooled"] = "grid"
        decoder: DecoderConfig = DecoderConfig()
        space: TargetSpace = "normalized"
        reduction: Reduction = "mean"

        def __post_init__(self) -> None:
            if self.tokens == "pooled" and self.variant != "R3":
                raise ValueError(f"tokens=pooled with {self.variant}: {_SINGLE_KEY}; use tokens=grid")
            if (self.variant == "R4") != bool(self.content):
                raise ValueError(
                    "R4 takes keys and values from the part named by content, the others have none; "
                    f"got variant={self.variant}, content={self.content!r}"
                )
            check_bounds(self, "heads", low=1)

        def build(self, encoder: Encoder, spaces: Spaces) -> CrossAttentionReconstruction:
            return CrossAttentionReconstruction(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        width = encoder.width(config.part)
        values = encoder.width(config.content) if config.content else width
        grid = encoder.grid_size() if config.tokens == "grid" else (1, 1)
        if math.prod(grid) == 1 and config.variant != "R3":
            raise ValueError(f"the encoder's grid has a single place at this size: {_SINGLE_KEY}")
        if width % config.heads:
            raise ValueError(f"heads={config.heads} does not divide the {width} columns of {config.part!r}")
        if values != width and config.projections == "none":
            raise ValueError(
                f"without projections {config.content!r} ({values} columns) must be as wide as "
                f"{config.part!r} ({width}); use projections=linear"
            )
        linear = config.projections == "linear"
        self.query = nn.Linear(width, width) if linear else nn.Identity()
        self.key = nn.Linear(values, width) if linear else nn.Identity()
        self.value = nn.Linear(values, width) if linear else nn.Identity()
        self.output = nn.Linear(width, width) if linear else nn.Identity()
        sizes = (width, *config.head, width)
        self.head = MLP(sizes, hidden_norm="none") if config.head else nn.Identity()
        self.pixels = PixelSpace(encoder, config.space, config.reduction)
        size = (encoder.size, encoder.size)
        self.decoder = WeakDecoder(config.decoder, width, grid, size, self.pixels.channels)

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        errors = [self.pixels.error(x, views[n].images) for n, x in self._reconstruct(encoded).items()]
        return {"reconstruction": torch.stack(errors).mean()}

    def reconstruct(self, views: Views, encoded: Encodings) -> dict[str, Reconstruction]:
        """Each reconstruction beside its target."""
        images = self._reconstruct(encoded)
        return {n: Reconstruction(self.pixels.to_image(x), views[n].images) for n, x in images.items()}

    def blend(self, target: Encoded, other: Encoded) -> Tensor:
        """The features that ``target`` is reconstructed from: (B, d, h, w)."""
        t, s = (self.head(self._tokens(e, self.config.part)) for e in (target, other))
        asking, among = self._roles(t, s, other)
        q, k, v = self.query(asking), self.key(among), self.value(among)
        q, k, v = (x.unflatten(2, (self.config.heads, -1)).transpose(1, 2) for x in (q, k, v))
        blended: Tensor = self.output(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        blended = asking + blended if self.config.residual else blended
        shape = (1, 1) if self.config.tokens == "pooled" else _grid(target).shape[2:]
        return blended.transpose(1, 2).reshape(len(blended), -1, *shape)

    def _roles(self, t: Tensor, s: Tensor, other: Encoded) -> tuple[Tensor, Tensor]:
        """Who asks, and among what: (B, n, d) each."""
        match self.config.variant:
            case "R1":
                return t, s
            case "R2":
                return s, t
            case "R3":
                return t, torch.cat([s, t], 1)
            case "R4":
                return t, self._tokens(other, self.config.content)

    def _tokens(self, encoded: Encoded, part: str) -> Tensor:
        if self.config.tokens == "pooled":
            return encoded.part(part)[:, None]
        return encoded.grid_part(part).flatten(2).transpose(1, 2)

    def _reconstruct(self, encoded: Encodings) -> dict[str, Tensor]:
        a, b = self.config.pair
        orders = {"first": [(a, b)], "second": [(b, a)], "both": [(a, b), (b, a)]}[self.config.targets]
        return {t: self.decoder(self.blend(encoded[t], encoded[s])) for t, s in orders}


def _grid(encoded: Encoded) -> Tensor:
    assert encoded.grid is not None
    return encoded.grid
