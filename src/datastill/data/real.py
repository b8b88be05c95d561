"""Real data: three splits of examples with labels, and the space that normalises them."""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from torch import Tensor

from ..errors import UserError, at_least, counted
from ..parts import reduced
from ..runlog import say
from ..space import Space
from .on_disk import OnDisk
from .settings import DataSettings

Relabelling = Callable[[Int64[Tensor, "*shape"]], Int64[Tensor, "*shape"]]
Counting = Callable[[Int64[Tensor, "*shape"]], Int64[Tensor, "*shape"] | None]
"""A function of true labels that returns other ones."""
PIECE = 1000
"""Images that are read at once where all of them are looked at."""
SLOW_VALUES = 1000
"""Values of an image above which its principal coordinates take seconds."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Images and their labels, in the order of the source."""

    images: Shaped[Tensor, "n *shape"] | OnDisk
    """Pixels, uint8 in 0..255, of shape (n, channels, height, width), in memory or on disk; or rows, float32 of shape
    (n, columns)."""
    labels: Int64[Tensor, " n"]
    """Classes, 0..K-1."""

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split: {len(self)} examples of shape {tuple(self.images.shape[1:])}>"

    def take(self, index: Int64[Tensor, " m"]) -> "Split":
        """Return the images and labels at these indices."""
        images = self.images.only(index) if isinstance(self.images, OnDisk) else self.images[index]
        return Split(images=images, labels=self.labels[index])

    @property
    def tensor(self) -> Shaped[Tensor, "n *shape"]:
        """All images as one tensor, which is read if they are on disk.

        Raises:
            UserError: it does not fit in the memory that is free.
        """
        return self.images[:]

    def relabelled(self, wanted: Relabelling) -> "Split":
        """Return the split with other labels: `wanted` is a function of the true ones."""
        return replace(self, labels=wanted(self.labels))

    def repeated(self, counts: Int64[Tensor, " n"] | None) -> "Split":
        """Return the split with each image as often as `counts` says; as it is for None."""
        return self if counts is None else self.take(torch.arange(len(self)).to(counts).repeat_interleave(counts))

    def spaced(self, count: int | None) -> "Split":
        """Return `count` evenly spaced images, as a source may be sorted by class; all if `count` is None or larger."""
        if count is None or count >= len(self):
            return self
        return self.take(torch.arange(count, device=self.labels.device) * len(self) // count)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the images' shape, the pixels and the labels, in the order of the source."""
        content = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for values in itertools.chain(self.images.split(PIECE), (self.labels,)):
            content.update(values.cpu().contiguous().numpy().data)
        return content.hexdigest()

    def to(self, device: torch.device | str) -> "Split":
        """Copy the split to a device."""
        return Split(images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class RealData:
    """Labelled images in three splits, on one device. Made by `load_data`."""

    name: str
    """Name of the data in messages and in the file of a set."""
    train: Split
    """The images that are distilled; the numbers of `space` are computed on them."""
    validation: Split
    """The images for choosing settings and iterations. If the source has no validation split, it is cut off `train`.
    `load_data` warns of images that are also in `train`."""
    test: Split
    """The images for the final score. `load_data` warns of images that are also in `train`."""
    class_names: tuple[str, ...]
    """The name of class k at index k."""
    space: Space
    """What an example is, and how it is normalised."""
    dtype: torch.dtype = torch.float32
    """The type of normalised examples; see `in_precision`."""
    source: DataSettings | None = None
    """Settings with which `load_data` loaded the data; None if the data was made without `load_data`."""
    principal_precision: Literal["float32", "float64"] = "float64"
    """The type in which `principal` computes. float32 is for runs that an earlier version began: directions along which
    images vary little are then mixed with each other, on each machine in another way."""

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(getattr(self, role))} {role}" for role in ("train", "validation", "test"))
        return f"<RealData {self.name!r}: {self.classes} classes; {counts} {self.space.nouns} of shape {self.shape}>"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an example as a network takes it, e.g. (channels, height, width) of an image."""
        return self.space.shape

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of each split by its name. It does not cover `class_names`: compare them too."""
        return {"train": self.train.sha256, "validation": self.validation.sha256, "test": self.test.sha256}

    @property
    def device(self) -> torch.device:
        """The device that holds the images."""
        return self.train.images.device

    @property
    def settings(self) -> DataSettings:
        """The settings for the record of a run; without `source`, they say that the data was given in Python."""
        return self.source or DataSettings(name=self.name, in_memory=True)

    def with_classes(self, order: Sequence[str]) -> "RealData":
        """Return the data with classes in another order: class k is called `order[k]`.

        Args:
            order: the names of all classes, each once.

        Raises:
            UserError: `order` has other names than the classes.
        """
        order = tuple(order)
        if order == self.class_names:
            return self
        if sorted(order) != sorted(self.class_names) or len(set(order)) < len(order):
            raise UserError(
                f"the classes of {self.name!r} are {_list(self.class_names)}, but {_list(order)} are wanted; "
                "give data with these classes"
            )
        place = torch.tensor([order.index(name) for name in self.class_names], device=self.device)
        splits = {role: getattr(self, role) for role in ("train", "validation", "test")}
        moved = {role: replace(split, labels=place[split.labels]) for role, split in splits.items()}
        return replace(self, class_names=order, **moved)

    def relabelled(self, wanted: Relabelling, counts: Counting) -> "RealData":
        """Return the data with other labels of train and validation images; test images keep the true ones.

        Args:
            wanted: the labels, as a function of the true ones.
            counts: how often each validation image is there, as a function of the true labels; it may return None.
        """
        validation = self.validation.repeated(counts(self.validation.labels))
        return replace(self, train=self.train.relabelled(wanted), validation=validation.relabelled(wanted))

    def to(self, device: torch.device | str) -> "RealData":
        """Copy the data to a device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
        )

    def in_precision(self, dtype: torch.dtype) -> "RealData":
        """Return data whose normalised examples have another floating-point type."""
        return self if dtype == self.dtype else replace(self, dtype=dtype)

    @property
    def like(self) -> Float[Tensor, "0"]:
        """An empty tensor of the type and on the device of normalised examples, for ``tensor.to(data.like)``."""
        return torch.empty(0, dtype=self.dtype, device=self.device)

    def normalise(self, images: Shaped[Tensor, "n *stored"]) -> Float[Tensor, "n *shape"]:
        """Return examples of a split as networks take them.

        The values of train have mean 0 and standard deviation 1 in each channel or column, unless they are whitened.
        """
        return self.space.scaled(images, self.dtype)

    def denormalise(self, images: Float[Tensor, "n *shape"]) -> Float[Tensor, "n *shape"]:
        """Return normalised examples in the units of real ones, e.g. as pixels; differentiable, not clipped."""
        return self.space.original(images)

    def batch(
        self, generator: torch.Generator, size: int, counts: Int64[Tensor, " n"] | None = None
    ) -> tuple[Float[Tensor, "size *shape"], Int64[Tensor, " size"]]:
        """Draw `size` images of `train`; return them normalised, with their labels.

        Args:
            generator: draws.
            size: the number of images.
            counts: how often each train image counts; then images are drawn with replacement, so that this holds in
                large batches, too. None: all are equal, and none is drawn twice.

        Raises:
            UserError: `size` is below 1 or above the number of train images.
        """
        at_least("batch size", size, 1)
        if size > len(self.train):
            raise UserError(f"batch size is {size}, but {self.name!r} has {len(self.train)} train {self.space.nouns}")
        chances = None if counts is None else (counts.double() / counts.sum()).cpu().numpy()
        drawn = _numpy(generator).choice(len(self.train), size, replace=counts is not None, p=chances)
        index = torch.from_numpy(drawn).to(self.device)
        return self.normalise(self.train.images[index]), self.train.labels[index]

    def by_class(self, count: int, generator: torch.Generator) -> Int64[Tensor, "classes count"]:
        """Draw `count` images of `train` from each class without replacement; return their indices.

        Raises:
            UserError: `count` is below 1 or above the number of train images of a class.
        """
        self.must_have(count)
        draw = _numpy(generator)
        index = np.stack([members[draw.choice(len(members), count, replace=False)] for members in self._members])
        return torch.from_numpy(index).to(self.device)

    def must_have(self, count: int, parts: int = 1) -> None:
        """Raise a `UserError` unless `count` is at least 1 and every class has `count` train images.

        Args:
            count: how many images of each class are needed.
            parts: how many of them one stored image holds, for the advice.
        """
        noun = self.space.noun
        at_least(f"{self.space.nouns} per class", count, 1)
        least = self.smallest_class
        if least < count:
            name = next(name for name, each in zip(self.class_names, self._members, strict=True) if len(each) == least)
            raise UserError(
                f"{counted(count, noun)} per class wanted, but class {name!r} has {counted(least, f'train {noun}')}; "
                f"take {f'ipc {least // parts}' if parts > 1 else least} or fewer"
            )

    @property
    def smallest_class(self) -> int:
        """The number of train examples of the class that has the fewest."""
        return min(map(len, self._members))

    def principal(self, factor: int = 1) -> tuple[Float[Tensor, "values values"], Float[Tensor, " values"]]:
        """Return the principal directions of normalised train images (columns), and the deviation along each.

        They are computed once, on at most 10000 evenly spaced images, whose height and width are reduced to 1 /
        `factor`; `values` is channels x height x width of these. Another machine finds equal directions, as a run that
        is resumed there needs: they are computed on the CPU, and the largest value of each is positive.
        """
        if factor not in self._principal:
            self._principal[factor] = self._computed_principal(factor)
        return self._principal[factor]

    def _computed_principal(self, factor: int) -> tuple[Tensor, Tensor]:
        pieces = self.train.spaced(10000).images.split(1000)
        flat = torch.cat([reduced(self.normalise(piece), factor).flatten(1).cpu() for piece in pieces])
        if flat.shape[1] > SLOW_VALUES:
            what = f"{self.space.nouns} of {flat.shape[1]} values"
            say(f"computing the principal coordinates of {what}; this takes some seconds")
        exact = self.principal_precision == "float64"
        variances, directions = torch.linalg.eigh(torch.atleast_2d(torch.cov(flat.T.double() if exact else flat.T)))
        if exact:
            directions = directions * directions.gather(0, directions.abs().argmax(0, keepdim=True)).sign()
        return directions.to(self.like), variances.clamp(min=0).sqrt().to(self.like)

    @cached_property
    def _principal(self) -> dict[int, tuple[Tensor, Tensor]]:
        return {}

    @cached_property
    def _members(self) -> tuple[np.ndarray, ...]:
        labels = self.train.labels.cpu().numpy()
        return tuple(np.flatnonzero(labels == label) for label in range(self.classes))


def statistics(images: UInt8[Tensor, "n c h w"] | OnDisk) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Compute the mean and standard deviation of each channel, for pixels in [0, 1].

    They come from the histogram of the 256 levels, which is exact and needs no float copy of the images.
    """
    pieces = images.split(PIECE)
    counts = torch.stack([_levels(piece) for piece in pieces]).sum(0).double()
    share = counts / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64, device=images.device) / 255
    mean = share @ levels
    variance = (share * (levels - mean[:, None]) ** 2).sum(1)
    constant = (counts > 0).sum(1) == 1  # avoids a division by zero
    return mean.float(), variance.sqrt().masked_fill(constant, 1.0).float()


def _levels(images: UInt8[Tensor, "n c h w"]) -> Int64[Tensor, "c 256"]:
    """Return how often each of the 256 levels occurs in each channel."""
    return torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)])


def _list(names: Sequence[str]) -> str:
    """Return the first ten names and the number of others."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _numpy(generator: torch.Generator) -> np.random.Generator:
    """Make a NumPy generator with a seed drawn from a torch generator.

    NumPy draws k of n without replacement in time O(k). Torch permutes all n, which is a hundred times slower.
    """
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
