"""From splits as they are read to train, validation and test with classes 0..K-1."""

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ..errors import UserError
from ..rng import generator
from .duplicates import groups, tell_shared
from .images import convert, match, padded
from .labels import class_name
from .real import RealData, Split, statistics
from .settings import DataSettings

TEST_SHARE = 0.2
"""Share of each class cut off for test where the source has no test split."""

TEST_SEED = 0
"""Seed of that cut; fixed, so that scores of different runs are of the same test images."""

ROLES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""What a split may be called in the source, in any case; the first name counts where there are several."""


def role_of(name: str) -> str | None:
    """Train, validation or test if a split of this name is that, else None."""
    return next((role for role, known in ROLES.items() if name.lower() in known), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """One split as it was read."""

    images: UInt8[Tensor, "n c h w"]
    """Pixels, 0..255."""
    labels: np.ndarray
    """One integer or string per image; integers are indices into `names` where these are known."""
    names: tuple[str, ...] | None = None
    """Names of the classes, if the source knows them."""


def roles(names: Iterable[str]) -> dict[str, str]:
    """Which split of the source is train, which (if any) validation and test; others are not used.

    A single split is train, whatever its name; validation without test is test.

    Raises:
        UserError: there is no train split.
    """
    names = list(names)
    found = {role: name for role, known in ROLES.items() if (name := _first(names, known))}
    if len(names) == 1 and not found:
        found["train"] = names[0]
    if "train" not in found:
        raise UserError(f"there is no train split among the splits {', '.join(names) or '(none)'}; name one 'train'")
    if "validation" in found and "test" not in found:
        found["test"] = found.pop("validation")
    return found


def _first(names: list[str], known: tuple[str, ...]) -> str | None:
    return next((name for word in known for name in names if name.lower() == word), None)


def assemble(name: str, parts: dict[str, Labelled], settings: DataSettings, *, together: bool = True) -> RealData:
    """Real data from its splits.

    Args:
        name: what to call it.
        parts: by role: train, and validation and test where the source has them.
        settings: which conversion and margin the images get, and how validation is cut where the source has none.
        together: whether a cut leaves identical images on one side.

    Raises:
        UserError: images of different sizes, fewer than two classes, or a class with too few images.
    """
    labels, names = _classes(parts)
    images = [
        padded(convert(piece, settings.channels), settings.pad)
        for piece in match([part.images for part in parts.values()])
    ]
    splits = {
        role: Split(images=pixels, labels=classes) for role, pixels, classes in zip(parts, images, labels, strict=True)
    }
    _require_all(splits, names)
    if "test" not in splits:
        total = len(splits["train"])
        splits["train"], splits["test"] = _cut(
            splits["train"],
            TEST_SHARE,
            generator(TEST_SEED, "test split"),
            together,
            2 if "validation" in splits else 3,
        )
        warnings.warn(
            f"{name!r} has no test split: {len(splits['test'])} of its {total} images were set apart for it "
            f"({TEST_SHARE:.0%} of each class, the same ones every time)",
            stacklevel=3,
        )
    if "validation" not in splits:
        draw = generator(settings.seed, "validation split")
        splits["train"], splits["validation"] = _cut(splits["train"], settings.validation, draw, together, 2)
    tell_shared(name, splits)
    mean, std = statistics(splits["train"].images)
    return RealData(
        name=name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=names,
        mean=mean,
        std=std,
        source=settings,
    )


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


def _cut(split: Split, share: float, draw: torch.Generator, together: bool, least: int) -> tuple[Split, Split]:
    """What is kept of a split, and the share of each class that is cut off.

    With `together`, identical images stay on one side, except in a class of fewer than `least` different images.
    """
    first = groups(split, least) if together else torch.arange(len(split))
    choices = (first == torch.arange(len(split))).nonzero()[:, 0]
    _, chosen = stratified(split.labels[choices], share, draw)
    cut = torch.zeros(len(split), dtype=torch.bool)
    cut[choices[chosen]] = True
    cut = cut[first]
    return split.take((~cut).nonzero()[:, 0]), split.take(cut.nonzero()[:, 0])


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
    labels = [part.labels for part in parts.values()]
    if len({each.dtype.kind for each in labels}) > 1:  # int64 and uint64, which NumPy would join as floats
        labels = [each.astype(object) for each in labels]
    values = np.unique(np.concatenate(labels))
    known = next(iter(parts.values())).names
    names = tuple(class_name(str(value) if known is None else known[value]) for value in values)
    _require_different(names)
    if len(names) < 2:
        raise UserError(f"there is only one class ({', '.join(names)}), but classification needs at least two")
    return [torch.from_numpy(np.searchsorted(values, each)) for each in labels], names


def _require_different(names: tuple[str, ...]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"two classes are called {twice[0]!r}; give each class a name of its own")


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
