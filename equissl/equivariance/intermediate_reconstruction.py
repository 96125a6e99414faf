"""Intermediate reconstruction: decode the images between two views from both (arXiv:2503.18753)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from equissl.config.validation import check_unique
from equissl.encoder.encoder import Encoder
from equissl.nn.decoder import DecoderConfig, WeakDecoder
from equissl.nn.pixel_loss import PixelLoss, Reconstruction, Reduction, TargetSpace
from equissl.objective import Encodings, Equivariance, PairConfig, Spaces, Views


class IntermediateReconstruction(Equivariance):
    """Reconstruct intermediate images between two views (arXiv:2503.18753).

    v1 = A1(I) and v2 = g_theta(u), u = A2(I), are encoded; target k is u_k = g_{k theta / (K + 1)}(u), each
    made from u itself (``views.intermediate_views``). One decoder per target reconstructs it from [z1; z2],
    concatenated at every place of the grid. Theta is not an input. The module's weight is the paper's lambda,
    1 there.

    Not in the paper, our choice: concatenation along the channels, mean over all numbers of a target, pixels
    normalised as the encoder's input.
    """

    title: ClassVar[str] = "Intermediate reconstruction"
    paper: ClassVar[str] = "arXiv:2503.18753"
    bibtex: ClassVar[str] = r"""
    @inproceedings{transformedreconstruction2026,
      title = {{Self-Supervised Learning Based on Transformed Image Reconstruction for Equivariance-Coherent
        Feature Representation}},
      author = {Wang, Qin and Quercia, Alessio and Bruns, Benjamin and Morrison, Abigail and Scharr, Hanno
        and Krajsek, Kai},
      booktitle = {AAAI Conference on Artificial Intelligence},
      year = {2026},
      eprint = {2503.18753},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PairConfig):
        """
        Args:
            targets: names of the K views to reconstruct (2 in the paper); they need not be encoded.
            decoder: configuration of each target's decoder.
            space: pixels "normalized" as the encoder's input, or in the "unit" interval.
            reduction: squared errors' "mean" over all numbers, or their "sum" over an image.
        """

        targets: tuple[str, ...] = ("intermediate_1", "intermediate_2")
        decoder: DecoderConfig = DecoderConfig()
        space: TargetSpace = "normalized"
        reduction: Reduction = "mean"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_unique(self, "targets")

        def build(self, encoder: Encoder, spaces: Spaces) -> IntermediateReconstruction:
            return IntermediateReconstruction(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return tuple(dict.fromkeys((*self.pair, *self.targets)))

        def reads_encoded(self) -> tuple[str, ...]:
            """The pair; of the targets only the images are compared."""
            return self.pair

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.pixel_loss = PixelLoss(encoder, config.space, config.reduction)
        grid, size, width = encoder.grid_size(), (encoder.size, encoder.size), 2 * encoder.width(config.part)
        self.decoders = nn.ModuleList(
            WeakDecoder(config.decoder, width, grid, size, self.pixel_loss.channels) for _ in config.targets
        )

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

    def _decode(self, encoded: Encodings) -> dict[str, Tensor]:
        c = self.config
        features = torch.cat([encoded[v].grid_part(c.part) for v in c.pair], 1)
        return {n: decode(features) for n, decode in zip(c.targets, self.decoders, strict=True)}
