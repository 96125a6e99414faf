"""Self-distillation to prototypes, shared by DINO, iBOT and DINOv2; on masked patches by the latter two."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.config.validation import MAX_WIDTH, Checked, check_bounds, check_widths
from equissl.distributed import mean
from equissl.encoder.encoder import Encoded, Encoder
from equissl.losses.distillation import centered_softmax, distillation_loss, patch_loss, sinkhorn
from equissl.losses.precision import to_float32
from equissl.nn.ema import Teacher, ema_momentum
from equissl.nn.heads import HeadNorm, HiddenNorm, apply_head
from equissl.nn.prototype_head import PrototypeHead, PrototypeNorm
from equissl.objective import Base, BaseOutput, Encodings, MultiCropConfig, Spaces, Views
from equissl.params import PATCH_MASK
from equissl.views import View

Centering = Literal["center", "sinkhorn"]


@dataclass(frozen=True, kw_only=True)
class DistillationConfig(Checked):
    """Prototype head, teacher and temperatures of DINO, iBOT and DINOv2.

    Args:
        projector: hidden widths and the width of the bottleneck.
        hidden_norm: BatchNorm in the projector; the papers' heads have none for transformers.
        num_prototypes: number of outputs K.
        prototype_norm: norm of the prototypes: "fixed" at 1, or "learned" (stronger, less stable).
        temperature: student temperature, above 0.
        teacher_temperature: at the start and after the warm-up, above 0; lower is sharper.
        temperature_warmup: fraction of training with a linear warm-up of teacher temperatures, in [0, 1].
        center_momentum: EMA coefficient of the center, the mean teacher output, in [0, 1].
        freeze_prototypes: fraction of training with a frozen last layer, in [0, 1] (DINO: one epoch).
        momentum: EMA coefficient of the teacher at the first step, in [0, 1]; grows to 1 along a cosine.
        copy_buffers: copy the BatchNorm statistics to the teacher (the originals do not).
        batch_norm: whether BatchNorm in heads and teacher sees all views at once or one after the other.
    """

    projector: tuple[int, ...] = (2048, 2048, 256)
    hidden_norm: HiddenNorm = "none"
    num_prototypes: int = 8192
    prototype_norm: PrototypeNorm = "fixed"
    temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    temperature_warmup: float = 0.3
    center_momentum: float = 0.9
    freeze_prototypes: float = 0.01
    momentum: float = 0.996
    copy_buffers: bool = False
    batch_norm: HeadNorm = "all_views"

    def __post_init__(self) -> None:
        check_widths(self, "projector")
        check_bounds(self, "temperature", "teacher_temperature", above=0)
        check_bounds(self, "momentum", "temperature_warmup", "center_momentum", low=0, high=1)
        check_bounds(self, "freeze_prototypes", low=0, high=1)
        check_bounds(self, "num_prototypes", low=2, high=MAX_WIDTH)

    def head(self, width: int) -> PrototypeHead:
        """A head for features of ``width`` columns."""
        sizes = (width, *self.projector)
        return PrototypeHead(sizes, self.num_prototypes, self.hidden_norm, self.prototype_norm)

    def warmed_up(self, temperature: tuple[float, float], progress: Tensor) -> Tensor | float:
        """A teacher temperature, (start, end), after a fraction ``progress`` () of training."""
        start, end = temperature
        warmup = (progress / self.temperature_warmup).clamp(max=1) if self.temperature_warmup else 1.0
        return start + (end - start) * warmup


@dataclass(frozen=True, kw_only=True)
class SelfDistillationConfig(DistillationConfig):
    """``DistillationConfig`` for images and masked patches (iBOT, DINOv2).

    Args:
        separate_heads: whether patches have a head of their own; otherwise images and patches share one
            (iBOT).
        patch_temperature: teacher temperature of patches, at the start and after the warm-up, above 0.
        centering: of the teacher's outputs: "center" subtracts a running mean (DINO), "sinkhorn" is the
            Sinkhorn-Knopp algorithm on each batch (SwAV).
    """

    separate_heads: bool = False
    patch_temperature: tuple[float, float] = (0.04, 0.07)
    centering: Centering = "center"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "patch_temperature", above=0)


@dataclass(frozen=True)
class SelfDistillationOutput:
    """Image and patch loss, () each, and the bottlenecks of all crops, (B, projector[-1]) each."""

    images: Tensor
    patches: Tensor
    embeddings: tuple[Tensor, ...]


class SelfDistillation(nn.Module):
    """Student heads, EMA teacher and running centers."""

    center: Tensor
    patch_center: Tensor
    progress: Tensor

    def __init__(self, config: SelfDistillationConfig, encoder: Encoder, part: str):
        super().__init__()
        self.config, self.part = config, part
        width = encoder.width(part)
        self.head = nn.ModuleDict({"image": config.head(width)})
        if config.separate_heads:
            self.head["patch"] = config.head(width)
        self.teacher = Teacher(encoder, self.head, part, config.batch_norm, config.copy_buffers)
        self.register_buffer("center", torch.zeros(config.num_prototypes))
        self.register_buffer("patch_center", torch.zeros(config.num_prototypes))
        self.register_buffer("progress", torch.zeros(()))  # a tensor, so that no step waits for the device
        self.batch_centers: tuple[Tensor, Tensor] | None = None  # used after the optimizer step

    def forward(
        self, large: Sequence[Encoded], small: Sequence[Encoded], images: Sequence[Tensor], mask: Tensor
    ) -> SelfDistillationOutput:
        """
        Args:
            large, small: the student's features of the crops; the large ones were masked.
            images: large crops, (B, C, h, w) each, which the teacher encodes unmasked.
            mask: (len(large), B, patches), 1 for masked patches.
        """
        c = self.config
        image_head, patch_head = _head(self.head, "image"), _head(self.head, "patch")
        frozen = self.progress < c.freeze_prototypes
        embeddings = apply_head(image_head.embed, [e.part(self.part) for e in (*large, *small)], c.batch_norm)
        logits = [image_head.logits(e, frozen) for e in embeddings]
        tokens = torch.cat([_tokens(e, self.part) for e in large])
        patch_logits = patch_head.logits(patch_head.embed(tokens.flatten(0, 1)), frozen)
        patch_logits = patch_logits.unflatten(0, tokens.shape[:2])  # type: ignore[no-untyped-call]
        mask = mask.flatten(0, 1)
        with torch.no_grad():
            targets, patch_targets = self._targets(images, mask)
        return SelfDistillationOutput(
            distillation_loss(logits, targets, c.temperature),
            patch_loss(patch_logits, patch_targets, mask, c.temperature),
            embeddings,
        )

    def _targets(self, images: Sequence[Tensor], mask: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """Teacher probabilities of the large crops, (B, K) each, and of their patches, (rows, patches, K)."""
        c = self.config
        encoded = self.teacher.encode(images)
        image_head, patch_head = (_head(self.teacher.head, kind) for kind in ("image", "patch"))
        image = torch.cat(apply_head(image_head, [e.part(self.part) for e in encoded], c.batch_norm))
        tokens = torch.cat([_tokens(e, self.part) for e in encoded])
        patches = patch_head(tokens.flatten(0, 1))
        if self.training:
            self.batch_centers = to_float32(image).mean(0), to_float32(patches).mean(0)
        first, second = (c.warmed_up(t, self.progress) for t in (c.teacher_temperature, c.patch_temperature))
        if c.centering == "center":
            image = centered_softmax(image, self.center, first)
            patches = centered_softmax(patches, self.patch_center, second)
        else:
            image, patches = sinkhorn(image, first), sinkhorn(patches, second, mask.flatten())
        return torch.split(image, len(images[0])), patches.view(*mask.shape, -1)

    @torch.no_grad()
    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        self.teacher.update_ema(encoder, self.head, ema_momentum(c.momentum, progress))
        self.progress.fill_(progress)
        if self.batch_centers is not None:
            for center, batch in zip((self.center, self.patch_center), self.batch_centers, strict=True):
                center.lerp_(mean(batch).to(center.dtype), 1 - c.center_momentum)
            self.batch_centers = None


@dataclass(frozen=True, kw_only=True)
class MaskedDistillationConfig(MultiCropConfig):
    """Fields of iBOT and DINOv2.

    Args:
        distillation: heads, teacher, temperatures, centering.
        image_weight, patch_weight: weights of the two terms, at least 0 (1 and 1).
    """

    distillation: SelfDistillationConfig = SelfDistillationConfig()
    image_weight: float = 1.0
    patch_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_bounds(self, "image_weight", "patch_weight", low=0)


class MaskedDistillation(Base):
    """DINO's loss on images and on masked patches, with one EMA teacher; what iBOT and DINOv2 share."""

    def __init__(self, config: MaskedDistillationConfig, encoder: Encoder):
        super().__init__()
        self.config = config
        self.distillation = SelfDistillation(config.distillation, encoder, config.part)

    @abstractmethod
    def forward(self, views: Views, encoded: Encodings) -> BaseOutput:
        c = self.config
        output = self.distillation(
            [encoded[v] for v in c.views],
            [encoded[v] for v in c.local],
            [views[v].images for v in c.views],
            stacked_masks(views, c.views),
        )
        losses = {"assignment": c.image_weight * output.images, "patches": c.patch_weight * output.patches}
        return BaseOutput(losses, dict(zip(c.reads(), output.embeddings, strict=True)))

    def after_step(self, encoder: Encoder, progress: float) -> None:
        self.distillation.after_step(encoder, progress)


def check_masks(encoder: Encoder, spaces: Spaces, views: Sequence[str]) -> None:
    """
    Raises:
        ValueError: the encoder cannot mask patches, or a view has no mask or one of another size.
    """
    height, width = encoder.grid_size()
    if encoder.mask_token is None:
        raise ValueError("it masks patches, so it needs a transformer with encoder.mask_token=true")
    for view in views:
        masks = [f for f in spaces[view] if f.name == PATCH_MASK]
        if not masks:
            raise ValueError(
                f"view {view!r} masks no patches; end its policy with PatchMask(grid_size={height})"
            )
        if masks[0].size != height * width:
            raise ValueError(
                f"view {view!r} masks {masks[0].size} patches, but the encoder has {height} x {width}: "
                f"PatchMask(grid_size={height})"
            )


def stacked_masks(views: Mapping[str, View], names: Sequence[str]) -> Tensor:
    """The masks of the named views: (len(names), B, patches).

    Raises:
        ValueError: a view has none.
    """
    masks = [mask for name in names if (mask := views[name].mask) is not None]
    if len(masks) < len(names):
        raise ValueError(f"views {tuple(names)} need masks; end their policies with a PatchMask")
    return torch.stack(masks)


def _head(heads: nn.Module, kind: str) -> PrototypeHead:
    assert isinstance(heads, nn.ModuleDict)
    head = heads[kind if kind in heads else "image"]
    assert isinstance(head, PrototypeHead)
    return head


def _tokens(encoded: Encoded, part: str) -> Tensor:
    """(B, patches, d)."""
    return encoded.grid_part(part).flatten(2).transpose(1, 2)
