"""Checks of an earlier set that a run goes on from: its program, its number of examples and its labels."""

from jaxtyping import Int64
from torch import Tensor, equal

from ..errors import UserError, counted
from ..program import CrossEntropy, Ordered, known_name
from ..synthetic import SyntheticData


def must_have_optimiser(start: SyntheticData, name: str) -> None:
    """Raise a `UserError` if the program of the warm start has another inner optimiser than the one called `name`."""
    rule = start.program.optimiser
    theirs = known_name(rule) or rule.words
    if theirs != name:
        raise UserError(f"the warm start has inner optimiser {theirs}, but this run has {name}")


def must_have_factor(start: SyntheticData, factor: int) -> None:
    """Raise a `UserError` if the stored images of the warm start have another number of parts along a side."""
    if start.factor != factor:
        raise UserError(
            f"the warm start has factor {start.factor}, but this run has {factor}; take factor {start.factor}"
        )


def must_have_batches(start: SyntheticData, count: int) -> None:
    """Raise a `UserError` if the warm start has ordered steps, or other than `count` examples."""
    if isinstance(start.program.order, Ordered):
        raise UserError(
            "the warm start has ordered steps, but this run takes shuffled batches; leave --method.batch out, or take "
            "another set"
        )
    must_have_count(start, count)


def must_have_count(start: SyntheticData, count: int) -> None:
    """Raise a `UserError` if the warm start has other than `count` examples."""
    if len(start.inputs) != count:
        raise UserError(
            f"the warm start has {counted(len(start.inputs), 'example')}, but the settings ask for {count}; "
            "take ipc of the warm start"
        )


def must_have_steps(start: SyntheticData, count: int, steps: int, epochs: int) -> None:
    """Raise a `UserError` if the warm start has no ordered steps, or others than the settings ask for."""
    order = start.program.order
    if not isinstance(order, Ordered):
        raise UserError(
            "the warm start has no ordered steps; learn shuffled batches with --method.batch, or take another set"
        )
    their_epochs, their_steps = order.step_sizes.shape
    if (len(start.inputs), their_steps, their_epochs) != (count, steps, epochs):
        theirs = f"{counted(their_steps, 'step')} x {counted(their_epochs, 'epoch')}"
        raise UserError(
            f"the warm start has {counted(len(start.inputs), 'example')} in {theirs}, but the settings ask "
            f"for {count} in {steps} x {epochs}; take ipc, steps and epochs of the warm start"
        )


def must_have_labels(start: SyntheticData, wanted: Int64[Tensor, " n"], *, learned: bool) -> None:
    """Raise a `UserError` if the warm start has other labels than `wanted`; soft ones may be learned on."""
    if learned and start.targets.is_floating_point():
        if not isinstance(start.program.loss, CrossEntropy):
            raise UserError(
                f"the warm start has labels for another loss ({start.program.loss.words}), but only probabilities can "
                "be learned on; take a set whose program has cross-entropy"
            )
        return
    if not equal(start.targets, wanted):
        raise UserError(
            "the warm start has other labels: this method learns examples in class order, each of one class; give "
            "a set with hard labels in this order, or learn its soft labels on with --method.labels-rate 0.01"
        )
