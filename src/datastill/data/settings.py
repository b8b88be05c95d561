"""The settings of real data."""

from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import tyro

from ..errors import UserError, unknown
from ..space.tokens import MOST_DIMENSIONS, MOST_TOKENS, MOST_WORDS, must_be_bounded
from ..space.whitened import LARGEST_RIDGE, LEAST_RIDGE
from ..storage.records import must_have_types
from .images import Channels, Fit, Reading, Store

LARGEST_SIDE = 1024
"""Largest side in pixels to which images can be resized."""

LARGEST_PAD = 256
"""Largest number of pixels that can be added on each side."""


@dataclass(frozen=True, kw_only=True)
class TextSettings:
    """How sentences become sequences of vectors."""

    length: int = 32
    """Words of a sentence: longer ones are cut, shorter ones padded."""
    words: int = 2000
    """Words of the vocabulary: the most frequent ones of train that occur at least twice there."""
    dim: int = 64
    """Numbers in the vector of a word; the vectors are fixed, and drawn from the letters of each word."""
    seed: int = 0
    """Seed of the vectors."""

    def __post_init__(self) -> None:
        must_have_types(self)
        for name, most in (("length", MOST_TOKENS), ("words", MOST_WORDS), ("dim", MOST_DIMENSIONS)):
            _between(f"text.{name}", getattr(self, name), 1, most)
        must_be_bounded(self.words, self.dim)
        _between("text.seed", self.seed, 0, 2**62)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The settings of real data: its name, and how images and splits are made."""

    name: str = "digits"
    """Name of the data: a known name, the name of a folder in `$DATASTILL_DATA`, the path of a folder or
    of one table (.csv, .parquet or .npz), or owner/name on the Hugging Face hub."""
    config: str = ""
    """Configuration of data on the hub, or of a folder in the hub's layout, that has several."""
    image_column: str = ""
    """Column of a table with the images, or with the sentences; empty: found by its type or by a usual name such as
    image, img, text or sentence."""
    label_column: str = ""
    """Column of a table with the labels; empty: found by its type or by a usual name such as label, class or target."""
    categories: tuple[str, ...] = ()
    """Columns of a table of rows that hold categories: each becomes a column of 0 and 1 for each value in train, such
    as kind=red."""
    missing: Literal["refuse", "mean"] = "refuse"
    """What is done with missing values of rows: refuse the table, or take the mean of the column in train."""
    train_split: str = ""
    """Split of the source to distil; empty: found by a usual name such as train."""
    validation_split: str = ""
    """Split of the source for choosing settings and iterations; empty: found by a usual name such as validation, and
    otherwise cut off train."""
    test_split: str = ""
    """Split of the source for the final score; empty: found by a usual name such as test, and otherwise cut off
    train."""
    channels: Channels = "keep"
    """Conversion of the images: none, to grey (ITU-R 601 luma), or to colour (repeating the grey channel)."""
    resize: int | None = None
    """Height and width in pixels to resize to (bilinear, antialiased), 1 to 1024; None keeps the size."""
    fit: Fit = "stretch"
    """How resizing makes an image square: stretch it, crop it to the square in its middle, or pad it with black
    borders."""
    pad: int = 0
    """Black pixels added on each side after resizing, 0 to 256: resize=20 and pad=4 put the 16x16 digits of USPS in
    the middle of 28x28 images, like the digits of MNIST."""
    whiten: float = 0.0
    """Whiten the images (ZCA): the variance that is added along each direction, for pixels of variance 1; 0.1 is usual.
    Networks see whitened images, now and in every later use of the set. 0: no whitening."""
    validation: float = 0.1
    """Share of each class of train that becomes validation, in (0, 1), if the source has no validation split."""
    seed: int = 0
    """Seed of the validation split. The test split does not depend on it."""
    skip_unreadable: bool = False
    """Leave out images that cannot be read, and list them, instead of stopping."""
    store: Store = "auto"
    """Where the decoded images are while they are used: in memory, or on disk, in a file of the cache folder of which
    each batch is read when it is needed (docs/own-data.md). auto: on disk if memory is short."""
    text: TextSettings = field(default_factory=TextSettings)
    """How sentences become sequences of vectors; for data of texts."""
    in_memory: tyro.conf.Suppress[bool] = False
    """Whether the data was given in Python (arrays, a table, a torch dataset); then `name` cannot load it."""

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise UserError("the name of the data is empty; give a known name, e.g. digits, or the path of a folder")
        if not self.name.isprintable():
            raise UserError(f"the name of the data is {self.name!r}, but must consist of printable characters")
        if self.channels not in get_args(Channels):
            raise unknown("channels", self.channels, get_args(Channels))
        if self.fit not in get_args(Fit):
            raise unknown("fit", self.fit, get_args(Fit))
        if self.store not in get_args(Store):
            raise unknown("store", self.store, get_args(Store))
        must_have_types(self)
        if self.resize is not None:
            _between("resize", self.resize, 1, LARGEST_SIDE, " pixels")
        elif self.fit != "stretch":
            raise UserError(
                f"fit is {self.fit!r}, but the images keep their size; give resize (one side in pixels) too"
            )
        _between("pad", self.pad, 0, LARGEST_PAD, " pixels")
        if self.whiten and not LEAST_RIDGE <= self.whiten <= LARGEST_RIDGE:
            raise UserError(
                f"whiten is {self.whiten:g}, but must be 0 (no whitening) or from {LEAST_RIDGE:g} to "
                f"{LARGEST_RIDGE:g}, e.g. 0.1"
            )
        if not 0 < self.validation < 1:
            raise UserError(f"validation is {self.validation}, but must be between 0 and 1, e.g. 0.1")

    @property
    def reading(self) -> Reading:
        """The settings for reading examples and labels."""
        return Reading(
            side=self.resize,
            fit=self.fit,
            skip_unreadable=self.skip_unreadable,
            image=self.image_column,
            label=self.label_column,
            categories=self.categories,
            splits=(self.train_split, self.validation_split, self.test_split),
            store=self.store,
        )

    def named(self, name: str) -> "DataSettings":
        """Return these settings for the data called `name`; unchanged if `name` is empty."""
        return replace(self, name=name, in_memory=False) if name else self


def _between(name: str, value: int, least: int, most: int, unit: str = "") -> None:
    if not least <= value <= most:
        raise UserError(f"{name} is {value}, but must be from {least} to {most}{unit}")
