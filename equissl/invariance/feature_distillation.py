"""Feature distillation (Romero et al., 2015): features that still hold those of a frozen copy."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from equissl.config.validation import check_unique
from equissl.encoder.encoder import Encoder
from equissl.losses.distillation import relative_error
from equissl.losses.precision import to_float32
from equissl.objective import Base, BaseConfig, BaseOutput, Encodings, Spaces, Views


class FeatureDistillation(Base):
    """Feature distillation (Romero et al., 2015): features that still hold those of a frozen copy.

    The teacher is a copy of the encoder with the weights that training begins with, in evaluation mode; it is
    never trained. A regressor maps the features of a view to the teacher's (the hint loss, arXiv:1412.6550,
    eq. 3), here divided by the teacher's variance between images: the share of it that is lost. As in
    continual learning (CaSSLe, arXiv:2112.04215) the regressor leaves features free to hold more than before;
    it begins as the identity, where the loss is 0. Embeddings: the predicted features, (B, d).
    """

    title: ClassVar[str] = "Feature distillation"
    paper: ClassVar[str] = "arXiv:1412.6550"
    bibtex: ClassVar[str] = r"""
    @inproceedings{fitnets2015,
      title = {{FitNets: Hints for Thin Deep Nets}},
      author = {Romero, Adriana and Ballas, Nicolas and Kahou, Samira Ebrahimi and Chassang, Antoine and
        Gatta, Carlo and Bengio, Yoshua},
      booktitle = {International Conference on Learning Representations},
      year = {2015},
      eprint = {1412.6550},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config(BaseConfig):
        """
        Args:
            views: names of the views whose features are compared with the teacher's.
            regressor: "linear"; or "none" to hold every column where it is, for a head that was trained on
                the features.
            part: which columns of the features are read.
        """

        views: tuple[str, ...] = ("a", "b")
        regressor: Literal["linear", "none"] = "linear"
        part: str = "all"

        def __post_init__(self) -> None:
            check_unique(self, "views")
            if not self.views:
                raise ValueError("views must name at least one view")

        def build(self, encoder: Encoder, spaces: Spaces) -> FeatureDistillation:
            return FeatureDistillation(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.teacher = copy.deepcopy(encoder).requires_grad_(False).eval()
        width = encoder.width(config.part)
        self.regressor: nn.Module = nn.Linear(width, width) if config.regressor == "linear" else nn.Identity()
        if isinstance(self.regressor, nn.Linear):
            nn.init.eye_(self.regressor.weight)
            nn.init.zeros_(self.regressor.bias)

    def train(self, mode: bool = True) -> FeatureDistillation:
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        predicted, errors = {}, []
        for name in c.views:
            view = views[name]
            with torch.no_grad():
                target = to_float32(self.teacher(view.images, view.mask).part(c.part))
            predicted[name] = to_float32(self.regressor(encoded[name].part(c.part)))
            errors.append(relative_error(predicted[name], target))
        loss: Tensor = torch.stack(errors).mean()
        return BaseOutput({"forgotten": loss}, predicted)
