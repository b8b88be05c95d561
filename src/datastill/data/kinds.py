"""The kinds of examples that a source can hold, and how they become tensors of three splits with a space."""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from ..errors import UserError
from ..runlog import say
from ..space import Pixels, Space, Whitened
from ..space.whitened import must_be_whitened
from ..space.whitening import Whitening, fitted, keep, known
from .images import Channels, common_channels, convert, must_be_converted, padded
from .on_disk import OnDisk
from .real import PIECE, SLOW_VALUES, Split, statistics
from .settings import DataSettings

Splits = dict[str, Split]
Finish = Callable[[Splits], tuple[Splits, Space]]
"""Function of the splits by role: returns them in their final form, and the space that follows from train."""


@dataclass(frozen=True, kw_only=True)
class Kind(abc.ABC):
    """A kind of examples; `Labelled.examples` holds them as the source gives them."""

    noun: ClassVar[str]
    """The word for an example in messages."""
    settings: ClassVar[tuple[str, ...]] = ()
    """The settings of data that are for this kind alone."""

    @abc.abstractmethod
    def read(self, parts: dict[str, Any], settings: DataSettings) -> tuple[Sequence[Tensor | OnDisk], Finish]:
        """Return the examples of each split as a tensor, and how the splits are finished once they are cut.

        Identical examples have identical values in the tensors.

        Raises:
            UserError: examples cannot be used, or those of one split do not fit those of another.
        """


@dataclass(frozen=True, kw_only=True)
class Images(Kind):
    """Images, as tensors (n, c, h, w) of bytes."""

    noun = "image"
    settings = ("channels", "resize", "fit", "pad", "whiten", "skip_unreadable", "store")

    def read(
        self, parts: dict[str, UInt8[Tensor, "n c h w"] | OnDisk], settings: DataSettings
    ) -> tuple[Sequence[Tensor | OnDisk], Finish]:
        """Return the images of one size, with the channels and borders of the settings."""
        pieces = list(parts.values())
        common = common_channels(pieces)
        must_be_converted(pieces[0], settings.channels)
        channels = common if settings.channels == "keep" else settings.channels
        change = partial(_prepared, channels=channels, margin=settings.pad)
        images = [piece.changed(change) if isinstance(piece, OnDisk) else change(piece) for piece in pieces]
        if settings.whiten:
            must_be_whitened(tuple(images[0].shape[1:]))
        return images, partial(_with_pixels, whiten=settings.whiten)


IMAGES = Images()


def _prepared(images: UInt8[Tensor, "n c h w"], channels: Channels, margin: int) -> UInt8[Tensor, "n d h2 w2"]:
    return padded(convert(images, channels), margin)


def _with_pixels(splits: Splits, whiten: float) -> tuple[Splits, Space]:
    images = splits["train"].images
    mean, std = statistics(images)
    channels, height, width = images.shape[1:]
    pixels = Pixels(mean=tuple(mean.tolist()), std=tuple(std.tolist()), shape=(channels, height, width))
    return splits, whitened(pixels, splits["train"], whiten) if whiten else pixels


def whitened(pixels: Pixels, train: Split, ridge: float) -> Whitened:
    """Return the space of whitened images, after m and W were found or computed; see `Whitened`.

    Args:
        pixels: the space of the images as they are.
        train: the images that the whitening follows from.
        ridge: see `Whitened.ridge`.
    """
    found = known(train.sha256, ridge) or keep(train.sha256, ridge, _fitted(pixels, train, ridge))
    plain = {"mean": pixels.mean, "std": pixels.std, "shape": pixels.shape}
    return Whitened(**plain, ridge=ridge, sha256=train.sha256, probe=found.probe)


def _fitted(pixels: Pixels, train: Split, ridge: float) -> Whitening:
    values = pixels.stored_bytes
    if values > SLOW_VALUES:
        say(f"computing the whitening of images of {values} values; this can take minutes, once")
    pieces = (pixels.scaled(piece, torch.float64).flatten(1) for piece in train.images.split(PIECE))
    return fitted(pieces, ridge)


def must_have_effect(kind: Kind, settings: DataSettings, name: str) -> None:
    """Raise a `UserError` if a setting was changed that is for another kind of examples than the data `name` has."""
    usual = DataSettings()
    others = (("text", "sentences"), ("categories", "rows"), ("missing", "rows"))
    for setting, noun in (*((each, "images") for each in Images.settings), *others):
        changed = getattr(settings, setting) != getattr(usual, setting)
        if changed and setting not in kind.settings:
            raise UserError(
                f"{setting} is set, but has no effect: it is for {noun}, and {name!r} has {kind.noun}s; leave it out"
            )
