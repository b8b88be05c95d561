"""Makes train, validation and test with classes 0..K-1 from the splits of a source."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from ..errors import UserError, counted, unknown
from ..rng import generator
from ..runlog import say, warn
from .duplicates import groups, warn_of_shared
from .kinds import IMAGES, Kind, must_have_effect
from .labels import class_name, shown
from .real import RealData, Split
from .settings import DataSettings

TEST_SHARE = 0.2
"""Share of each class that is cut off for test if the source has no test split."""

TEST_SEED = 0
"""Seed for cutting off the test split; fixed, so that different runs have equal test images."""

ROLES = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
"""Possible names of each split in a source, in upper or lower case. If several are there, the first one is used."""

SPLIT_NAMES = tuple(name for known in ROLES.values() for name in known)
"""All names in `ROLES`."""


def role_of(name: str) -> str | None:
    """Return train, validation or test for the name of a split; None for another name."""
    return next((role for role, known in ROLES.items() if name.lower() in known), None)


@dataclass(frozen=True, kw_only=True, eq=False)
class Labelled:
    """One split of a source, with its examples and labels."""

    examples: Any
    """The examples, as their kind has them: images as a tensor (n, c, h, w) of bytes, sentences as a list of texts."""
    labels: np.ndarray
    """One integer or string per example; if `names` is given, integers are indices into it."""
    names: tuple[str, ...] | None = None
    """Names of the classes; None if the source has none."""
    kind: Kind = IMAGES
    """What the examples are."""


def roles(names: Iterable[str], asked: tuple[str, str, str] = ("", "", ""), where: str = "") -> dict[str, str]:
    """Return which split of the source is train, validation and test, if any; other splits are not used.

    A single split of another name is train. Without a test split, validation is test, with a warning.

    Args:
        names: the splits of the source.
        asked: the splits that the user names for train, validation and test; each empty one is found.
        where: words for the source in errors, e.g. ``of 'data.npz'``.

    Raises:
        UserError: there is no train split, none of a name in `asked`, or `asked` names one twice.
    """
    names, given = list(names), dict(zip(ROLES, asked, strict=True))
    _must_be_splits([name for name in asked if name], names, where)
    free = [name for name in names if name not in asked]
    found = {role: name for role, known in ROLES.items() if (name := given[role] or _first(free, known))}
    if len(names) == 1 and not found:
        found["train"] = names[0]
    if "train" not in found:
        raise UserError(
            f"there is no train split among the splits {', '.join(names) or '(none)'}; name one 'train', or set "
            "train_split to the one to use"
        )
    if "validation" in found and "test" not in found and not given["validation"]:
        found["test"] = found.pop("validation")
        warn(
            f"there is no test split: {found['test']!r} serves as test, and validation is cut off train; name it as "
            "the validation split to have test cut off train instead"
        )
    return found


def own_roles(names: Iterable[str], asked: tuple[str, str, str] = ("", "", ""), where: str = "") -> dict[str, str]:
    """Return `roles` of splits that the user named; unless the user says which to use, every split has a role.

    Raises:
        UserError: as `roles`; or a split has an unknown name, or the role of another one.
    """
    names = list(names)
    used = roles(names, asked, where)
    for name in [] if any(asked) else names:
        if name not in used.values():
            raise _without_role(name, list(used.values()), where)
    return used


def _without_role(name: str, used: list[str], where: str) -> UserError:
    if not (role := role_of(name)):
        return UserError(f"{unknown('split', name, SPLIT_NAMES, where)}; rename it or leave it out")
    other = next(each for each in used if role_of(each) == role)
    return UserError(f"the splits {other!r} and {name!r} are both {role}; leave one out")


def say_unused(names: Iterable[str], used: Mapping[str, str]) -> None:
    """Say which splits of a source are not used, if any."""
    if left := [name for name in names if name not in used.values()]:
        kept = ", ".join(name if name == role else f"{name} as {role}" for role, name in used.items())
        say(f"left out: {', '.join(map(shown, left))}; splits used: {kept}")


def _must_be_splits(asked: list[str], names: list[str], where: str) -> None:
    """Raise a `UserError` unless the source has the splits that the user asks for, each once."""
    for name in asked:
        if name not in names:
            raise unknown("split", name, names, where)
        if asked.count(name) > 1:
            raise UserError(f"the split {name!r} is named twice; train, validation and test must be different splits")


def _first(names: list[str], known: tuple[str, ...]) -> str | None:
    return next((name for word in known for name in names if name.lower() == word), None)


def assemble(name: str, parts: dict[str, Labelled], settings: DataSettings, *, together: bool = True) -> RealData:
    """Make real data from the splits of a source.

    Args:
        name: the name of the data.
        parts: the splits by role: train, and validation and test if the source has them.
        settings: how images are converted and padded, and how validation is cut off if the source has none.
        together: whether a cut keeps identical images in one split.

    Raises:
        UserError: the examples of two splits do not fit each other, there are fewer than two classes, or a class has
            too few examples.
    """
    labels, names = classes_of({role: (part.labels, part.names) for role, part in parts.items()})
    kind = _kind_of(parts)
    must_have_effect(kind, settings, name)
    tensors, finish = kind.read({role: part.examples for role, part in parts.items()}, settings)
    for role, values, classes in zip(parts, tensors, labels, strict=True):
        if len(values) != len(classes):
            count = counted(len(values), kind.noun)
            raise UserError(f"{role} has {count}, but {counted(len(classes), 'label')}; give one per {kind.noun}")
    splits = {
        role: Split(images=values, labels=classes) for role, values, classes in zip(parts, tensors, labels, strict=True)
    }
    splits, space = finish(with_all_splits(name, splits, names, settings, together=together, noun=kind.noun))
    return RealData(
        name=name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        class_names=names,
        space=space,
        source=settings,
    )


def _kind_of(parts: dict[str, Labelled]) -> Kind:
    """Return the one kind of examples that all splits have."""
    (first, kind), *rest = ((role, part.kind) for role, part in parts.items())
    for role, other in rest:
        if other != kind:
            raise UserError(f"{first} has {kind.noun}s, but {role} has {other.noun}s; give all splits one kind")
    return kind


def with_all_splits(
    name: str,
    splits: dict[str, Split],
    names: tuple[str, ...],
    settings: DataSettings,
    *,
    together: bool = True,
    noun: str = "image",
) -> dict[str, Split]:
    """Return train, validation and test: those that the source lacks are cut off train.

    Args:
        name: the name of the data in warnings.
        splits: the splits of the source by role.
        names: the names of the classes.
        settings: how validation is cut off if the source has none.
        together: whether a cut keeps identical images in one split.
        noun: the word for an example in messages.

    Raises:
        UserError: a class has too few images.
    """
    splits = dict(splits)
    _require_all(splits, names, noun)
    if "test" not in splits:
        total = len(splits["train"])
        splits["train"], splits["test"] = _cut(
            splits["train"],
            TEST_SHARE,
            generator(TEST_SEED, "test split"),
            together,
            2 if "validation" in splits else 3,
        )
        warn(
            f"{name!r} has no test split: {len(splits['test'])} of its {total} {noun}s were set apart for it "
            f"({TEST_SHARE:.0%} of each class, the same {noun}s every time)"
        )
    if "validation" in splits:
        _say_what_is_not_cut(name, settings)
    else:
        draw = generator(settings.seed, "validation split")
        splits["train"], splits["validation"] = _cut(splits["train"], settings.validation, draw, together, 2)
    warn_of_shared(name, splits, noun)
    return splits


def _say_what_is_not_cut(name: str, settings: DataSettings) -> None:
    """Warn that the settings for cutting off a validation split have no effect, if the user changed them."""
    for setting in ("validation", "seed"):
        if getattr(settings, setting) != getattr(DataSettings, setting):
            warn(
                f"{setting} of the data is {getattr(settings, setting)}, but has no effect: {name!r} has a validation "
                "split, so none is cut off"
            )


def stratified(
    labels: Int64[Tensor, " n"], share: float, draw: torch.Generator
) -> tuple[Int64[Tensor, " kept"], Int64[Tensor, " cut"]]:
    """Draw a share of each class to cut off; return the indices of kept and cut images, in ascending order.

    From a class of m images, m * share are cut off. This is rounded so that the total is right, and so that each side
    has at least one image.

    Args:
        labels: the classes; each has at least two images.
        share: the share to cut off, in (0, 1).
        draw: the generator from which the images to cut off are drawn.
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
    """Cut off a share of each class; return the kept split and the cut one.

    With `together`, identical images stay in one split, except in a class of fewer than `least` different images.
    """
    first = groups(split, least) if together else torch.arange(len(split))
    choices = (first == torch.arange(len(split))).nonzero()[:, 0]
    _, chosen = stratified(split.labels[choices], share, draw)
    cut = torch.zeros(len(split), dtype=torch.bool)
    cut[choices[chosen]] = True
    cut = cut[first]
    return split.take((~cut).nonzero()[:, 0]), split.take(cut.nonzero()[:, 0])


def classes_of(
    parts: Mapping[str, tuple[np.ndarray, tuple[str, ...] | None]],
) -> tuple[list[Int64[Tensor, " n"]], tuple[str, ...]]:
    """Return the labels of each part as 0..K-1 over the classes that occur, and the names of these classes.

    Args:
        parts: the labels of each split by role, with the names of classes that integers are indices into, or None.
    """
    if len({known for _, known in parts.values()}) > 1:
        raise UserError(f"the splits {', '.join(parts)} have different class names; give all splits equal ones")
    if len({labels.dtype.kind == "U" for labels, _ in parts.values()}) > 1:
        raise UserError(
            f"the splits {', '.join(parts)} have labels of different kinds; give all integers or all strings"
        )
    labels = [each for each, _ in parts.values()]
    if len({each.dtype.kind for each in labels}) > 1:  # NumPy would join int64 and uint64 as floats
        labels = [each.astype(object) for each in labels]
    values = np.unique(np.concatenate(labels))
    known = next(iter(parts.values()))[1]
    names = tuple(class_name(str(value) if known is None else known[value]) for value in values)
    _require_different(names)
    if len(names) < 2:
        raise UserError(f"there is only one class ({', '.join(names)}), but classification needs at least two")
    return [torch.from_numpy(np.searchsorted(values, each)) for each in labels], names


def _require_different(names: tuple[str, ...]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(f"two classes are called {twice[0]!r}; give each class its own name")


def _require_all(splits: dict[str, Split], names: tuple[str, ...], noun: str) -> None:
    """Raise a `UserError` unless each class has enough images in each split, and for the splits still to be cut off."""
    missing = [role for role in ("validation", "test") if role not in splits]
    for role, split in splits.items():
        least = 1 + len(missing) if role == "train" else 1
        counts = split.labels.bincount(minlength=len(names)).tolist()
        for name, count in zip(names, counts, strict=True):
            if count < least:
                also = f" (one each for {', '.join(['train', *missing])})" if least > 1 else ""
                many = ""
                if noun != "image" and 2 * len(names) > len(split):
                    many = f"; there are {len(names)} classes: if their column is the wrong one, set label_column"
                raise UserError(
                    f"class {name!r} has {counted(count, noun)} in {role}, but must have at least {least}{also}; "
                    f"add {noun}s or leave the class out{many}"
                )
