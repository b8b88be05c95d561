"""The programs and augmentations that have a name, e.g. for ``--program shuffled-300``."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor

from .augmentation import Augmentation, ShiftFlip
from .losses import SquaredError
from .optimisers import OPTIMISERS
from .orders import Shuffled
from .program import Program
from .siamese import ALL, Siamese

AugmentationName = Literal["none", "shift", "shift-flip", "affine", "siamese", "siamese-no-flip"]
"""The names of `AUGMENTATIONS`."""
AUGMENTATIONS: Mapping[str, Augmentation | None] = {
    "none": None,
    "shift": ShiftFlip(flip=False),
    "shift-flip": ShiftFlip(flip=True),
    "affine": Siamese(operations=("crop", "scale", "rotate"), one=False, shared=False),
    "siamese": Siamese(shared=False),
    "siamese-no-flip": Siamese(operations=tuple(name for name in ALL if name != "flip"), shared=False),
}
"""Augmentations for training on a finished set. Each image has its own numbers. ``affine``: every image is shifted,
scaled and rotated, as digits may be; the siamese ones draw one of six changes for a batch."""

ShuffledName = Literal["shuffled-300", "shuffled-300-adam", "shuffled-300-squared"]
"""The names of `PROGRAMS`."""
ProgramName = Literal["own", ShuffledName]
"""The names of programs: ``own`` is the program of the set, and every other name is in `PROGRAMS`."""
PROGRAMS: Mapping[str, Program] = {
    "shuffled-300": Program(
        order=Shuffled(epochs=300, batch=256, step_size=0.01, schedule="drop"),
        optimiser=OPTIMISERS["momentum-decay"],
        augmentation=AUGMENTATIONS["siamese"],
    ),
    "shuffled-300-adam": Program(
        order=Shuffled(epochs=300, batch=25, step_size=0.001, schedule="cosine"),
        optimiser=OPTIMISERS["adam"],
        augmentation=AUGMENTATIONS["siamese"],
    ),
    "shuffled-300-squared": Program(
        order=Shuffled(epochs=300, batch=5, step_size=0.001, schedule="cosine"),
        optimiser=OPTIMISERS["adam"],
        loss=SquaredError(scale=30.0),
        augmentation=AUGMENTATIONS["siamese"],
    ),
}
"""``shuffled-300``: how most papers since 2020 use a set with a ConvNet (Zhao and Bilen 2021, arXiv 2102.08259), with
300 epochs where they take 300 to 1000. ``shuffled-300-adam``: Adam in small batches, which is better for sets of a
hundred examples (docs/LOG.md). ``shuffled-300-squared``: the squared error, for learned targets of any sign, in batches
of 5; hard targets are made as large as those of kernel ridge regression. Siamese augmentation mirrors images: with
digits, take siamese-no-flip."""


def suited(program: Program, shape: tuple[int, ...], *, mirror: bool) -> Program:
    """Return the program for examples of a shape: without augmentation, which is for images, if they are none.

    Args:
        program: the program.
        shape: the shape of an example.
        mirror: whether siamese augmentation may mirror images; not for digits and letters.
    """
    if len(shape) != 3:
        return replace(program, augmentation=None)
    if mirror or not isinstance(program.augmentation, Siamese):
        return program
    kept = tuple(name for name in program.augmentation.operations if name != "flip")
    return replace(program, augmentation=replace(program.augmentation, operations=kept))


def alike(shape: tuple[int, ...], generator: torch.Generator, *, mirror: bool) -> Callable[[Tensor], Tensor]:
    """Return one draw of the siamese augmentation, which changes real and synthetic images alike.

    Args:
        shape: the shape of an example; other examples than images stay as they are.
        generator: draws.
        mirror: whether images may be mirrored; not for digits and letters.
    """
    if len(shape) != 3:
        return lambda examples: examples
    return Siamese(operations=tuple(name for name in ALL if name != "flip" or mirror)).draw(1, shape, generator)


def augmentation_name(augmentation: Augmentation | None) -> str:
    """Return the name of an augmentation in `AUGMENTATIONS`; empty if it has none."""
    return next((name for name, known in AUGMENTATIONS.items() if known == augmentation), "")
