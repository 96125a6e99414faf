"""BYOL: predict what a slowly moving copy of oneself says of the other view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.encoder.encoder import Encoder
from equissl.losses.similarity import negative_cosine
from equissl.nn.ema import Teacher, check_momentum, ema_momentum
from equissl.nn.heads import MLP, HeadNorm, project
from equissl.objective import Base, Encodings, Outcome, Spaces, Views


class BYOL(Base):
    """Predict a slowly moving copy of oneself (arXiv:2006.07733, eq. 2; both directions summed).

    The loss is 2 times the mean over all 2B rows of (2 - 2 cos), in [0, 8], as EquiMod's code has it.
    Publishes the projections as embeddings: (B, projector[-1]).
    """

    paper: ClassVar[str] = "arXiv:2006.07733"
    bibtex: ClassVar[str] = r"""
    @inproceedings{byol2020,
      title = {{Bootstrap Your Own Latent: A New Approach to Self-Supervised Learning}},
      author = {Grill, Jean-Bastien and Strub, Florian and Altch{\'e}, Florent and Tallec, Corentin and
        Richemond, Pierre H. and Buchatskaya, Elena and Doersch, Carl and Avila Pires, Bernardo and Guo,
        Zhaohan Daniel and Gheshlaghi Azar, Mohammad and Piot, Bilal and Kavukcuoglu, Koray and Munos,
        R{\'e}mi and Valko, Michal},
      booktitle = {Advances in Neural Information Processing Systems},
      year = {2020},
      eprint = {2006.07733},
      archivePrefix = {arXiv},
    }
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            projector, predictor: hidden and output widths.
            momentum: of the teacher at the first step; grows to 1 along a cosine.
            copy_buffers: also move the teacher's BatchNorm buffers (the original never does).
            batch_norm: whether BatchNorm in heads and teacher sees both views at once or one by one.
            part: which columns of the features are read.
        """

        views: tuple[str, str] = ("a", "b")
        projector: tuple[int, ...] = (4096, 256)
        predictor: tuple[int, ...] = (4096, 256)
        momentum: float = 0.996
        copy_buffers: bool = False
        batch_norm: HeadNorm = "all_views"
        part: str = "all"

        def __post_init__(self) -> None:
            check_momentum(self.momentum)

        def build(self, encoder: Encoder, spaces: Spaces) -> BYOL:
            return BYOL(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector))
        self.predictor = MLP((config.projector[-1], *config.predictor))
        self.teacher = Teacher(encoder, self.projector, config.part, config.batch_norm, config.copy_buffers)

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        z = project(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        p = project(self.predictor, z, c.batch_norm)
        targets = self.teacher([views[v].images for v in c.views])
        loss = byol_loss(p[0], targets[1]) + byol_loss(p[1], targets[0])
        return Outcome({"similarity": loss}, dict(zip(c.views, z, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        self.teacher.update_ema(encoder, self.projector, ema_momentum(self.config.momentum, progress))


def byol_loss(predicted: Tensor, target: Tensor) -> Tensor:
    """Mean over rows of 2 - 2 cos, one direction: (n, d), (n, d) -> (), in [0, 4]."""
    return 2 + 2 * negative_cosine(predicted, target)
