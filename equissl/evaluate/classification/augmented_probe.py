"""The linear probes of E-SSL and EquiMod: linear layers trained on features of augmented images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from equissl.augment.base import Augmentation, Pipeline
from equissl.augment.geometry.flip import HorizontalFlip
from equissl.augment.geometry.random_resized_crop import RandomResizedCrop
from equissl.augment.geometry.resample import Interpolation
from equissl.augment.geometry.resize import Resize
from equissl.config.validation import check_bounds
from equissl.encoder.modes import eval_mode
from equissl.errors import NonFiniteError
from equissl.evaluate.base import FeatureTable, Score
from equissl.evaluate.classification.labels import accuracy_score, accuracy_scores, labels_reason
from equissl.evaluate.context import EncoderEvaluation, EvaluationContext
from equissl.evaluate.features import make_view, whole_batch
from equissl.evaluate.finite import check_finite
from equissl.evaluate.probes.sgd import LinearLayers, UpdateEvery, epochs_of_batches
from equissl.evaluate.statistics import estimate

TOP = 5


@dataclass(frozen=True, kw_only=True)
class AugmentedProbe(EncoderEvaluation):
    """Top-1 and top-5 of linear layers trained by SGD on features of augmented images, for every part.

    Every epoch encodes all training images anew, cropped at random (an area of 0.08 to 1) and flipped. Test
    images are resized to 8/7 of their side (36 for 32, 256 for 224) and cropped at the center. Features are
    as they are; the score is that of the last epoch. The default is E-SSL's probe of CIFAR-10; the other
    protocols of papers are below and in ``evaluate.protocol``.

    Args:
        protocol: ends the score's name, "linear_essl/top1".
        lr: peak; falls to ``min_lr`` by a cosine. Equal ones: a constant lr.
        update_every: "step", or "epoch" to keep the lr through an epoch.
        inits: layers, each with its own initial weights; their mean is scored.
        epochs: passes over the training images, each of which is encoded in each.
        weight_std: of normal initial weights, with biases of 0; 0 for torch's initialisation.
        trust_coefficient: of LARS, as in ``probes.sgd.LinearLayers``; 0 for plain SGD.
        interpolation: of the crops and of the resized test images.
        seed: of weights, order and augmentation.
    """

    paper: ClassVar[str] = "arXiv:2111.00899"
    name: ClassVar[str] = "augmentedprobe"
    scores: ClassVar[tuple[str, ...]] = ("linear_essl", "linear_essl_imagenet", "linear_equimod")
    needs_labels: ClassVar[bool] = True
    costly: ClassVar[bool] = True
    protocol: Literal["essl", "essl_imagenet", "equimod"] = "essl"
    lr: float = 30.0
    min_lr: float = 0.0
    update_every: UpdateEvery = "step"
    inits: int = 5
    epochs: int = 100
    batch_size: int = 256
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 0.0
    weight_std: float = 0.0
    trust_coefficient: float = 0.0
    interpolation: Interpolation = "bicubic"
    seed: int = 0

    def __post_init__(self) -> None:
        check_bounds(self, "lr", above=0)
        check_bounds(self, "min_lr", low=0, high=self.lr)
        check_bounds(self, "inits", "epochs", "batch_size", low=1)
        check_bounds(self, "momentum", low=0, below=1)
        check_bounds(self, "weight_decay", "weight_std", "trust_coefficient", low=0)

    @classmethod
    def example(cls) -> AugmentedProbe:
        return cls(lr=1.0, inits=2, epochs=2)

    def unavailable_reason(self, context: EvaluationContext) -> str:
        return labels_reason(*(context.datasets[s].labels[context.rows[s]] for s in ("train", "test")))

    def run(self, context: EvaluationContext) -> Iterator[Score]:
        if self.unavailable_reason(context):
            return
        side = min(context.datasets["test"].batch(context.rows["test"][:1]).images[context.image].shape[2:])
        test = context.features(
            "test", Resize(side, short_side=side * 8 // 7, interpolation=self.interpolation)
        )
        test = test[test.labels >= 0]
        rows = context.rows["train"]
        rows = rows[context.datasets["train"].labels[rows] >= 0]
        layers = self._train(context, rows, side, test)
        extra = {"lr": self.lr, "epochs": self.epochs, "repeats": self.inits, "train_images": len(rows)}
        for part, x in test.by_part().items():
            yield from self._scores(layers[part].logits(x), test, part, extra)

    def _train(
        self, context: EvaluationContext, index: Tensor, side: int, test: FeatureTable
    ) -> dict[str, LinearLayers]:
        labels = context.datasets["train"].labels[index]
        classes = int(labels.max()) + 1
        layers = {
            part: LinearLayers(
                x.shape[1],
                classes,
                [self.lr] * self.inits,
                self.momentum,
                self.weight_decay,
                self.nesterov,
                self.min_lr,
                self.seed,
                self.weight_std,
                self.trust_coefficient,
            )
            for part, x in test.by_part().items()
        }
        crop = RandomResizedCrop(side, interpolation=self.interpolation)
        augment, steps = Pipeline((crop, HorizontalFlip())), 0
        with eval_mode(context.encoder), torch.no_grad():
            plan = (len(index), self.epochs, self.batch_size, self.seed, self.update_every)
            for rows, epoch, decay in epochs_of_batches(*plan):
                vectors = _features(context, index[rows], augment, epoch, self.seed)
                for part, layer in layers.items():
                    layer.step(vectors[:, test.parts.get(part, slice(None))], labels[rows], decay)
                steps += len(rows)
                context.progress(self.name, steps, len(index) * self.epochs)
        return layers

    def _scores(
        self, logits: Tensor, test: FeatureTable, part: str, extra: dict[str, float]
    ) -> Iterator[Score]:
        if not bool(logits.isfinite().all()):
            raise NonFiniteError(f"{self.name}: training diverged at lr={self.lr:g}; lower {self.name}.lr")
        name, title = f"linear_{self.protocol}", f"Linear accuracy, {PAPERS[self.protocol][0]}'s probe"
        common: dict[str, Any] = {
            "part": part,
            "seed": self.seed,
            "extra": extra,
            "paper": PAPERS[self.protocol][1],
        }
        yield from accuracy_scores(
            f"{name}/top1", logits.argmax(2), test.labels, test.groups, f"{title}, top-1", **common
        )
        if logits.shape[2] > TOP:
            correct = (logits.topk(TOP, 2).indices == test.labels[:, None]).any(2)
            result = estimate(
                lambda rows: float(correct[:, rows].double().mean()), test.groups, seed=self.seed
            )
            yield accuracy_score(f"{name}/top5", result, f"{title}, top-5", count=len(test), **common)


PAPERS = {
    "essl": ("E-SSL", "arXiv:2111.00899"),
    "essl_imagenet": ("E-SSL (ImageNet)", "arXiv:2111.00899"),
    "equimod": ("EquiMod", "arXiv:2211.01244"),
}
ESSL_PROBE = AugmentedProbe()  # arXiv:2111.00899, released code, CIFAR-10; all 50,000 training images
# arXiv:2111.00899, released code, ImageNet: one probe for each of the three methods. SimCLR's schedule is
# never stepped there, so that its lr is constant.
ESSL_IMAGENET_SIMCLR = AugmentedProbe(
    protocol="essl_imagenet",
    lr=1.0,
    min_lr=1.0,
    inits=1,
    weight_decay=1e-6,
    weight_std=0.01,
    interpolation="bilinear",
)
ESSL_IMAGENET_BARLOW_TWINS = replace(ESSL_IMAGENET_SIMCLR, lr=0.3, min_lr=0.0, update_every="epoch")
ESSL_IMAGENET_SIMSIAM = replace(
    ESSL_IMAGENET_BARLOW_TWINS,
    lr=1.6,
    epochs=90,
    batch_size=4096,
    weight_decay=0.0,
    trust_coefficient=1e-3,
)
# arXiv:2211.01244, released code; all training images.
EQUIMOD_PROBE = AugmentedProbe(protocol="equimod", lr=0.2, min_lr=1e-4, inits=1, epochs=90, nesterov=True)


def _features(
    context: EvaluationContext, rows: Tensor, augment: Augmentation, epoch: int, seed: int
) -> Tensor:
    """Features (B, D) of augmented training images, on the CPU."""
    batch = whole_batch(context.datasets["train"], rows).to(context.device)
    vectors: Tensor = context.encoder(make_view(batch, augment, context.image, epoch, seed).images).vector
    vectors = vectors.float().cpu()
    check_finite(vectors, "the features of augmented images")
    return vectors
