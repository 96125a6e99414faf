"""Fine-tuning on few densities of states: E-SSL's photonics protocol, with a validation split."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR

from equissl.augment.base import Augmentation
from equissl.config.validation import check_bounds, check_widths
from equissl.data.base import Data
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.errors import NonFiniteError, UserError
from equissl.evaluate.base import Downstream, Score
from equissl.evaluate.statistics import estimate
from equissl.photonics.data import CrystalDataset, Crystals
from equissl.photonics.dos import empty_lattice, relative_errors
from equissl.progress import Progress, no_progress
from equissl.random import Stream, shuffled

_EVAL_BATCH_SIZE = 512


@dataclass(frozen=True, kw_only=True)
class FineTuneSpectra(Downstream):
    """Fine-tunes the encoder and a new head to predict the density of states of a cell.

    Source: E-SSL's code (arXiv:2111.00899): Adam, squared error on the difference to the empty lattice, the
    base's invariances as augmentation, and the mean over cells of sum |error| / sum |truth| as the score.
    Unlike there, the learning rate and the number of steps are chosen on validation cells, the test cells are
    evaluated once, and every seed has its own labelled cells.

    Args:
        labels: numbers of labelled cells; each is scored as "dos/error_<labels>". Smaller sets are subsets.
        validation: number of further labelled cells, on which lr and step are chosen.
        lrs: learning rates of the search.
        steps: optimizer steps, for any number of labels.
        check_every: steps between validations.
        final_lr_ratio: last over first lr of the cosine schedule; 1 (the paper) is a constant lr.
        hidden: widths of the head.

    Raises:
        ValueError: a field is out of its range.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    name: ClassVar[str] = "finetunespectra"
    scores: ClassVar[tuple[str, ...]] = ("dos",)
    labels: tuple[int, ...] = (100, 300, 1000, 3000)
    validation: int = 500
    lrs: tuple[float, ...] = (1e-4, 3e-4, 1e-3)
    steps: int = 4700
    check_every: int = 100
    batch_size: int = 64
    weight_decay: float = 1e-5
    final_lr_ratio: float = 1.0
    hidden: tuple[int, ...] = (1024, 1024, 512)

    def __post_init__(self) -> None:
        for name in ("labels", "lrs"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise ValueError(f"{name} must be above 0 and at least one, got {values}")
        if min(self.labels) < 2:
            raise ValueError(f"labels must be at least 2, got {self.labels}")
        check_bounds(self, "validation", "steps", "check_every", "batch_size", low=1)
        check_bounds(self, "final_lr_ratio", low=0, high=1)
        check_bounds(self, "weight_decay", low=0)
        check_widths(self, "hidden", least=0)

    def run(
        self,
        encoder: Encoder,
        data: Data,
        augment: Augmentation,
        *,
        seed: int = 0,
        device: str = "cpu",
        progress: Progress = no_progress,
    ) -> Iterator[Score]:
        if not isinstance(data, Crystals):
            raise UserError(f"finetunespectra needs data of type Crystals, got {type(data).__name__}")
        train, test = data.open("train", progress), data.open("test", progress)
        if len(test.labelled) < len(test):
            raise UserError(f"{data.path}: only {len(test.labelled)} of {len(test)} test cells are labelled")
        targets = test.spectra
        empty = empty_lattice(test.plan.spectrum, test.plan.cell_kind.lattice).float().expand_as(targets)
        for budget in self.labels:
            tuned = self.tune(encoder, train, budget, augment, seed=seed, device=device, progress=progress)
            details = {"lr": tuned.lr, "step": tuned.step, "validation": tuned.error}
            yield replace(_score(budget, tuned.predict(test.images), targets, seed), extra=details)
            yield replace(_score(budget, empty, targets, seed), baseline="constant")

    def tune(
        self,
        encoder: Encoder,
        train: CrystalDataset,
        budget: int,
        augment: Augmentation,
        *,
        seed: int = 0,
        device: str = "cpu",
        progress: Progress = no_progress,
    ) -> FineTuned:
        """The network of the best lr and step on the validation cells; ``encoder`` is not changed.

        Raises:
            UserError: too few labelled cells; ``NonFiniteError``: training diverged at every lr.
        """
        pool = train.labelled
        if budget + self.validation > len(pool):
            raise UserError(
                f"{budget} labels and {self.validation} validation cells need more than the "
                f"{len(pool)} labelled cells of the training split"
            )
        order = pool[shuffled(len(pool), seed, "labels")]
        held_out, labelled = order[: self.validation], order[self.validation :][:budget]
        candidates = []
        for done, lr in enumerate(self.lrs):
            progress(f"fine-tuning on {budget} labels", done, len(self.lrs))
            candidates.append(self._fit(encoder, train, labelled, held_out, augment, lr, seed, device))
        progress(f"fine-tuning on {budget} labels", len(self.lrs), len(self.lrs))
        best = min(candidates, key=lambda c: c.error)
        if best.error == float("inf"):
            raise NonFiniteError(f"the validation error is not finite at any of lrs={self.lrs}; lower them")
        return best

    def _fit(
        self,
        encoder: Encoder,
        train: CrystalDataset,
        labelled: Tensor,
        held_out: Tensor,
        augment: Augmentation,
        lr: float,
        seed: int,
        device: str,
    ) -> FineTuned:
        spectrum, lattice = train.plan.spectrum, train.plan.cell_kind.lattice
        empty = empty_lattice(spectrum, lattice).float()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = _Regressor(copy.deepcopy(encoder), self.hidden, len(empty)).to(device)
        targets = (train.spectra[labelled] - empty).to(device)
        images, size = train.images[labelled].to(device), (train.images.shape[2], train.images.shape[3])
        optimizer = torch.optim.Adam(network.parameters(), lr, weight_decay=self.weight_decay)
        best = FineTuned(network, empty, lr, 0, float("inf"))
        schedule = CosineAnnealingLR(optimizer, self.steps, eta_min=self.final_lr_ratio * lr)
        step, epoch = 0, 0
        while step < self.steps:
            for rows in _batches(len(labelled), self.batch_size, seed, epoch):
                network.train()
                stream = Stream.of(labelled[rows].to(device), seed, "fine-tune", epoch)
                cells = augment.apply(images[rows.to(device)], augment.sample(stream, size))
                loss = F.mse_loss(network(cells), targets[rows.to(device)])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                step += 1
                if step % self.check_every == 0 or step == self.steps:
                    current = FineTuned(network, empty, lr, step, 0.0)
                    predictions = current.predict(train.images[held_out])
                    error = float(relative_errors(predictions, train.spectra[held_out]).mean())
                    if error < best.error:
                        best = replace(current, network=copy.deepcopy(network), error=error)
                if step == self.steps:
                    break
            epoch += 1
        return best


@dataclass(frozen=True)
class FineTuned:
    """A fine-tuned network.

    Args:
        empty: density of states of the empty lattice, (kept,); the network predicts the difference to it.
        lr, step: chosen on the validation cells; error: mean relative error on them.
    """

    network: nn.Module
    empty: Tensor
    lr: float
    step: int
    error: float

    def predict(self, images: Tensor) -> Tensor:
        """(N, 1, size, size) in [0, 1] -> densities of states (N, kept), on the CPU."""
        device = next(self.network.parameters()).device
        with eval_mode(self.network), torch.inference_mode():
            outputs = [self.network(i.to(device)).cpu() for i in torch.split(images, _EVAL_BATCH_SIZE)]
        return torch.cat(outputs) + self.empty


class _Regressor(nn.Module):
    """An encoder with an MLP head: (B, C, H, W) -> (B, outputs)."""

    def __init__(self, encoder: Encoder, hidden: tuple[int, ...], outputs: int):
        super().__init__()
        self.encoder = encoder
        layers: list[nn.Module] = []
        for before, after in zip((encoder.width(), *hidden), hidden, strict=False):
            layers += [nn.Linear(before, after), nn.ReLU(inplace=True)]
        self.head = nn.Sequential(*layers, nn.Linear((encoder.width(), *hidden)[-1], outputs))

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.head(self.encoder(images).vector)
        return result


def _batches(count: int, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
    """Shuffled rows of one epoch; drops a last batch of one, which BatchNorm cannot take."""
    for rows in torch.split(shuffled(count, seed, "fine-tune", epoch), size):
        if len(rows) > 1:
            yield rows


def _score(budget: int, predictions: Tensor, targets: Tensor, seed: int) -> Score:
    errors = relative_errors(predictions, targets).double()
    error = estimate(lambda rows: float(errors[rows].mean()), torch.arange(len(errors)), seed=seed)
    name = f"dos/error_{budget}"
    return Score(
        name,
        **asdict(error),
        unit="relative error",
        count=len(errors),
        seed=seed,
        title=f"Error of the density of states, {budget} labels",
        group="Density of states",
        higher_is_better=False,
    )
