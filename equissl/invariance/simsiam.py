"""SimSiam: predict the other view's projection, and do not let it move towards the prediction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from equissl.encoder.encoder import Encoder
from equissl.losses.precision import full_precision, to_float32
from equissl.losses.similarity import Directions, negative_cosine
from equissl.nn.heads import MLP, HeadNorm, OutputNorm, project
from equissl.objective import Base, Encodings, Outcome, Spaces, Views

Similarity = Literal["cosine", "cross_entropy"]


class SimSiam(Base):
    """Predict the other view's projection, without gradient in the target (arXiv:2011.10566, eq. 2).

    The predictor's learning rate never decays. Publishes the projections as embeddings: (B, projector[-1]).
    """

    paper: ClassVar[str] = "arXiv:2011.10566"
    bibtex: ClassVar[str] = r"""
    @inproceedings{simsiam2021,
      title = {{Exploring Simple Siamese Representation Learning}},
      author = {Chen, Xinlei and He, Kaiming},
      booktitle = {Conference on Computer Vision and Pattern Recognition},
      year = {2021},
      eprint = {2011.10566},
      archivePrefix = {arXiv},
    }
    """
    fixed_lr: ClassVar[tuple[str, ...]] = ("predictor",)

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """
        Args:
            projector: hidden and output widths.
            predictor: hidden and output widths; the last must be the projector's last.
            output_norm: BatchNorm after the projector's last layer ("fixed": paper; "affine": AugSelf).
            similarity: "cosine", or "cross_entropy" of softmaxes (the paper's section 4.5).
            directions: "both" views predict the other (symmetrised), or only "one", the first the second.
            batch_norm: whether the heads' BatchNorm sees both views at once or one by one (the paper's code).
            part: which columns of the features are read.
        """

        views: tuple[str, str] = ("a", "b")
        projector: tuple[int, ...] = (2048, 2048, 2048)
        predictor: tuple[int, ...] = (512, 2048)
        output_norm: OutputNorm = "fixed"
        similarity: Similarity = "cosine"
        directions: Directions = "both"
        batch_norm: HeadNorm = "per_view"
        part: str = "all"

        def __post_init__(self) -> None:
            if self.predictor[-1] != self.projector[-1]:
                width = self.projector[-1]
                raise ValueError(
                    f"predictor must end with the projector's width {width}, got {self.predictor}"
                )

        def build(self, encoder: Encoder, spaces: Spaces) -> SimSiam:
            return SimSiam(self, encoder)

        def reads(self) -> tuple[str, ...]:
            return self.views

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector), config.output_norm)
        self.predictor = MLP((config.projector[-1], *config.predictor))

    def forward(self, views: Views, encoded: Encodings) -> Outcome:
        c = self.config
        z = project(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        predicting = z if c.directions == "both" else z[:1]
        p = project(self.predictor, predicting, c.batch_norm)
        losses = [simsiam_loss(q, t, c.similarity) for q, t in zip(p, z[::-1], strict=False)]
        loss = sum(losses[1:], losses[0]) / len(losses)
        return Outcome({"similarity": loss}, dict(zip(c.views, z, strict=True)))


def simsiam_loss(predicted: Tensor, target: Tensor, similarity: Similarity = "cosine") -> Tensor:
    """One direction, averaged over rows: (n, d), (n, d) -> (); no gradient reaches the target.

    "cosine": minus the cosine, in [-1, 1]. "cross_entropy": -softmax(target) log softmax(predicted).
    """
    if similarity == "cosine":
        return negative_cosine(predicted, target.detach())
    with full_precision(predicted):
        wanted = to_float32(target.detach()).softmax(1)
        return -(wanted * to_float32(predicted).log_softmax(1)).sum(1).mean()
