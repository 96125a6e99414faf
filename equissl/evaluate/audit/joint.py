"""Features of several encoders at once, so that each view is made once for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from equissl.augment.base import Augmentation
from equissl.data.base import Dataset
from equissl.encoder.encoder import Encoded, Encoder
from equissl.evaluate.base import FeatureTable
from equissl.evaluate.features import extract
from equissl.progress import Progress, no_progress


class JointEncoder(nn.Module):
    """Features of several encoders side by side.

    Args:
        encoders: name -> encoder; the columns of its part "inv" are the part "name/inv".
    """

    def __init__(self, encoders: Mapping[str, Encoder]):
        super().__init__()
        self.names = tuple(encoders)
        self.encoders = nn.ModuleList(encoders.values())

    def by_name(self) -> dict[str, Encoder]:
        """The encoders by their names."""
        return dict(zip(self.names, self.encoders, strict=True))  # type: ignore[arg-type]

    def forward(self, images: Tensor) -> Encoded:
        """(B, C, H, W) in [0, 1] -> vectors as wide as all together."""
        vectors: list[Tensor] = []
        parts: dict[str, slice] = {}
        start = 0
        for name, encoder in zip(self.names, self.encoders, strict=True):
            encoded: Encoded = encoder(images)
            vectors.append(encoded.vector.float())
            parts |= {
                f"{name}/{part}": slice(start + columns.start, start + columns.stop)
                for part, columns in encoded.parts.items()
            }
            start += encoded.vector.shape[1]
        return Encoded(torch.cat(vectors, 1), None, parts)


@dataclass
class Passes:
    """Passes over the same images.

    Args:
        device: where encoders are.
        model: what messages call them.
        total: images of all passes, for ``progress``.
    """

    dataset: Dataset
    image: str
    seed: int
    batch_size: int
    device: torch.device | str
    model: str = ""
    progress: Progress = no_progress
    total: int = 0
    done: int = 0

    def features(
        self,
        network: nn.Module,
        index: Tensor,
        augment: Augmentation | None = None,
        view_index: int = 0,
        what: str = "",
    ) -> FeatureTable:
        """Features of the images ``index`` (N,), as they are or augmented; only its parameters are kept."""

        def report(_: str, done: int, of: int) -> None:
            if self.total:
                of_model = f" of {self.model}" if self.model else ""
                self.progress(f"audit{of_model}: {what}", self.done + done, self.total)

        table = extract(
            network,
            self.dataset,
            index=index,
            augment=augment,
            image=self.image,
            dataset_params=False,
            view_index=view_index,
            seed=self.seed,
            batch_size=self.batch_size,
            device=self.device,
            progress=report,
            model=self.model,
        )
        self.done += len(index)
        return table
