"""Image files that a table names, with measured factors, groups and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Literal

from equissl.data.base import Data, Dataset, Split, check_split
from equissl.data.files.decode import MAX_DECODING_GB
from equissl.data.files.depth import IntensityRange
from equissl.data.files.pixels import Fit
from equissl.data.files.split import split_indices
from equissl.data.image_folder import ImageFolder, write_images
from equissl.data.tables.cells import TABLE_SUFFIXES, read_cells
from equissl.data.tables.description import TableContent, describe, remarks
from equissl.data.tables.kinds import split_factors
from equissl.data.tables.listing import group_names, listing_of
from equissl.data.tables.schema import Said, TableSchema, settle
from equissl.errors import FieldError
from equissl.params import Space
from equissl.progress import Progress, no_progress
from equissl.storage import write_text


@dataclass(frozen=True)
class ImageTable(Data):
    """Images that a table names, with what was measured of each; read as those of an ``ImageFolder``.

    Paths are in the column ``file``, or the first one, and relative to the table. Columns with a kind are
    factors: "real", "circular(PERIOD)", "binary", "category", "quaternion" (the columns NAME_w, NAME_x,
    NAME_y and NAME_z) or "time". Kinds stand in ``factors``, in the file TABLE.schema.json, or in the header
    (``yaw:circular(360)``); a column that ends in ``_degrees`` is circular(360) unless said otherwise.

    >>> import tempfile, torch
    >>> folder = tempfile.TemporaryDirectory()
    >>> data = ImageTable.example(Path(folder.name))
    >>> batch = data.open("train").batch(torch.tensor([0]))
    >>> sorted(batch.images), batch.params["partner"].space.names
    (['image', 'partner'], ('yaw_degrees', 'ripeness', 'variety', 'picked'))
    >>> folder.cleanup()

    Args:
        path: the table: ``.csv``, ``.jsonl`` or ``.parquet`` (needs the extra ``tables``).
        size: side in pixels of the stored square.
        factors: ``NAME:KIND`` each, beside those of the table and before them; NAME:none leaves one out.
        group: the column that tells which images belong together: an object, a patient, a plant. A batch
            then has "partner", another image of the same group.
        label: the column of class labels; ``label``, if there is one, if empty.
        split_by: "group" keeps groups together, so that no test image is of a group trained on; "image" if
            empty.
        schema: what the columns are, settled; read from the table if absent. A run keeps it.
        fit: how an image becomes a square; this and all that follow are as of ``ImageFolder``.
    """

    whole: ClassVar[str] = "all"
    settled_by_files: ClassVar[tuple[str, ...]] = ("schema", "integer_range", "float_range")

    path: str
    size: int = 224
    factors: tuple[str, ...] = ()
    group: str = ""
    label: str = ""
    split_by: Literal["", "image", "group"] = ""
    schema: TableSchema | None = None
    fit: Fit = "crop"
    max_bad_fraction: float = 0.05
    test_fraction: float = 0.1
    memory_gb: float = 2.0
    decoding_gb: float = MAX_DECODING_GB
    num_workers: int = 0
    limit: int | None = None
    integer_range: tuple[float, float] | None = None
    float_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.path.lower().endswith(TABLE_SUFFIXES):
            raise FieldError(f"path={self.path!r}: expected a table, {', '.join(TABLE_SUFFIXES)}")
        split_factors(self.factors)
        _ = self._folder  # checks the fields that it has too

    @property
    def spaces(self) -> Mapping[str, Space]:
        schema = self.settled()
        return dict.fromkeys(("image", "partner") if schema.group else ("image",), schema.space)

    @property
    def intensity(self) -> IntensityRange:
        return self._folder.intensity

    @property
    def root(self) -> str:
        return str(Path(self.path).parent)

    def settled(self) -> TableSchema:
        """What the columns are: ``schema``, or read from the table.

        Raises:
            UserError: the table cannot be read, or its cells do not fit their kinds.
        """
        return self.schema or settle(read_cells(self.path), self.said)[0]

    @property
    def said(self) -> Said:
        """What these settings say of the columns."""
        return Said(self.factors, self.group, self.label, self.split_by)

    def like(self, other: Data) -> ImageTable:
        """With the scales and levels of the factors of another table, so that both state them alike."""
        if not isinstance(other, ImageTable):
            return self
        known = {(m.factor.name, type(m.factor)): m for m in other.settled().factors}
        mine = self.settled()
        factors = tuple(known.get((m.factor.name, type(m.factor)), m) for m in mine.factors)
        return replace(self, schema=replace(mine, factors=factors))

    def resolve(self, progress: Progress = no_progress) -> ImageTable:
        content = self.read()
        found = self._folder.with_ranges(content.listing, progress)
        return replace(
            self,
            schema=content.schema,
            integer_range=found.integer_range,
            float_range=found.float_range,
        )

    def open(self, split: Split, progress: Progress = no_progress) -> Dataset:
        check_split(split)
        return self._open(split, progress)

    def open_all(self, progress: Progress = no_progress) -> Dataset:
        """Every row."""
        return self._open(None, progress)

    def read(self) -> TableContent:
        """The table, without its images.

        Raises:
            UserError: it cannot be read, or its cells do not fit their kinds.
        """
        cells = read_cells(self.path)
        schema, choices = (self.schema, ()) if self.schema else settle(cells, self.said)
        return TableContent(cells, schema, choices, listing_of(cells, schema))

    def remarks(self) -> tuple[str, ...]:
        return tuple(remarks(self.read()))

    def describe(self) -> list[str]:
        """Lines on the table: columns, groups, labels, splits, confounding, warnings."""
        return describe(self.read(), self.test_fraction)

    def _open(self, split: Split | None, progress: Progress) -> Dataset:
        content = self.read()
        listing, schema = content.listing, content.schema
        if split is None:
            return self._folder.read(listing, progress)
        by_group = schema.split_by == "group"
        groups = group_names(content.cells, schema, listing.files) if by_group else ()
        rows = split_indices(listing.root, listing.files, split, self.test_fraction, groups)
        return self._folder.read(listing.select(rows), progress, listing)

    @property
    def _folder(self) -> ImageFolder:
        """The folder of the table, with the settings that both have."""
        shared = {f.name for f in fields(ImageFolder)} & {f.name for f in fields(self)} - {"path"}
        return ImageFolder(self.root, **{name: getattr(self, name) for name in shared})

    @classmethod
    def example(cls, folder: Path) -> ImageTable:
        write_images(folder, {"plants": 24})
        header = "file,plant,yaw_degrees,ripeness:real,variety:category,picked:time,label"
        rows = [
            f"plants/{k}.png,plant {k % 6},{15 * k},{k * 0.1:.1f},{'red' if k % 4 else 'green'},"
            f"2024-05-{1 + k:02d},{'early' if k < 12 else 'late'}"
            for k in range(24)
        ]
        write_text(folder / "plants.csv", "\n".join([header, *rows]) + "\n")
        return cls(str(folder / "plants.csv"), size=8, group="plant", test_fraction=0.25, num_workers=1)
