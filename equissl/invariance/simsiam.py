"""SimSiam (Chen & He, 2021): predict the other view's projection, with stop-gradient on the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor

from equissl.config.validation import check_predictor
from equissl.encoder.encoder import Encoder
from equissl.losses.precision import full_precision, to_float32
from equissl.losses.similarity import negative_cosine
from equissl.nn.heads import MLP, HeadNorm, OutputNorm, apply_head
from equissl.objective import Base, BaseOutput, Encodings, Spaces, TwoViewConfig, Views

Similarity = Literal["cosine", "cross_entropy"]


class SimSiam(Base):
    """SimSiam (Chen & He, 2021): predict the other view's projection, with stop-gradient on the target.

    arXiv:2011.10566, eq. 2. The predictor's lr never decays. Embeddings: the projections, (B, projector[-1]).
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
    class Config(TwoViewConfig):
        """
        Args:
            projector: hidden and output widths.
            predictor: hidden and output widths; the last must be the projector's last.
            output_norm: BatchNorm after the projector's last layer ("fixed": paper; "affine": AugSelf).
            similarity: "cosine", or "cross_entropy" of softmaxes (the paper's section 4.5).
            symmetric: also predict view a from view b (the paper); otherwise only b from a.
            batch_norm: whether the heads' BatchNorm sees both views at once or one after the other (the
                paper's code).
        """

        projector: tuple[int, ...] = (2048, 2048, 2048)
        predictor: tuple[int, ...] = (512, 2048)
        output_norm: OutputNorm = "fixed"
        similarity: Similarity = "cosine"
        symmetric: bool = True
        batch_norm: HeadNorm = "per_view"

        def __post_init__(self) -> None:
            super().__post_init__()
            check_predictor(self)

        def build(self, encoder: Encoder, spaces: Spaces) -> SimSiam:
            return SimSiam(self, encoder)

    def __init__(self, config: Config, encoder: Encoder):
        super().__init__()
        self.config = config
        self.projector = MLP((encoder.width(config.part), *config.projector), config.output_norm)
        self.predictor = MLP((config.projector[-1], *config.predictor))

    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        z = apply_head(self.projector, [encoded[v].part(c.part) for v in c.views], c.batch_norm)
        p = apply_head(self.predictor, z if c.symmetric else z[:1], c.batch_norm)
        losses = [
            simsiam_loss(prediction, target, c.similarity)
            for prediction, target in zip(p, z[::-1], strict=False)
        ]
        loss = sum(losses[1:], losses[0]) / len(losses)
        return BaseOutput({"similarity": loss}, dict(zip(c.views, z, strict=True)))


def simsiam_loss(predictions: Tensor, targets: Tensor, similarity: Similarity = "cosine") -> Tensor:
    """Mean over rows: (n, d), (n, d) -> (); no gradient reaches the targets. One of the symmetric terms.

    "cosine": minus the cosine, in [-1, 1]. "cross_entropy": -softmax(targets) log softmax(predictions).

    >>> import torch
    >>> x = torch.eye(3)
    >>> float(simsiam_loss(x, x))
    -1.0
    """
    if similarity == "cosine":
        return negative_cosine(predictions, targets.detach())
    with full_precision(predictions):
        probabilities = to_float32(targets.detach()).softmax(1)
        return -(probabilities * to_float32(predictions).log_softmax(1)).sum(1).mean()
