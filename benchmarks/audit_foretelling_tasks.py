"""Tasks that need one factor each, for ``audit_foretelling.py``: images, targets and a linear probe.

The labels of colour, light and side are those of the photographs as they are; the other images are made by
operations and with parameters that no audit uses. Every probe reads the features of single images.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from equissl.evaluate.audit.references import luminance

# The audits; of each task the factors of them that it needs, and their kind.
AUDITS = (
    "hue",
    "saturation",
    "brightness",
    "contrast",
    "horizontal_flip",
    "quarter_turns",
    "rotation",
    "crop",
    "blur",
)
NEEDS: Mapping[str, tuple[str, ...]] = {
    "hue": ("hue",),
    "saturation": ("saturation",),
    "brightness": ("brightness",),
    "contrast": ("contrast",),
    "horizontal_flip": ("horizontal_flip",),
    "quarter_turns": ("quarter_turns",),
    "rotation": ("rotation",),
    "position": ("crop_top", "crop_left"),
    "scale": ("crop_height", "crop_width"),
    "blur": ("blur_sigma",),
}
COLOUR = ("hue", "saturation", "brightness", "contrast")
GEOMETRY = ("horizontal_flip", "quarter_turns", "rotation", "position", "scale")
KIND = {task: "colour" if task in COLOUR else "geometry" if task in GEOMETRY else task for task in NEEDS}

Made = tuple[Tensor, dict[str, Tensor]]  # images, and targets by task: float64 numbers or int64 classes
HUES, MAGENTA, MIN_CHROMA = 6, 5, 0.05
STEPS = 8  # of a full turn
PLACES = 3  # in a row and in a column
PLACED = (10, 20)  # pixels of the side of an object
COARSE = (32, 22, 16, 12)  # pixels that are left of a side


def natural(images: Tensor, seed: int) -> Made:
    """The images (N, 3, H, W) themselves: which hue dominates, how bright, colourful and rich in contrast
    they are, and whether the right half is the brighter one.

    The hue is -1 where there is hardly any colour, and for magenta, which half a percent of the images have.
    """
    grey, half = luminance(images), images.shape[3] // 2
    chroma = images.amax(1) - images.amin(1)
    hue = _dominant_hue(images, chroma)
    side = grey[..., half:].mean((1, 2, 3)) > grey[..., :half].mean((1, 2, 3))
    return images, {
        "hue": torch.where((chroma.mean((1, 2)) > MIN_CHROMA) & (hue != MAGENTA), hue, -1),
        "brightness": grey.mean((1, 2, 3)).double(),
        "saturation": chroma.mean((1, 2)).double(),
        "contrast": grey.flatten(1).std(1).double(),
        "horizontal_flip": side.long(),
    }


def turned(images: Tensor, seed: int) -> Made:
    """Which of four quarter turns: which side of the image is up."""
    turns = torch.randint(4, (len(images),), generator=torch.Generator().manual_seed(seed))
    made = [torch.rot90(image, int(k), (1, 2)) for image, k in zip(images, turns, strict=True)]
    return torch.stack(made), {"quarter_turns": turns}


def tilted(images: Tensor, seed: int) -> Made:
    """By how many steps of 45 degrees the camera was turned; only the middle is left, so no border shows."""
    steps = torch.randint(STEPS, (len(images),), generator=torch.Generator().manual_seed(seed))
    angle, zoom = 2 * math.pi * steps / STEPS, 1 / math.sqrt(2)
    cos, sin, zero = angle.cos() * zoom, angle.sin() * zoom, torch.zeros_like(angle)
    matrix = torch.stack([torch.stack([cos, -sin, zero], 1), torch.stack([sin, cos, zero], 1)], 1)
    grid = F.affine_grid(matrix, list(images.shape), align_corners=False)
    made = F.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    return made, {"rotation": steps}


def placed(images: Tensor, seed: int) -> Made:
    """In which of nine cells an object lies and how large it is: an image on a smooth one."""
    generator, side = torch.Generator().manual_seed(seed), images.shape[3]
    cells = torch.randint(PLACES**2, (len(images),), generator=generator)
    sides = torch.randint(PLACED[0], PLACED[1] + 1, (len(images),), generator=generator)
    behind = F.interpolate(F.adaptive_avg_pool2d(images.roll(1, 0), 4), (side, side), mode="bicubic")
    made = behind.clamp(0, 1)
    for k, (cell, small) in enumerate(zip(cells.tolist(), sides.tolist(), strict=True)):
        top, left = (round((side - small) * c / (PLACES - 1)) for c in divmod(cell, PLACES))
        object_ = F.interpolate(images[k : k + 1], (small, small), mode="bilinear", antialias=True)[0]
        made[k, :, top : top + small, left : left + small] = object_
    return made, {"position": cells, "scale": sides.double()}


def coarse(images: Tensor, seed: int) -> Made:
    """To how many pixels an image was once reduced."""
    levels = torch.randint(len(COARSE), (len(images),), generator=torch.Generator().manual_seed(seed))
    made, side = images.clone(), images.shape[3]
    for level, pixels in enumerate(COARSE):
        small = F.interpolate(images[levels == level], (pixels, pixels), mode="bilinear", antialias=True)
        made[levels == level] = F.interpolate(small, (side, side), mode="bicubic").clamp(0, 1)
    return made, {"blur": levels}


SETS: Mapping[str, Callable[[Tensor, int], Made]] = {
    "natural": natural,
    "turned": turned,
    "tilted": tilted,
    "placed": placed,
    "coarse": coarse,
}


def probe_score(x: Tensor, y: Tensor, x_test: Tensor, y_test: Tensor) -> float:
    """Balanced accuracy of a logistic regression or R2 of a ridge regression on standardised features.

    Args:
        x, x_test: (N, D) and (M, D).
        y, y_test: (N,) and (M,): int64 classes, -1 for none, or float64 numbers.
    """
    from sklearn.linear_model import LogisticRegression, RidgeCV
    from sklearn.metrics import balanced_accuracy_score, r2_score
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if y.is_floating_point():
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-1, 5, 13)))
        model.fit(_array(x), _array(y))
        return float(r2_score(_array(y_test), model.predict(_array(x_test))))
    known, known_test = y >= 0, y_test >= 0
    model = make_pipeline(
        StandardScaler(),
        GridSearchCV(
            LogisticRegression(class_weight="balanced", max_iter=1000, tol=1e-3),
            {"C": (0.001, 0.01, 0.1)},
            scoring="balanced_accuracy",
            cv=3,
        ),
    )
    model.fit(_array(x[known]), y[known].numpy())
    return float(
        balanced_accuracy_score(y_test[known_test].numpy(), model.predict(_array(x_test[known_test])))
    )


def _array(values: Tensor) -> NDArray[np.float64]:
    return values.double().numpy()


def _dominant_hue(images: Tensor, chroma: Tensor) -> Tensor:
    """The range of 60 degrees, centred on red, yellow, ..., that holds most chroma: (N,) int64."""
    red, green, blue = images.unbind(1)
    angle = torch.atan2(math.sqrt(3) * (green - blue), 2 * red - green - blue)
    sector = ((angle / (2 * math.pi) * HUES).round().long() % HUES).flatten(1)
    weights = torch.zeros(len(images), HUES).scatter_add_(1, sector, chroma.flatten(1))
    return weights.argmax(1)
