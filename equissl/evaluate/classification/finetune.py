"""Fine-tuning: accuracy after training the whole encoder on a fraction of the labels."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.batched import as_float
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.config.validation import check_bounds
from equissl.data.base import Dataset, Split
from equissl.encoder.encoder import Encoder
from equissl.encoder.modes import eval_mode
from equissl.evaluate.base import Score
from equissl.evaluate.classification.labels import accuracy_scores, labels_reason
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.features import whole_batch
from equissl.evaluate.finite import check_finite
from equissl.evaluate.probes.sgd import cosine_decay
from equissl.random import Stream, shuffled


@dataclass(frozen=True)
class FineTune(EncoderEvaluation):
    """Top-1 accuracy after training a copy of the whole encoder and a linear head on few labelled images.

    The images are sampled at random, the same fraction of every class and at least one of each. Crop and
    flip, SGD with Nesterov momentum 0.9, a cosine to 0 without warm-up, cross entropy, the last epoch. The
    idea is SimCLR's (arXiv:2002.05709, appendix B.5: 1 % and 10 % of ImageNet); the defaults are for small
    encoders on a CPU. Cost: ``fractions`` * training images * ``epochs`` passes, forward and backward.

    Args:
        fractions: of the labelled training images, each in (0, 1].
        lr: peak learning rate of the encoder; that of the head is ten times as large.
        seed: of the subset, the head, the order and the augmentation.
    """

    paper: ClassVar[str] = "arXiv:2002.05709"
    name: ClassVar[str] = "finetune"
    scores: ClassVar[tuple[str, ...]] = ("finetune",)
    needs_labels: ClassVar[bool] = True
    fractions: tuple[float, ...] = (0.01, 0.1)
    epochs: int = 20
    batch_size: int = 64
    lr: float = 0.02
    weight_decay: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < f <= 1 for f in self.fractions):
            raise ValueError(f"fractions must be numbers above 0 and at most 1, got {self.fractions}")
        check_bounds(self, "epochs", low=1)
        check_bounds(self, "batch_size", low=2)
        check_bounds(self, "lr", above=0)
        check_bounds(self, "weight_decay", low=0)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        return labels_reason(_labels(context, "train"), _labels(context, "test"))

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if self.unavailable_reason(context):
            return
        labels = _labels(context, "test")
        test_rows, targets = context.rows["test"][labels >= 0], labels[labels >= 0]
        groups = context.datasets["test"].groups[test_rows]
        for fraction in self.fractions:
            # Of all labelled training images, not of those that the other evaluations look at.
            train = context.datasets["train"]
            train_rows = (train.labels >= 0).nonzero()[:, 0]
            if context.datasets["test"] is train:  # one set for both: never train on test images
                train_rows = train_rows[~torch.isin(train_rows, context.rows["test"])]
            train_rows = train_rows[stratified_subset(train.labels[train_rows], fraction, self.seed)]
            train_rows = train.readable(train_rows)
            with _isolated_generators(self.seed, torch.device(context.device)):  # for dropout
                encoder, head = self._train(context, train_rows, fraction)
            predictions = _predict(encoder, head, context, test_rows)
            name, title = f"finetune/{fraction:g}", f"Accuracy, fine-tuned on {100 * fraction:g} %"
            extra = {"images": len(train_rows), "epochs": self.epochs, "lr": self.lr}
            yield from accuracy_scores(name, predictions, targets, groups, title, self.seed, extra=extra)

    def _train(self, context: EvaluationContext, rows: Tensor, fraction: float) -> tuple[Encoder, nn.Linear]:
        data, device = context.datasets["train"], torch.device(context.device)
        labels = data.labels[rows]
        encoder = copy.deepcopy(context.encoder).train().requires_grad_(True)
        # A head of zeros, so that nothing depends on its initialisation.
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
        batch_size = min(self.batch_size, len(rows))
        total, step = self.epochs * (len(rows) // batch_size), 0
        for epoch in range(self.epochs):
            order = shuffled(len(rows), self.seed, "finetune", epoch)
            for k in range(len(rows) // batch_size):
                batch = order[k * batch_size : (k + 1) * batch_size]
                images = _augmented(data, rows[batch], context, self.seed, epoch)
                for group in optimizer.param_groups:
                    group["lr"] = group["peak"] * cosine_decay(step, total)
                loss = F.cross_entropy(head(encoder(images).vector), labels[batch].to(device))
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                step += 1
            context.progress(f"fine-tuning on {fraction:.3g}", epoch + 1, self.epochs)
        return encoder, head

    @classmethod
    def example(cls) -> FineTune:
        return cls(fractions=(0.5,), epochs=2, batch_size=8)


def stratified_subset(labels: Tensor, fraction: float, seed: int) -> Tensor:
    """Rows of the same fraction of every class, rounded, at least one of each: (N,), -1 unknown -> (n,).

    >>> labels = torch.tensor([0, 0, 0, 0, 1, 1, -1])
    >>> labels[stratified_subset(labels, 0.5, seed=0)].tolist()
    [0, 0, 1]
    """
    order = shuffled(len(labels), seed, "subset")
    subset = []
    for label in torch.unique(labels[labels >= 0]).tolist():
        of_class = order[labels[order] == label]
        subset.append(of_class[: max(1, round(fraction * len(of_class)))])
    return torch.cat(subset).sort().values


def _labels(context: EvaluationContext, split: Split) -> Tensor:
    return context.datasets[split].labels[context.rows[split]]


def _augmented(data: Dataset, rows: Tensor, context: EvaluationContext, seed: int, epoch: int) -> Tensor:
    images = as_float(whole_batch(data, rows).to(context.device).images[context.image])
    size = (images.shape[-2], images.shape[-1])
    policy: Augmentation = Pipeline((RandomResizedCrop(min(size), (0.2, 1.0)), HorizontalFlip()))
    return policy.apply(images, policy.sample(Stream.of(rows.to(images.device), seed, "tune", epoch), size))


def _predict(encoder: Encoder, head: nn.Linear, context: EvaluationContext, rows: Tensor) -> Tensor:
    logits = []
    with eval_mode(encoder), torch.inference_mode():
        for batch in torch.split(rows, 256):
            images = whole_batch(context.datasets["test"], batch).to(context.device).images[context.image]
            logits.append(head(encoder(as_float(images)).vector).cpu())
    joined = torch.cat(logits)
    check_finite(joined, "the outputs after fine-tuning (lower finetune.lr)")
    return joined.argmax(1)


@contextmanager
def _isolated_generators(seed: int, device: torch.device) -> Iterator[None]:
    """The global generators seeded inside, and afterwards as they were."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield
