"""From splits as they are read to train, validation and test with classes 0..K-1."""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..errors import UserError
from ..rng import generator
from .images import Channels, convert, match, padded
from .real import RealData, Split, statistics

TEST_SHARE = 0.2
"""Share of each class cut off for test where the source has no test split."""

TEST_SEED = 0
"""Seed of that cut; fixed, so that scores of different runs are of the same test images."""

ROLES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing"),
}
"""What a split may be called in the source."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """One split as it was read."""

    images: UInt8[Tensor, "n c h w"]
    """Pixels, 0..255."""
    labels: np.ndarray
    """One integer or string per image; integers are indices into `names` where these are known."""
    names: tuple[str, ...] | None = None
    """Names of the classes, if the source knows them."""


def check_labels(labels: np.ndarray, names: tuple[str, ...] | None, where: str) -> np.ndarray:
    """Labels that can be used: one integer or string per image, none hidden.

    Raises:
        UserError: another shape or kind, labels that are hidden (-1), or that have no name.
    """
    if labels.ndim != 1:
        raise UserError(f"labels of {where} have shape {labels.shape}, but must be (n,): one class per image")
    if labels.dtype.kind == "O" and all(isinstance(label, str) for label in labels):  # as pandas has it
        labels = labels.astype(str)
    if labels.dtype.kind not in "iubU":
        raise UserError(f"labels of {where} are {labels.dtype}, but must be integers or strings")
    if labels.dtype.kind == "U":
        return labels
    labels = labels.astype(np.int64)
    hidden = int((labels == -1).sum())
    if hidden and (names is not None or hidden == len(labels)):  # -1 is a class among others, e.g. of {-1, 1}
        raise UserError(f"{where} has no labels: {hidden} of {len(labels)} are -1 (hidden); leave them out")
    if names is not None and len(labels) and not 0 <= labels.min() <= labels.max() < len(names):
        raise UserError(
            f"labels of {where} go from {labels.min()} to {labels.max()}, but there are {len(names)} class names"
        )
    return labels


def roles(names: Iterable[str]) -> dict[str, str]:
    """Which split of the source is train, which (if any) validation and test; others are not used.

    A single split is train, whatever its name; validation without test is test.

    Raises:
        UserError: there is no train split.
    """
    names = list(names)
    found = {role: next((name for name in names if name.lower() in known), "") for role, known in ROLES.items()}
    found = {role: name for role, name in found.items() if name}
    if len(names) == 1 and not found:
        found["train"] = names[0]
    if "train" not in found:
        raise UserError(f"there is no train split among the splits {', '.join(names) or '(none)'}; name one 'train'")
    if "validation" in found and "test" not in found:
        found["test"] = found.pop("validation")
    return found


def assemble(
    name: str, parts: dict[str, Labelled], *, channels: Channels, margin: int, validation: float, seed: int
) -> RealData:
    """Real data from its splits.

    Args:
        name: what to call it.
        parts: by role: train, and validation and test where the source has them.
        channels: conversion of all images.
        margin: black pixels added on each side of all images.
        validation: share of train that becomes validation, where the source has none.
        seed: of that cut.

    Raises:
        UserError: images of different sizes, fewer than two classes, or a class with too few images.
    """
    labels, names = _classes(parts)
    images = [padded(convert(piece, channels), margin) for piece in match([part.images for part in parts.values()])]
    splits = {
        role: Split(images=pixels, labels=classes) for role, pixels, classes in zip(parts, images, labels, strict=True)
    }
    _require_all(splits, names)
    if "test" not in splits:
        total = len(splits["train"])
        splits["train"], splits["test"] = _cut(splits["train"], TEST_SHARE, TEST_SEED, "test split")
        warnings.warn(
            f"{name!r} has no test split: {len(splits['test'])} of its {total} images were set apart for it "
            f"({TEST_SHARE:.0%} of each class, the same ones every time)",
            stacklevel=3,
        )
    if "validation" not in splits:
        splits["train"], splits["validation"] = _cut(splits["train"], validation, seed, "validation split")
    mean, std = statistics(splits["train"].images)
    return RealData(name=name, class_names=names, mean=mean, std=std, **splits)


def stratified(
    labels: Int64[Tensor, " n"], share: float, draw: torch.Generator
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " cut"]]:
    """Indices, in ascending order, of what is kept and of the share of each class that is cut off.

    A class of m images loses m * share of them, rounded such that the total is right, and keeps at least one on
    either side.

    Args:
        labels: the classes; each has at least two images.
        share: in (0, 1).
        draw: which images of a class are cut off.
    """
    present, counts = labels.unique(return_counts=True)
    exact = counts.double() * share
    sizes = exact.floor().long()
    missing = round(len(labels) * share) - int(sizes.sum())
    largest = (exact - sizes).argsort(descending=True, stable=True)[: max(missing, 0)]
    sizes[largest] += 1
    sizes = sizes.clamp(min=1).minimum(counts - 1)
    cut = torch.zeros(len(labels), dtype=torch.bool)
    for label, size in zip(present.tolist(), sizes.tolist(), strict=True):
        members = (labels == label).nonzero()[:, 0]
        cut[members[torch.randperm(len(members), generator=draw)[:size]]] = True
    return (~cut).nonzero()[:, 0], cut.nonzero()[:, 0]


def _cut(split: Split, share: float, seed: int, purpose: str) -> tuple[Split, Split]:
    kept, cut = stratified(split.labels, share, generator(seed, purpose))
    return split.take(kept), split.take(cut)


def _classes(parts: dict[str, Labelled]) -> tuple[list[Int64[Tensor, " n"]], tuple[str, ...]]:
    """Labels of each part as 0..K-1 over the classes that occur, and their names."""
    if len({part.names for part in parts.values()}) > 1:
        raise UserError(f"the splits {', '.join(parts)} have different class names; give all the same")
    if len({part.labels.dtype.kind == "U" for part in parts.values()}) > 1:
        raise UserError(
            f"the splits {', '.join(parts)} have labels of different kinds; give all integers or all strings"
        )
    for role, part in parts.items():
        if len(part.labels) != len(part.images):
            raise UserError(f"{role} has {len(part.images)} images, but {len(part.labels)} labels; give one per image")
    values = np.unique(np.concatenate([part.labels for part in parts.values()]))
    known = next(iter(parts.values())).names
    names = tuple(str(value) if known is None else known[value] for value in values)
    if len(names) < 2:
        raise UserError(f"there is only one class ({', '.join(names)}), but classification needs at least two")
    return [torch.from_numpy(np.searchsorted(values, part.labels)) for part in parts.values()], names


def _require_all(splits: dict[str, Split], names: tuple[str, ...]) -> None:
    """Each class must have an image in each split, after those that are missing are cut off train."""
    missing = [role for role in ("validation", "test") if role not in splits]
    for role, split in splits.items():
        least = 1 + len(missing) if role == "train" else 1
        counts = split.labels.bincount(minlength=len(names)).tolist()
        for name, count in zip(names, counts, strict=True):
            if count < least:
                also = f" (one each for {', '.join(['train', *missing])})" if least > 1 else ""
                raise UserError(
                    f"class {name!r} has {count} images in {role}, but must have at least {least}{also}; "
                    "add images or leave the class out"
                )
