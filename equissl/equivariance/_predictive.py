"""What EquiMod and SIE share: a projector, and a predictor of the changed image's embedding."""

from __future__ import annotations

from torch import Tensor, nn

from equissl.encoder.encoder import Encoded
from equissl.objective import Equivariance
from equissl.params import Params, Space


class PredictiveEquivariance(Equivariance):
    """An equivariance objective that is ``objective.Predictive``.

    Args:
        part: which columns of the features the projector reads.
        space: factors whose change the predictor reads.

    Raises:
        ValueError: there is no factor.
    """

    projector: nn.Module
    predictor: nn.Module

    def __init__(self, part: str, space: Space):
        super().__init__()
        if not space.encoded_size:
            name = type(self).__name__
            raise ValueError(f"{name} needs views that record parameters, but none of its views does")
        self.part, self.space = part, space

    def encode(self, change: Params) -> Tensor:
        """The predictor's input: (B, k)."""
        return change.encode()

    def target(self, target: Encoded) -> Tensor:
        embedding: Tensor = self.projector(target.part(self.part))
        return embedding

    def predict(self, source: Encoded, change: Params) -> Tensor:
        return self.move(self.target(source), change)

    def move(self, source: Tensor, change: Params) -> Tensor:
        """The predicted embedding of the changed image from the source's, (B, d)."""
        predicted: Tensor = self.predictor(source, self.encode(change).to(source.dtype))
        return predicted
