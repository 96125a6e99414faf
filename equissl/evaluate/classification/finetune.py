"""How good a start is the encoder for learning from few labels? The whole of it is trained further."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.batched import as_float
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.data.base import Dataset, Split
from equissl.encoder.encoder import Encoder
from equissl.evaluate.base import Score, share
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.features import evaluating
from equissl.evaluate.titles import ACCURACY
from equissl.random import Stream, shuffled


@dataclass(frozen=True)
class FineTune(EncoderEvaluation):
    """Top-1 accuracy after training a copy of the whole encoder and a linear head on few labelled images.

    The images are chosen by chance, the same share of every class and at least one of each. Crop and flip,
    SGD with Nesterov momentum 0.9, a cosine to 0 without warm-up, cross entropy, the last epoch. The idea is
    SimCLR's (arXiv:2002.05709, appendix B.5: 1 % and 10 % of ImageNet); the defaults are for small encoders
    on a CPU. Cost: ``shares`` * training images * ``epochs`` passes, forward and backward.

    Args:
        shares: of the labelled training images, each in (0, 1].
        lr: peak learning rate of the encoder; that of the head is ten times as large.
        seed: of the choice, the head, the order and the augmentation.
    """

    paper: ClassVar[str] = "arXiv:2002.05709"
    name: ClassVar[str] = "finetune"
    scores: ClassVar[tuple[str, ...]] = ("finetune",)
    needs_labels: ClassVar[bool] = True
    shares: tuple[float, ...] = (0.01, 0.1)
    epochs: int = 20
    batch_size: int = 64
    lr: float = 0.02
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.shares or not all(0 < s <= 1 for s in self.shares):
            raise ValueError(f"shares must be numbers above 0 and at most 1, got {self.shares}")
        if self.epochs < 1 or self.batch_size < 2 or not self.lr > 0:
            raise ValueError(
                "epochs must be at least 1, batch_size at least 2 and lr above 0, "
                f"got {self.epochs}, {self.batch_size}, {self.lr}"
            )

    def missing(self, subject: EvaluationContext) -> str:
        known = {s: _labels(subject, s) for s in subject.rows}
        for split, labels in known.items():
            if not len(labels[labels >= 0]):
                return f"it needs labels, but no {split} image has one; labels=folders or FILE.csv names them"
        if len(torch.unique(known["train"][known["train"] >= 0])) < 2:
            return "it needs at least two classes, but all labelled training images are of one"
        return ""

    def run(self, subject: EvaluationContext) -> Iterator[Score]:
        if self.missing(subject):
            return
        test, labels = subject.rows["test"], _labels(subject, "test")
        asked, truth = test[labels >= 0], labels[labels >= 0]
        groups = subject.datasets["test"].groups[asked]
        for part in self.shares:
            # Of all labelled training images, not of those that the other evaluations look at.
            train = subject.datasets["train"]
            known = (train.labels >= 0).nonzero()[:, 0]
            if subject.datasets["test"] is train:  # one set for both: never learn from what is asked
                known = known[~torch.isin(known, subject.rows["test"])]
            rows = known[subset(train.labels[known], part, self.seed)]
            with _private_randomness(self.seed, torch.device(subject.device)):  # dropout would draw from it
                encoder, head = self._train(subject, rows, part)
            said = _classes(encoder, head, subject, asked)
            yield Score(
                f"finetune/{part:g}",
                **asdict(share(said == truth, groups, self.seed)),
                unit="share",
                count=len(truth),
                seed=self.seed,
                extra={"images": len(rows), "epochs": self.epochs, "lr": self.lr},
                title=f"Accuracy, fine-tuned on {100 * part:g} %",
                group=ACCURACY,
                higher_is_better=True,
            )

    def _train(self, subject: EvaluationContext, rows: Tensor, part: float) -> tuple[Encoder, nn.Linear]:
        data, device = subject.datasets["train"], torch.device(subject.device)
        labels = data.labels[rows]
        encoder = copy.deepcopy(subject.encoder).train().requires_grad_(True)
        # A head of zeros, so that nothing depends on how it was drawn.
        head = nn.Linear(encoder.width(), int(labels.max()) + 1).to(device)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        groups = [
            {"params": encoder.parameters(), "peak": self.lr},
            {"params": head.parameters(), "peak": 10 * self.lr},
        ]
        optimizer = torch.optim.SGD(
            groups, self.lr, momentum=0.9, nesterov=True, weight_decay=self.weight_decay
        )
        batch = min(self.batch_size, len(rows))
        total, step = self.epochs * (len(rows) // batch), 0
        for epoch in range(self.epochs):
            order = shuffled(len(rows), self.seed, "finetune", epoch)
            for k in range(len(rows) // batch):
                few = order[k * batch : (k + 1) * batch]
                images = _view(data, rows[few], subject, self.seed, epoch)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * (1 + math.cos(math.pi * step / total)) / 2
                loss = F.cross_entropy(head(encoder(images).vector), labels[few].to(device))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                step += 1
            subject.progress(f"fine-tuning on {part:.3g}", epoch + 1, self.epochs)
        return encoder, head

    @classmethod
    def example(cls) -> FineTune:
        return cls(shares=(0.5,), epochs=2, batch_size=8)


def subset(labels: Tensor, part: float, seed: int) -> Tensor:
    """The same share of every class, rounded, at least one of each: labels (N,), -1 unknown -> rows (n,)."""
    order = shuffled(len(labels), seed, "subset")
    chosen = []
    for label in torch.unique(labels[labels >= 0]).tolist():
        mine = order[labels[order] == label]
        chosen.append(mine[: max(1, round(part * len(mine)))])
    return torch.cat(chosen).sort().values


def _labels(subject: EvaluationContext, split: Split) -> Tensor:
    return subject.datasets[split].labels[subject.rows[split]]


def _view(data: Dataset, rows: Tensor, subject: EvaluationContext, seed: int, epoch: int) -> Tensor:
    images = as_float(data.batch(rows).to(subject.device).images[subject.image])
    size = (images.shape[-2], images.shape[-1])
    policy: Augmentation = Pipeline((RandomResizedCrop(min(size), (0.2, 1.0)), HorizontalFlip()))
    return policy.apply(images, policy.sample(Stream.of(rows.to(images.device), seed, "tune", epoch), size))


def _classes(encoder: Encoder, head: nn.Linear, subject: EvaluationContext, rows: Tensor) -> Tensor:
    said = []
    with evaluating(encoder), torch.inference_mode():
        for few in torch.split(rows, 256):
            images = subject.datasets["test"].batch(few).to(subject.device).images[subject.image]
            said.append(head(encoder(as_float(images)).vector).argmax(1).cpu())
    return torch.cat(said)


@contextmanager
def _private_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators seeded inside, and afterwards as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
