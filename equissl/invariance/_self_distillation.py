"""A student that assigns images and masked patches to prototypes as a slow teacher does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from equissl.distributed import mean
from equissl.encoder.encoder import Encoded, Encoder
from equissl.losses.distillation import centred, dino_loss_of, patch_loss, sinkhorn
from equissl.losses.precision import check_temperature, to_float32
from equissl.nn.ema import Teacher, check_momentum, ema_momentum
from equissl.nn.heads import HeadNorm, HiddenNorm, project
from equissl.nn.prototype_head import PrototypeHead, PrototypeNorm
from equissl.params import PATCH_MASK, Space
from equissl.views import View

Balance = Literal["center", "sinkhorn"]


@dataclass(frozen=True, kw_only=True)
class Assigning:
    """Heads, teacher and schedules of iBOT and DINOv2.

    Args:
        projector: hidden widths and the bottleneck's.
        hidden_norm: BatchNorm in the projector; transformers' heads have none.
        prototypes: outputs that images and patches are assigned to.
        separate: patches have a head of their own; otherwise both share one (iBOT).
        prototype_norm: lengths of the prototypes: "fixed" at 1, or "learned".
        temperature: of the student, above 0.
        teacher_temperature, patch_temperature: of the teacher for images and for patches, at the start and
            after the warm-up.
        warmup: share of training over which they move linearly, in [0, 1].
        balance: "center" subtracts a running mean of the teacher's outputs; "sinkhorn" balances each batch.
        center_momentum: of that mean.
        freeze_prototypes: share of training during which the last layer is frozen.
        momentum: of the teacher at the first step; grows to 1 along a cosine.
        copy_buffers: also move the teacher's BatchNorm buffers.
        batch_norm: whether BatchNorm in heads and teacher sees all views at once or one by one.
    """

    projector: tuple[int, ...] = (2048, 2048, 256)
    hidden_norm: HiddenNorm = "none"
    prototypes: int = 8192
    separate: bool = False
    prototype_norm: PrototypeNorm = "fixed"
    temperature: float = 0.1
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    patch_temperature: tuple[float, float] = (0.04, 0.07)
    warmup: float = 0.3
    balance: Balance = "center"
    center_momentum: float = 0.9
    freeze_prototypes: float = 0.01
    momentum: float = 0.996
    copy_buffers: bool = False
    batch_norm: HeadNorm = "all_views"

    def __post_init__(self) -> None:
        check_temperature("temperature", self.temperature)
        for name in ("teacher_temperature", "patch_temperature"):
            for value in getattr(self, name):
                check_temperature(name, value)
        check_momentum(self.momentum)
        for name in ("warmup", "center_momentum", "freeze_prototypes"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1], got {getattr(self, name)}")
        if self.prototypes < 2:
            raise ValueError(f"prototypes must be at least 2, got {self.prototypes}")


@dataclass(frozen=True)
class Assigned:
    """Losses of images and of masked patches, (); bottlenecks of all crops, (B, projector[-1]) each."""

    images: Tensor
    patches: Tensor
    embeddings: tuple[Tensor, ...]


class Distillation(nn.Module):
    """The student's heads, the teacher, and its running means; what iBOT and DINOv2 have in common."""

    center: Tensor
    patch_center: Tensor
    progress: Tensor

    def __init__(self, config: Assigning, encoder: Encoder, part: str):
        super().__init__()
        self.config, self.part = config, part
        width = encoder.width(part)
        self.head = nn.ModuleDict({"image": PrototypeHead(width, config)})
        if config.separate:
            self.head["patch"] = PrototypeHead(width, config)
        self.teacher = Teacher(encoder, self.head, part, config.batch_norm, config.copy_buffers)
        self.register_buffer("center", torch.zeros(config.prototypes))
        self.register_buffer("patch_center", torch.zeros(config.prototypes))
        self.register_buffer("progress", torch.zeros(()))  # a tensor, so that no step waits for the device
        self.fresh: tuple[Tensor, Tensor] | None = None  # mean outputs that wait for the end of the step

    def forward(
        self, large: Sequence[Encoded], small: Sequence[Encoded], images: Sequence[Tensor], mask: Tensor
    ) -> Assigned:
        """
        Args:
            large, small: features of the student's crops; patches of the large ones were masked.
            images: of the large crops, unmasked, for the teacher.
            mask: (len(large), B, patches), 1 where a patch was masked.
        """
        c = self.config
        own, patch = _head(self.head, "image"), _head(self.head, "patch")
        frozen = self.progress < c.freeze_prototypes
        embedded = project(own.embed, [e.part(self.part) for e in (*large, *small)], c.batch_norm)
        student = [own.assign(e, frozen) for e in embedded]
        tokens = torch.cat([_tokens(e, self.part) for e in large])
        places = patch.assign(patch.embed(tokens.flatten(0, 1)), frozen).unflatten(0, tokens.shape[:2])  # type: ignore[no-untyped-call]
        with torch.no_grad():
            wanted, patches = self._taught(images, mask.flatten(0, 1))
        return Assigned(
            dino_loss_of(student, wanted, c.temperature),
            patch_loss(places, patches, mask.flatten(0, 1), c.temperature),
            embedded,
        )

    def _taught(self, images: Sequence[Tensor], mask: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """What the teacher says of the large crops, (B, K) each, and of their patches, (rows, patches, K)."""
        c = self.config
        seen = self.teacher.encode(images)
        own, patch = (_head(self.teacher.head, kind) for kind in ("image", "patch"))
        image = torch.cat(project(own, [e.part(self.part) for e in seen], c.batch_norm))
        tokens = torch.cat([_tokens(e, self.part) for e in seen])
        places = patch(tokens.flatten(0, 1))
        if self.training:
            self.fresh = to_float32(image).mean(0), to_float32(places).mean(0)
        warm = (self.progress / c.warmup).clamp(max=1) if c.warmup else 1.0
        first, second = (s + (e - s) * warm for s, e in (c.teacher_temperature, c.patch_temperature))
        count = len(images[0])
        if c.balance == "center":
            wanted, patches = centred(image, self.center, first), centred(places, self.patch_center, second)
        else:
            wanted, patches = sinkhorn(image, first), sinkhorn(places, second, mask.flatten())
        return torch.split(wanted, count), patches.view(*mask.shape, -1)

    @torch.no_grad()
    def after_step(self, encoder: Encoder, progress: float) -> None:
        c = self.config
        self.teacher.update_ema(encoder, self.head, ema_momentum(c.momentum, progress))
        self.progress.fill_(progress)
        if self.fresh is not None:
            for center, fresh in zip((self.center, self.patch_center), self.fresh, strict=True):
                center.lerp_(mean(fresh).to(center.dtype), 1 - c.center_momentum)
            self.fresh = None


def check_masks(encoder: Encoder, spaces: Mapping[str, Space], views: Sequence[str]) -> None:
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
    found = heads[kind if kind in heads else "image"]
    assert isinstance(found, PrototypeHead)
    return found


def _tokens(encoded: Encoded, part: str) -> Tensor:
    """(B, patches, d)."""
    return encoded.grid_part(part).flatten(2).transpose(1, 2)
