"""Real data as uint8 tensors: three splits, and the statistics that normalise them."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor

from ..errors import UserError, at_least
from .settings import DataSettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Split:
    """Images and their labels, in the order of the source."""

    images: UInt8[Tensor, "n c h w"]
    """Pixels, 0..255."""
    labels: Int64[Tensor, " n"]
    """Classes, 0..K-1."""

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Int64[Tensor, " m"]) -> "Split":
        """The images and labels at these indices."""
        return Split(images=self.images[index], labels=self.labels[index])

    def read_as(self, one: int, other: int) -> "Split":
        """The same images, with those of class `one` labelled as class `other`."""
        return replace(self, labels=read_as(self.labels, one, other))

    def spaced(self, count: int | None) -> "Split":
        """So many images, evenly spaced (a source may be sorted by class); all for None or where there are fewer."""
        if count is None or count >= len(self):
            return self
        return self.take(torch.arange(count, device=self.labels.device) * len(self) // count)

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the images' shape, the pixels and the labels, in the order of the source."""
        content = hashlib.sha256(repr(tuple(self.images.shape)).encode())
        for values in (self.images, self.labels):
            content.update(values.cpu().contiguous().numpy().data)
        return content.hexdigest()

    def to(self, device: torch.device | str) -> "Split":
        """The same split on another device."""
        return Split(images=self.images.to(device), labels=self.labels.to(device))


@dataclass(frozen=True, kw_only=True, eq=False)
class RealData:
    """A labelled set of images, whole, on one device. Made by `load_data`."""

    name: str
    """What to call it in messages and in the artifact."""
    train: Split
    """What is distilled, and what the statistics are computed on."""
    validation: Split
    """What choices are made on. Cut off `train` where the source has no validation split; images of it that are
    identical to images of `train` are counted in a warning by `load_data`."""
    test: Split
    """Read once, at the end; images of it that are identical to images of `train` are counted in a warning."""
    class_names: tuple[str, ...]
    """The name of class k at index k."""
    mean: Float[Tensor, " c"]
    """Mean of each channel of `train`, where pixels are in [0, 1]."""
    std: Float[Tensor, " c"]
    """Standard deviation of each channel of `train`, where pixels are in [0, 1]; 1 for a constant channel."""
    source: DataSettings | None = None
    """How it was loaded; None if it was made without `load_data`."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def sha256(self) -> dict[str, str]:
        """SHA-256 of each split by its name. Class names are not in it: compare those too."""
        return {"train": self.train.sha256, "validation": self.validation.sha256, "test": self.test.sha256}

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.train.images.device

    @property
    def settings(self) -> DataSettings:
        """How it was loaded, for the record of a run: data that was not found by its name says so."""
        return self.source or DataSettings(name=self.name, in_memory=True)

    def with_classes(self, order: Sequence[str]) -> "RealData":
        """The data with its classes in another order: class k is then the one called `order[k]`.

        Args:
            order: the names of all classes, each once.

        Raises:
            UserError: these are not the names of the classes.
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

    def to(self, device: torch.device | str) -> "RealData":
        """The same data on another device."""
        return replace(
            self,
            train=self.train.to(device),
            validation=self.validation.to(device),
            test=self.test.to(device),
            mean=self.mean.to(device),
            std=self.std.to(device),
        )

    @property
    def dtype(self) -> torch.dtype:
        """The type of normalised images: float32, unless `in_precision` says another."""
        return self.mean.dtype

    def in_precision(self, dtype: torch.dtype) -> "RealData":
        """Data whose normalised images are of another floating-point type."""
        return self if dtype == self.dtype else replace(self, mean=self.mean.to(dtype), std=self.std.to(dtype))

    def normalise(self, images: UInt8[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Pixels as floats with mean 0 and standard deviation 1 in each channel of `train`."""
        scaled = images.to(self.dtype).div_(255)
        return scaled.sub_(self.mean[:, None, None]).div_(self.std[:, None, None])

    def denormalise(self, images: Float[Tensor, "n c h w"]) -> Float[Tensor, "n c h w"]:
        """Normalised images in pixel space, where real images are in [0, 1]; not clipped, differentiable."""
        return images * self.std[:, None, None] + self.mean[:, None, None]

    def batch(
        self, generator: torch.Generator, size: int
    ) -> tuple[Float[Tensor, "size c h w"], Int64[Tensor, " size"]]:
        """Normalised images of `train` with their labels, drawn uniformly without replacement.

        Raises:
            UserError: `size` is below 1 or above the number of train images.
        """
        at_least("batch size", size, 1)
        if size > len(self.train):
            raise UserError(f"batch size is {size}, but {self.name!r} has {len(self.train)} train images")
        index = torch.from_numpy(_numpy(generator).choice(len(self.train), size, replace=False)).to(self.device)
        return self.normalise(self.train.images[index]), self.train.labels[index]

    def by_class(self, count: int, generator: torch.Generator) -> Int64[Tensor, "classes count"]:
        """Indices into `train` of `count` random images of each class, no image twice.

        Raises:
            UserError: `count` is below 1 or above the number of train images of a class.
        """
        at_least("images per class", count, 1)
        for name, members in zip(self.class_names, self._members, strict=True):
            if len(members) < count:
                raise UserError(f"{count} images per class wanted, but class {name!r} has {len(members)} train images")
        draw = _numpy(generator)
        index = np.stack([members[draw.choice(len(members), count, replace=False)] for members in self._members])
        return torch.from_numpy(index).to(self.device)

    @cached_property
    def principal(self) -> tuple[Float[Tensor, "values values"], Float[Tensor, " values"]]:
        """Principal directions of normalised train images (columns), and the standard deviation along each.

        Of at most 10000 images, evenly spaced; `values` is channels x height x width.
        """
        flat = self.normalise(self.train.spaced(10000).images).flatten(1)
        variances, directions = torch.linalg.eigh(torch.cov(flat.T))
        return directions, variances.clamp(min=0).sqrt()

    @cached_property
    def _members(self) -> tuple[np.ndarray, ...]:
        labels = self.train.labels.cpu().numpy()
        return tuple(np.flatnonzero(labels == label) for label in range(self.classes))


def read_as(labels: Int64[Tensor, "*shape"], one: int, other: int) -> Int64[Tensor, "*shape"]:
    """Labels with class `other` in the place of class `one`."""
    return labels.masked_fill(labels == one, other)


def statistics(images: UInt8[Tensor, "n c h w"]) -> tuple[Float[Tensor, " c"], Float[Tensor, " c"]]:
    """Mean and standard deviation of each channel, where pixels are in [0, 1].

    Computed from the histogram of the 256 levels: exact, and without a float copy of the images.
    """
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in images.unbind(1)]).double()
    share = counts / counts.sum(1, keepdim=True)
    levels = torch.arange(256, dtype=torch.float64, device=images.device) / 255
    mean = share @ levels
    variance = (share * (levels - mean[:, None]) ** 2).sum(1)
    constant = (counts > 0).sum(1) == 1  # nothing to scale, and a division by zero otherwise
    return mean.float(), variance.sqrt().masked_fill(constant, 1.0).float()


def _list(names: Sequence[str]) -> str:
    """The first ten names, and how many more there are."""
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _numpy(generator: torch.Generator) -> np.random.Generator:
    """A NumPy generator that follows from a torch one.

    NumPy draws k of n without replacement in time O(k); torch only has a permutation of all n, a hundred times slower.
    """
    seed = torch.randint(2**62, (1,), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))
