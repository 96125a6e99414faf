"""AugSelf (Lee et al., 2021): predict the difference of augmentation parameters between two views."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from equissl.config.validation import check_unique, check_widths
from equissl.encoder.encoder import Encoder
from equissl.equivariance._parameter_targets import AnyParameterTarget, CropDifference
from equissl.losses.precision import to_float32
from equissl.nn.heads import MLP, HiddenNorm, joint_batch_norm
from equissl.objective import Encodings, Equivariance, PairConfig, Spaces, Views
from equissl.params import Space, union


class AugSelf(Equivariance):
    """AugSelf (Lee et al., 2021): predict the difference of augmentation parameters between two views.

    One head per target reads the features (not the projections) of both views side by side
    (arXiv:2111.09613, section 3).
    """

    paper: ClassVar[str] = "arXiv:2111.09613"
    bibtex: ClassVar[str] = r"""
    @inproceedings{augself2021,
      title = {{Improving Transferability of Representations via Augmentation-Aware Self-Supervision}},
      author = {Lee, Hankook and Lee, Kibok and Lee, Kimin and Lee, Honglak and Shin, Jinwoo},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2021},
      eprint = {2111.09613},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(PairConfig):
        """
        Args:
            targets: head name -> what it predicts, each with its own weight.
            hidden: widths of each head's hidden layers.
            hidden_norm: "batch" for BatchNorm after each of them, "none" (SIE's baseline).
            symmetric: predict from (first, second) and from (second, first); otherwise from the former only.
        """

        targets: Mapping[str, AnyParameterTarget] = field(default_factory=lambda: {"crop": CropDifference()})
        hidden: tuple[int, ...] = (512, 512)
        hidden_norm: HiddenNorm = "batch"
        symmetric: bool = True

        def __post_init__(self) -> None:
            super().__post_init__()
            check_unique(self, "targets")
            check_widths(self, "hidden", least=0)

        def unlearnable(self, constant: Collection[str]) -> dict[str, tuple[str, ...]]:
            found = {name: target.unlearnable(constant) for name, target in self.targets.items()}
            return {name: factors for name, factors in found.items() if factors}

        def build(self, encoder: Encoder, spaces: Spaces) -> AugSelf:
            return AugSelf(self, encoder, union(spaces, self.pair))

    def __init__(self, config: Config, encoder: Encoder, space: Space):
        super().__init__()
        self.config = config
        width = 2 * encoder.width(config.part)
        sizes = {name: t.output_size(space) for name, t in config.targets.items()}
        heads = {n: MLP((width, *config.hidden, s), hidden_norm=config.hidden_norm) for n, s in sizes.items()}
        self.heads = nn.ModuleDict(heads)

    def forward(
        self, views: Views, encoded: Encodings, embeddings: Mapping[str, Tensor]
    ) -> dict[str, Tensor]:
        c = self.config
        x, y = (encoded[v].part(c.part) for v in c.pair)
        first, second = (views[v].params for v in c.pair)
        orders = [(torch.cat([x, y], 1), first, second), (torch.cat([y, x], 1), second, first)]
        orders = orders if c.symmetric else orders[:1]
        losses = {}
        for name, target in c.targets.items():
            predictions = joint_batch_norm(self.heads[name], [features for features, _, _ in orders])
            pairs = zip(predictions, orders, strict=True)
            loss = torch.stack([target.loss(to_float32(p), *records) for p, (_, *records) in pairs])
            losses[name] = target.weight * loss.mean()
        return losses
