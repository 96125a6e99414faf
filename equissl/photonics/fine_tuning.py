"""Fine-tune an encoder on few densities of states: E-SSL's photonics protocol, with a validation split."""

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
from equissl.data.base import Data
from equissl.encoder.encoder import Encoder
from equissl.errors import UserError
from equissl.evaluate.base import Downstream, Score
from equissl.evaluate.features import eval_mode
from equissl.evaluate.statistics import estimate
from equissl.photonics.data import Crystals, CrystalSet
from equissl.photonics.dos import empty_lattice, relative_errors
from equissl.progress import Progress, no_progress
from equissl.random import Stream, shuffled

_TOGETHER = 512  # cells per pass when nothing is trained


@dataclass(frozen=True, kw_only=True)
class FineTuneSpectra(Downstream):
    """The encoder and a fresh head, trained to tell the density of states from the cell.

    Source: E-SSL's code (arXiv:2111.00899): Adam, squared error on the difference to the empty lattice, the
    base's invariances as augmentation, and the mean over cells of sum |error| / sum |truth| as the score.
    Unlike there, the learning rate and the moment to stop are chosen on validation cells, the test cells are
    looked at once, and every seed has its own labelled cells.

    Args:
        labels: budgets; each is scored as "dos/error_<labels>". A smaller one is part of the larger.
        validation: further labelled cells, by which lr and step are chosen.
        lrs: learning rates that are tried.
        steps: optimizer steps, for any budget.
        check_every: steps between looks at the validation cells.
        final_lr_ratio: the learning rate follows a cosine down to this fraction of it; 1: constant (paper).
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
        for name in ("validation", "steps", "check_every", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if not 0 <= self.final_lr_ratio <= 1:
            raise ValueError(f"final_lr_ratio must be from 0 to 1, got {self.final_lr_ratio}")

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
            raise UserError(f"fine-tuning needs photonic crystals, but the data is {type(data).__name__}")
        train, test = data.open("train", progress), data.open("test", progress)
        if len(test.labelled) < len(test):
            raise UserError(f"{data.path}: only {len(test.labelled)} of {len(test)} test cells are labelled")
        wanted = test.spectra
        empty = empty_lattice(test.plan.spectrum, test.plan.maker.lattice).float().expand_as(wanted)
        for budget in self.labels:
            tuned = self.tune(encoder, train, budget, augment, seed=seed, device=device, progress=progress)
            facts = {"lr": tuned.lr, "step": tuned.step, "validation": tuned.error}
            yield replace(_score(budget, tuned.predict(test.images), wanted, seed), extra=facts)
            yield replace(_score(budget, empty, wanted, seed), baseline="constant")

    def tune(
        self,
        encoder: Encoder,
        train: CrystalSet,
        budget: int,
        augment: Augmentation,
        *,
        seed: int = 0,
        device: str = "cpu",
        progress: Progress = no_progress,
    ) -> Tuned:
        """The best of all learning rates and steps on the validation cells; the encoder is not changed.

        Raises:
            UserError: there are not enough labelled cells.
        """
        pool = train.labelled
        if budget + self.validation > len(pool):
            raise UserError(
                f"{budget} labels and {self.validation} validation cells were asked for, but the training "
                f"split has {len(pool)} labelled cells"
            )
        order = pool[shuffled(len(pool), seed, "labels")]
        held, chosen = order[: self.validation], order[self.validation :][:budget]
        tries = []
        for place, lr in enumerate(self.lrs):
            progress(f"fine-tuning on {budget} labels", place, len(self.lrs))
            tries.append(self._fit(encoder, train, chosen, held, augment, lr, seed, device))
        progress(f"fine-tuning on {budget} labels", len(self.lrs), len(self.lrs))
        return min(tries, key=lambda t: t.error)

    def _fit(
        self,
        encoder: Encoder,
        train: CrystalSet,
        chosen: Tensor,
        held: Tensor,
        augment: Augmentation,
        lr: float,
        seed: int,
        device: str,
    ) -> Tuned:
        spectrum, lattice = train.plan.spectrum, train.plan.maker.lattice
        empty = empty_lattice(spectrum, lattice).float()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = _Regressor(copy.deepcopy(encoder), self.hidden, len(empty)).to(device)
        target = (train.spectra[chosen] - empty).to(device)
        images, size = train.images[chosen].to(device), (train.images.shape[2], train.images.shape[3])
        optimizer = torch.optim.Adam(network.parameters(), lr, weight_decay=self.weight_decay)
        best = Tuned(network, empty, lr, 0, float("inf"))
        schedule = CosineAnnealingLR(optimizer, self.steps, eta_min=self.final_lr_ratio * lr)
        step, epoch = 0, 0
        while step < self.steps:
            for rows in _batches(len(chosen), self.batch_size, seed, epoch):
                network.train()
                stream = Stream.of(chosen[rows].to(device), seed, "fine-tune", epoch)
                cells = augment.apply(images[rows.to(device)], augment.sample(stream, size))
                loss = F.mse_loss(network(cells), target[rows.to(device)])
                optimizer.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
                schedule.step()
                step += 1
                if step % self.check_every == 0 or step == self.steps:
                    now = Tuned(network, empty, lr, step, 0.0)
                    error = float(
                        relative_errors(now.predict(train.images[held]), train.spectra[held]).mean()
                    )
                    if error < best.error:
                        best = replace(now, network=copy.deepcopy(network), error=error)
                if step == self.steps:
                    break
            epoch += 1
        return best


@dataclass(frozen=True)
class Tuned:
    """A fine-tuned network.

    Args:
        empty: density of states of the empty lattice, (kept,), to which it adds.
        lr, step: what the validation cells chose; error: their mean relative error.
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
            pieces = [self.network(i.to(device)).cpu() for i in torch.split(images, _TOGETHER)]
        return torch.cat(pieces) + self.empty


class _Regressor(nn.Module):
    """An encoder with a perceptron: (B, C, H, W) -> (B, outputs)."""

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
    """Rows of one epoch, shuffled; a last batch of one, which BatchNorm cannot take, is left out."""
    for rows in torch.split(shuffled(count, seed, "fine-tune", epoch), size):
        if len(rows) > 1:
            yield rows


def _score(budget: int, predicted: Tensor, wanted: Tensor, seed: int) -> Score:
    errors = relative_errors(predicted, wanted).double()
    found = estimate(lambda rows: float(errors[rows].mean()), torch.arange(len(errors)), seed=seed)
    name = f"dos/error_{budget}"
    return Score(
        name,
        **asdict(found),
        unit="relative error",
        count=len(errors),
        seed=seed,
        title=f"Error of the density of states, {budget} labels",
        group="Density of states",
        higher_is_better=False,
    )
