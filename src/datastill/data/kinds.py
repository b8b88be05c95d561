"""The kinds of examples that a source can hold, and how they become tensors of three splits with a space."""

import abc
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import UInt8
from torch import Tensor

from ..errors import UserError
from ..space import Pixels, Space
from .images import convert, match, padded
from .real import Split, statistics
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
    def read(self, parts: dict[str, Any], settings: DataSettings) -> tuple[list[Tensor], Finish]:
        """Return the examples of each split as a tensor, and how the splits are finished once they are cut.

        Identical examples have identical values in the tensors.

        Raises:
            UserError: examples cannot be used, or those of one split do not fit those of another.
        """


@dataclass(frozen=True, kw_only=True)
class Images(Kind):
    """Images, as tensors (n, c, h, w) of bytes."""

    noun = "image"
    settings = ("channels", "resize", "fit", "pad", "skip_unreadable")

    def read(self, parts: dict[str, UInt8[Tensor, "n c h w"]], settings: DataSettings) -> tuple[list[Tensor], Finish]:
        """Return the images of one size, with the channels and borders of the settings."""
        pieces = match(list(parts.values()))
        return [padded(convert(piece, settings.channels), settings.pad) for piece in pieces], _with_pixels


IMAGES = Images()


def _with_pixels(splits: Splits) -> tuple[Splits, Space]:
    images = splits["train"].images
    mean, std = statistics(images)
    channels, height, width = images.shape[1:]
    return splits, Pixels(mean=tuple(mean.tolist()), std=tuple(std.tolist()), shape=(channels, height, width))


def must_have_effect(kind: Kind, settings: DataSettings, name: str) -> None:
    """Raise a `UserError` if a setting was changed that is for another kind of examples than the data `name` has."""
    usual = DataSettings()
    for setting, noun in (*((each, "images") for each in Images.settings), ("text", "sentences")):
        changed = getattr(settings, setting) != getattr(usual, setting)
        if changed and setting not in kind.settings:
            raise UserError(
                f"{setting} is set, but has no effect: it is for {noun}, and {name!r} has {kind.noun}s; leave out "
                f"--data.{setting.replace('_', '-')}"
            )
