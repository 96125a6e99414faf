"""Every element of a finite group applied to every picture."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from equissl.augment.flip import check_square
from equissl.params import Cyclic, Params, Space, concatenate


@dataclass(frozen=True)
class QuarterTurns:
    """All four quarter turns, counter-clockwise, exact (E-SSL, arXiv:2111.00899, section 3)."""

    @property
    def space(self) -> Space:
        return Space((Cyclic("quarter_turns", order=4),))

    def expand(self, images: Tensor, params: Params) -> tuple[Tensor, Params]:
        """All pictures as they are, then all turned once, twice, three times: B -> 4 B.

        Raises:
            ValueError: the pictures are not square.
        """
        check_square((images.shape[2], images.shape[3]))
        turned = [images.rot90(k, (2, 3)) for k in range(4)]
        turns = [images.new_full((len(images), 1), k, dtype=torch.float32) for k in range(4)]
        records = [params | Params.of(self.space, {"quarter_turns": t}) for t in turns]
        return torch.cat(turned), concatenate(records)
