"""Cross-attention reconstruction: decode one view from attended features of both (arXiv:2412.03314)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.config.validation import MAX_WIDTH, check_bounds, check_widths
from equissl.encoder.encoder import Encoded, Encoder
from equissl.nn.decoder import DecoderConfig, WeakDecoder
from equissl.nn.heads import MLP
from equissl.nn.pixel_loss import PixelLoss, Reconstruction, Reduction, TargetSpace
from equissl.objective import Encodings, Equivariance, PairConfig, Spaces, Views

Variant = Literal["R1", "R2", "R3", "R4"]
_SINGLE_KEY = (
    "one vector per view is a single key, and softmax over one key is 1 for every query: the output would "
    "be a copy of the value and the attention would learn nothing"
)


class CrossAttentionReconstruction(Equivariance):
    """Cross-attention between two views' features, from which one view is reconstructed.

    A reading of arXiv:2412.03314, not a reproduction: only its abstract and summaries were available.
    Sourced: two views, split features with a head of their own, a cross-attention step that combines both
    views, one of which is reconstructed; transformation parameters are not an input. Ours: which view is
    query, key and value, tokens, residual, projections, decoder, loss and weight (lambda, 1 in our recipes).

    With t the target view and s the other one, queries and context (keys and values) are: R1 t and s; R2 s
    and t; R3 t and both; R4 t and the part ``context_part`` of s.
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
            targets: which views of the pair to reconstruct: "first", "second" or "both", averaged (the paper
                reconstructs one view).
            variant: R1 to R4, see the class.
            context_part: R4's part of the features for keys and values, "inv" for example.
            residual: add the queries to the attention's output.
            projections: "none" (softmax on the features as they are) or "linear" (learned queries, keys,
                values and output).
            num_heads: of the attention; must divide the width.
            hidden: hidden widths of an MLP on every token before the attention; empty for none.
            tokens: "grid", every place of the image; "pooled", one vector per view, which only R3 can use.
            decoder, space, reduction: as in ``IntermediateReconstruction``.
        """

        targets: Literal["both", "first", "second"] = "both"
        variant: Variant = "R3"
        context_part: str = ""
        residual: bool = True
        projections: Literal["none", "linear"] = "none"
        num_heads: int = 1
        hidden: tuple[int, ...] = ()
        tokens: Literal["grid", "pooled"] = "grid"
        decoder: DecoderConfig = DecoderConfig()
        space: TargetSpace = "normalized"
        reduction: Reduction = "mean"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_widths(self, "hidden", least=0)
            if self.tokens == "pooled" and self.variant != "R3":
                raise ValueError(f"tokens=pooled with {self.variant}: {_SINGLE_KEY}; use tokens=grid")
            if (self.variant == "R4") != bool(self.context_part):
                raise ValueError(
                    "variant=R4 needs context_part, the part for keys and values, and the others have none; "
                    f"got variant={self.variant}, context_part={self.context_part!r}"
                )
            check_bounds(self, "num_heads", low=1, high=MAX_WIDTH)

        def build(self, encoder: Encoder, spaces: Spaces) -> CrossAttentionReconstruction:
            return CrossAttentionReconstruction(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        width = encoder.width(config.part)
        context_width = encoder.width(config.context_part) if config.context_part else width
        grid = encoder.grid_size() if config.tokens == "grid" else (1, 1)
        if math.prod(grid) == 1 and config.variant != "R3":
            raise ValueError(f"the encoder's grid has a single place at this size: {_SINGLE_KEY}")
        if width % config.num_heads:
            raise ValueError(
                f"num_heads={config.num_heads} does not divide the {width} columns of {config.part!r}"
            )
        if context_width != width and config.projections == "none":
            raise ValueError(
                f"without projections {config.context_part!r} ({context_width} columns) must be as wide as "
                f"{config.part!r} ({width}); use projections=linear"
            )
        linear = config.projections == "linear"
        self.query = nn.Linear(width, width) if linear else nn.Identity()
        self.key = nn.Linear(context_width, width) if linear else nn.Identity()
        self.value = nn.Linear(context_width, width) if linear else nn.Identity()
        self.output = nn.Linear(width, width) if linear else nn.Identity()
        sizes = (width, *config.hidden, width)
        self.head = MLP(sizes, hidden_norm="none") if config.hidden else nn.Identity()
        self.pixel_loss = PixelLoss(encoder, config.space, config.reduction)
        size = (encoder.size, encoder.size)
        self.decoder = WeakDecoder(config.decoder, width, grid, size, self.pixel_loss.channels)

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        losses = [self.pixel_loss(x, views[n].images) for n, x in self._decode(encoded).items()]
        return {"reconstruction": torch.stack(losses).mean()}

    def reconstruct(self, views: Views, encoded: Encodings) -> dict[str, Reconstruction]:
        """Target view -> its reconstruction."""
        return {
            n: Reconstruction(self.pixel_loss.to_image(x), views[n].images)
            for n, x in self._decode(encoded).items()
        }

    def attend(self, target: Encoded, other: Encoded) -> Tensor:
        """Output of the attention, from which ``target`` is decoded: (B, d, h, w)."""
        t, s = (self.head(self._tokens(e, self.config.part)) for e in (target, other))
        queries, context = self._queries_and_context(t, s, other)
        q, k, v = self.query(queries), self.key(context), self.value(context)
        q, k, v = (x.unflatten(2, (self.config.num_heads, -1)).transpose(1, 2) for x in (q, k, v))
        attended: Tensor = self.output(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        attended = queries + attended if self.config.residual else attended
        shape = (1, 1) if self.config.tokens == "pooled" else _grid(target).shape[2:]
        return attended.transpose(1, 2).reshape(len(attended), -1, *shape)

    def _queries_and_context(self, t: Tensor, s: Tensor, other: Encoded) -> tuple[Tensor, Tensor]:
        """Tokens of the queries and of keys and values: (B, n, d) each."""
        match self.config.variant:
            case "R1":
                return t, s
            case "R2":
                return s, t
            case "R3":
                return t, torch.cat([s, t], 1)
            case "R4":
                return t, self._tokens(other, self.config.context_part)

    def _tokens(self, encoded: Encoded, part: str) -> Tensor:
        if self.config.tokens == "pooled":
            return encoded.part(part)[:, None]
        return encoded.grid_part(part).flatten(2).transpose(1, 2)

    def _decode(self, encoded: Encodings) -> dict[str, Tensor]:
        a, b = self.config.pair
        orders = {"first": [(a, b)], "second": [(b, a)], "both": [(a, b), (b, a)]}[self.config.targets]
        return {t: self.decoder(self.attend(encoded[t], encoded[s])) for t, s in orders}


def _grid(encoded: Encoded) -> Tensor:
    assert encoded.grid is not None
    return encoded.grid
