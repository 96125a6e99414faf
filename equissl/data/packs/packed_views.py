"""Images of a pack, decoded whenever they are used or all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from equissl.data.base import BadImage, Dataset, Partners, Resident
from equissl.data.batch import Batch
from equissl.data.files.streamed import Reader
from equissl.data.loader import ahead
from equissl.data.packs.packed import Pack
from equissl.params import Params, Space
from equissl.progress import Progress, no_progress


class PackedViews(Dataset):
    """Some images of a pack.

    One that turns out damaged is replaced by the next that can be decoded, with that one's factors and
    label, and joins ``bad_images``.

    Args:
        rows: (N,) of the pack.
        params, target: of those rows.
        reader: the size, the threads, and how many bad images are too many.
        swap_channels: exchange red and blue.
    """

    def __init__(
        self,
        pack: Pack,
        rows: Tensor,
        params: Params,
        target: Tensor,
        classes: tuple[str, ...],
        reader: Reader,
        paired: bool = False,
        swap_channels: bool = False,
    ):
        self._pack, self._rows, self._params, self._target = pack, rows, params, target
        self._classes, self._reader, self._swap = classes, reader, swap_channels
        self._groups = pack.owner[rows]
        self._partners = Partners(self._groups) if paired else None
        self._failed: dict[int, BadImage] = {}

    @property
    def spaces(self) -> Mapping[str, Space]:
        names = ("image",) if self._partners is None else ("image", "partner")
        return dict.fromkeys(names, self._params.space)

    @property
    def labels(self) -> Tensor:
        return self._target

    @property
    def classes(self) -> tuple[str, ...]:
        return self._classes

    @property
    def groups(self) -> Tensor:
        return self._groups

    @property
    def bad_images(self) -> tuple[BadImage, ...]:
        failed = dict(self._failed)  # a worker may be adding to it
        return (*self._pack.bad, *(failed[i] for i in sorted(failed)))

    @property
    def files(self) -> tuple[str, ...]:
        views = self._pack.view[self._rows].tolist()
        owners = [self._pack.owners[i] for i in self._groups.tolist()]
        return tuple(f"{owner}/image_{view}.jpg" for owner, view in zip(owners, views, strict=True))

    def batch(self, index: Tensor, epoch: int = 0) -> Batch:
        """The samples ``index``, decoded.

        Raises:
            UserError: by now too many images have turned out to be bad.
        """
        chosen = {"image": index}
        if self._partners is not None:
            chosen["partner"] = self._partners.of(index, epoch)
        images, params = {}, {}
        for name, wanted in chosen.items():
            images[name], used = self._decoded(wanted)
            params[name] = self._params[used]
            chosen[name] = used
        return Batch(images, params, self._target[chosen["image"]], index)

    def resident(self, progress: Progress = no_progress) -> Resident:
        """All of them in memory, the damaged ones left out."""
        size, threads = self._reader.size, self._reader.threads
        good: list[int] = []
        images = torch.empty(len(self), 3, size, size, dtype=torch.uint8)
        for number, found in enumerate(ahead(self._decode, range(len(self)), 4 * threads, threads)):
            if isinstance(found, BadImage):
                self._failed[number] = found
            else:
                images[len(good)] = found
                good.append(number)
            if number % 100 == 99 or number + 1 == len(self):
                progress("reading images", number + 1, len(self))
        self._reader.refuse(self.bad_images, len(self) + len(self._pack.bad))
        rows, files = torch.tensor(good), self.files
        whole = Resident(images[: len(good)], self._params[rows], self._target[rows], self._classes)
        return replace(
            whole,
            group=self._groups[rows],
            paired=self._partners is not None,
            skipped=self.bad_images,
            sources=tuple(files[i] for i in good),
        )

    def _decoded(self, wanted: Tensor) -> tuple[Tensor, Tensor]:
        size, threads = self._reader.size, self._reader.threads
        images, used = torch.empty(len(wanted), 3, size, size, dtype=torch.uint8), wanted.clone()
        for k, (image, number) in enumerate(ahead(self._readable, wanted.tolist(), 2 * threads, threads)):
            images[k], used[k] = image, number
        return images, used

    def _readable(self, number: int) -> tuple[Tensor, int]:
        """Image ``number``, or the next that can be read; ``refuse`` ends the search if there is none."""
        while True:
            found = self._failed.get(number) or self._decode(number)
            if isinstance(found, Tensor):
                return found, number
            self._failed[number] = found
            self._reader.refuse(self.bad_images, len(self) + len(self._pack.bad))
            number = (number + 1) % len(self)

    def _decode(self, number: int) -> Tensor | BadImage:
        found = self._pack.image(int(self._rows[number]), self._reader.size)
        return found.flip(0) if self._swap and isinstance(found, Tensor) else found
