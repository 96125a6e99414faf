"""Images that are no copies of one another: copies in both halves of a split make probes look better."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from equissl.augment.batched import as_float
from equissl.data.base import Dataset

SIDE = 8  # of the thumbnails that are compared
ALIKE = 0.02  # root mean square difference of the thumbnails of copies, of the range from black to white,
ALIKE_TO_OTHERS = 0.1  # and of the median difference between two images


def distinct_images(dataset: Dataset, index: Tensor, image: str = "image", batch_size: int = 256) -> Tensor:
    """The samples ``index`` (N,) without those whose image is a copy of one before them.

    Copies are images whose thumbnails differ by less than 2 % of the range and by less than a tenth of what
    two images differ by: equal files, other sizes and compressions of them. Images of one group are kept, as
    they are never split.
    """
    thumbnails = []
    for rows in torch.split(index, batch_size):
        x = as_float(dataset.batch(rows).images[image])
        thumbnails.append(F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True).flatten(1))
    x = torch.cat(thumbnails)
    return index[~copies(x, dataset.groups[index])]


def copies(thumbnails: Tensor, groups: Tensor, chunk: int = 1024) -> Tensor:
    """Which images are copies of an earlier one of another group: (N, D), (N,) -> bool (N,)."""
    different = torch.unique(thumbnails[:chunk], dim=0)  # many equal images would make the median nothing
    others = torch.pdist(different).median() if len(different) > 1 else torch.zeros(())
    limit = min(ALIKE * thumbnails.shape[1] ** 0.5, ALIKE_TO_OTHERS * float(others))
    found = torch.zeros(len(thumbnails), dtype=torch.bool)
    order = torch.arange(len(thumbnails))
    for rows in torch.split(order, chunk):
        near = torch.cdist(thumbnails[rows], thumbnails, compute_mode="donot_use_mm_for_euclid_dist") <= limit
        near &= (order < rows[:, None]) & (groups != groups[rows][:, None])
        found[rows] = near.any(1)
    return found
