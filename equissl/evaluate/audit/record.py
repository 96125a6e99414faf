"""What an audit leaves for the page and for later comparisons: predictions and example images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from equissl.data.base import Dataset
from equissl.evaluate.audit.factors import AUDITS, ON_REQUEST, audited
from equissl.evaluate.audit.options import AuditOptions
from equissl.evaluate.audit.readouts import examples, predictions
from equissl.evaluate.audit.readouts.readout import Readout


@dataclass(frozen=True)
class AuditRecord:
    """What was read of each factor from which images.

    Args:
        readouts: factor -> what was read from the encoder's features.
        index: (N,) the audited samples of ``dataset``.
        options: of the audit.
    """

    readouts: Mapping[str, Readout]
    dataset: Dataset
    index: Tensor
    options: AuditOptions

    def write(self, folder: Path) -> None:
        """Write both files (``predictions.FILE``, ``examples.FILE``), each whole or not at all."""
        seed = self.options.seed
        asked = self.options.factors or [n for n in AUDITS if n not in ON_REQUEST]
        audits = [audited(f) for f in asked if not isinstance(f, str) or f in AUDITS]  # not what is recorded
        kept = predictions.Predictions.of(self.readouts, self.dataset, self.index, seed)
        kept.write(folder / predictions.FILE)
        examples.write_examples(
            folder / examples.FILE, self.readouts, audits, self.dataset, self.index, seed=seed
        )
