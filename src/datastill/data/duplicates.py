"""Finds identical images within a split and between splits."""

import hashlib
from collections.abc import Mapping

import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from ..errors import UserError
from ..runlog import warn
from .on_disk import OnDisk
from .real import PIECE, Split


def first_of(images: Shaped[Tensor, "n *shape"] | OnDisk) -> Int64[Tensor, " n"]:
    """Return, for each image, the index of the first image with equal pixels."""
    seen: dict[bytes, int] = {}
    return torch.tensor([seen.setdefault(digest, i) for i, digest in enumerate(digests(images))])


def digests(images: Shaped[Tensor, "n *shape"] | OnDisk) -> list[bytes]:
    """Return a digest of the pixels of each image."""
    pieces = (piece.cpu().numpy() for piece in images.split(PIECE))
    return [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for piece in pieces for image in piece]


def groups(split: Split, least: int) -> Int64[Tensor, " n"]:
    """Return, for each image, the index of the first identical image: a cut must keep both on one side.

    In a class with fewer than `least` different images, each image gets its own index, so that the class can be cut.
    """
    first = first_of(split.images)
    alone = torch.arange(len(first))
    choices = split.labels[first == alone].bincount(minlength=int(split.labels.max()) + 1)
    return torch.where(choices[split.labels] < least, alone, first)


def must_differ(name: str, train: Split, noun: str) -> None:
    """Raise a `UserError` if all examples of train are identical, so that nothing can be learned from them."""
    first, few = train.images[:1], 10  # usually, the first few differ
    if len(train) > 1 and not any(bool((piece != first).any()) for piece in train.images.split(few)):
        raise UserError(
            f"{name!r}: all {len(train)} {noun}s of train are identical, so there is nothing to learn from them; look "
            "at how they were written"
        )


def warn_of_shared(name: str, splits: Mapping[str, Split], noun: str = "image") -> None:
    """Warn in one line if identical images are in two splits.

    Args:
        name: the name of the data in the warning.
        splits: train, validation and test by name.
        noun: the word for an example.
    """
    found = {role: digests(split.images) for role, split in splits.items()}
    shared = []
    for one, other in (("validation", "train"), ("test", "train"), ("test", "validation")):
        there = set(found[other])
        if count := sum(digest in there for digest in found[one]):
            shared.append(f"{count} of {len(found[one])} {noun}s of {one} are identical to {noun}s of {other}")
    if shared:
        text = f"{name!r}: {'; '.join(shared)}. Accuracy on these {noun}s says nothing about new {noun}s"
        warn(text)
