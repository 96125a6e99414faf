"""BYOL (Grill et al., 2020): predict the EMA teacher's projection of the other view."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from equissl.config.validation import check_bounds, check_predictor
from equissl.encoder.encoder import Encoder
from equissl.losses.similarity import negative_cosine
from equissl.nn.ema import Teacher, ema_momentum
from equissl.nn.heads import MLP, HeadNorm, apply_head
from equissl.objective import Base, BaseOutput, Encodings, Spaces, TwoViewConfig, Views


class BYOL(Base):
    """BYOL (Grill et al., 2020): predict the EMA teacher's projection of the other view.

    arXiv:2006.07733, eq. 2, symmetrised. The loss is 2 times the mean over all 2B rows of (2 - 2 cos), in
    [0, 8], as in EquiMod's code. Embeddings: the projections, (B, projector[-1]).
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
    class Config(TwoViewConfig):
        """
        Args:
            projector, predictor: hidden and output widths.
            momentum: EMA coefficient of the teacher at the first step, in [0, 1]; grows to 1 along a cosine.
            copy_buffers: copy the BatchNorm statistics to the teacher (the original does not).
            batch_norm: whether BatchNorm in heads and teacher sees both views at once or one after the other.
        """

        projector: tuple[int, ...] = (4096, 256)
        predictor: tuple[int, ...] = (4096, 256)
        momentum: float = 0.996
        copy_buffers: bool = False
        batch_norm: HeadNorm = "all_views"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_predictor(self)
            check_bounds(self, "momentum", low=0, high=1)

        def build(self, encoder: Encoder, spaces: Spaces) -> BYOL:
            return BYOL(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector))
        self.predictor = MLP((config.projector[-1], *config.predictor))
        self.teacher = Teacher(encoder, self.projector, config.part, config.batch_norm, config.copy_buffers)

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        z = apply_head(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        p = apply_head(self.predictor, z, c.batch_norm)
        targets = self.teacher([views[v].images for v in c.views])
        loss = byol_loss(p[0], targets[1]) + byol_loss(p[1], targets[0])
        return BaseOutput({"similarity": loss}, dict(zip(c.views, z, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        self.teacher.update_ema(encoder, self.projector, ema_momentum(self.config.momentum, progress))


def byol_loss(predictions: Tensor, targets: Tensor) -> Tensor:
    """Mean over rows of 2 - 2 cos: (n, d), (n, d) -> (), in [0, 4]; one of the two symmetric terms.

    >>> import torch
    >>> x = torch.eye(3)
    >>> float(byol_loss(x, x)), float(byol_loss(x, -x))
    (0.0, 4.0)
    """
    return 2 + 2 * negative_cosine(predictions, targets)
