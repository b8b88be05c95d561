"""The checks of the tensors of a set: every one that is made or read fits the others and its header."""

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor

from ..errors import UserError, must_be
from ..label_source import FLOAT_TYPES, LabelSource, Teacher, TeacherOnce
from ..parts import decoded
from ..program import CrossEntropy, Divergence, Loss, Ordered, Program, Shuffled
from ..program.orders import MOST_STEPS
from ..storage.records import LARGEST_VALUE, text
from .header import Header


def check_tensors(
    inputs: Tensor, targets: Tensor, program: Program, theta_0: Mapping[str, Tensor] | None, header: Header
) -> None:
    """Raise a `UserError` unless the tensors of a set fit each other and its header, and hold finite values."""
    shape = header.space.shape
    if tuple(inputs.shape[1:]) != shape or not len(inputs):
        wanted = ", ".join(map(str, ("n", *shape)))
        raise UserError(f"the examples have shape {tuple(inputs.shape)}, but must be ({wanted}) with n at least 1")
    _check_values(inputs, "examples")
    if targets.is_floating_point():
        _check_values(targets, "labels")
    header.labels.check(targets, len(inputs), len(header.class_names))
    if isinstance(program.order, Ordered):
        _check_step_sizes(program.order.step_sizes)
    _check_program(program, len(inputs), shape)
    _check_loss(program.loss, targets, header.labels)
    _check_initial(theta_0, header)


def check_stored(inputs: Tensor, stored: Tensor | None, header: Header) -> None:
    """Raise a `UserError` unless the examples of a set are those of its stored images, if it has parts to enlarge."""
    if header.enlarged == 1 and stored is None:
        return
    if header.enlarged == 1 or stored is None or not torch.equal(decoded(stored, header.enlarged), inputs):
        raise UserError(
            f"the header says enlarged = {header.enlarged}, but the examples are not those of the stored images; give "
            "both as examples_of(images, enlarged) returns them"
        )


def _check_program(program: Program, count: int, shape: tuple[int, ...]) -> None:
    """Raise a `UserError` unless examples of this number and shape can be trained on by a program."""
    program.length(count)
    if program.augmentation and len(shape) != 3:
        raise UserError(
            f"the program has {program.augmentation.words}, but the examples are no images; take a program without it"
        )


def _check_loss(loss: Loss, targets: Tensor, source: LabelSource) -> None:
    """Raise a `UserError` unless the loss of a program understands the labels."""
    if isinstance(loss, Divergence) and not (targets.is_floating_point() or isinstance(source, Teacher)):
        raise UserError("the loss of the program needs the logits of a teacher as labels, but the labels are hard")
    if isinstance(loss, CrossEntropy) and isinstance(source, TeacherOnce) and bool((targets < 0).any()):
        raise UserError(
            f"the labels are logits of a teacher (the smallest is {targets.min():.3g}), but cross-entropy needs "
            "probabilities; take Divergence(temperature=...) as loss of the program"
        )


def _check_step_sizes(step_sizes: Tensor) -> None:
    must_be("step_sizes of the program", step_sizes, Tensor, "give a tensor (epochs, steps)")
    if step_sizes.dim() != 2 or not 0 < step_sizes.numel() <= MOST_STEPS:
        raise UserError(
            f"step sizes have shape {tuple(step_sizes.shape)}, but must be (epochs, steps), with at least one and at "
            f"most {MOST_STEPS} gradient steps in all epochs"
        )
    if step_sizes.dtype not in FLOAT_TYPES or not bool((step_sizes >= 0).all()):
        raise UserError(f"step sizes must be positive numbers, but the smallest is {step_sizes.min():.3g}")
    _check_values(step_sizes, "step sizes")


def _check_initial(theta_0: Mapping[str, Tensor] | None, header: Header) -> None:
    for name, value in (theta_0 or {}).items():
        text(500, 1)(name, "the name of an initial weight")
        _check_values(value, f"initial weights {name!r}")
    header.start.must_agree(theta_0)


def _check_values(values: Tensor, what: str) -> None:
    if values.dtype not in FLOAT_TYPES:
        raise UserError(f"{what} are of type {values.dtype}, but must be floating-point numbers, e.g. float32")
    if values.numel() and not float(values.detach().abs().max()) <= LARGEST_VALUE:  # NaN fails, too
        raise UserError(f"{what} hold values that are not finite or are above {LARGEST_VALUE:g}")


def a_program(value: object) -> Program:
    """Return a program that a user gave, or raise a `UserError`: of another kind, or with impossible step sizes."""
    must_be("program", value, Program, "take a named one: datastill.program.PROGRAMS[name]")
    program = cast(Program, value)
    must_be("order of the program", program.order, (Ordered, Shuffled), "take one of datastill.program")
    if isinstance(program.order, Ordered):
        _check_step_sizes(program.order.step_sizes)
    return program
