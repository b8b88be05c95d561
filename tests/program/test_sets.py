"""The program of a distilled set: what `fit` and evaluation do with it, and another one."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from datastill import DistilledSet
from datastill.artifact import PerEpoch
from datastill.errors import UserError
from datastill.evaluation import Protocol
from datastill.evaluation.fit import trained, unseen
from datastill.program import PROGRAMS, Adam, Ordered, Program, Shuffled, SquaredError, as_plain

from ..sets import ordered
from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)


def linear() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3))


def test_the_program_of_a_set_is_its_step_sizes_and_its_optimiser() -> None:
    program = toy_set(DATA, "adam").program
    assert torch.equal(program.order.step_sizes, SET.step_sizes)
    assert program.optimiser == Adam()
    assert program.augmentation is None
    x, y = program.batch(SET.inputs, SET.targets, next(program.steps(SET.size)))
    assert torch.equal(x, SET.inputs)
    assert torch.equal(y, SET.targets)


@pytest.mark.parametrize(
    "protocol",
    [
        Protocol(networks=1),
        Protocol(networks=1, epochs=5, optimiser="adamw", step_size=0.05, clip=0.5),
        Protocol(networks=1, program="shuffled-300", epochs=12, seed=3),
    ],
    ids=["own", "edited", "shuffled"],
)
def test_fit_and_evaluation_end_at_equal_weights_under_every_protocol(protocol: Protocol) -> None:
    resolved = protocol.resolved(SET)
    network, thetas = unseen(SET, resolved, "test networks", torch.device("cpu"))
    model = network.factory()
    model.load_state_dict(network.named(thetas[0]), strict=False)
    SET.fit(model, program=resolved.program_of(SET), seed=resolved.seed)
    (final,) = next(trained(SET, resolved, network, thetas))
    for name, value in network.named(final).items():
        torch.testing.assert_close(model.get_parameter(name).detach(), value, rtol=1e-4, atol=1e-5)


def test_what_is_drawn_for_the_final_score_was_not_drawn_on_validation() -> None:
    one = torch.device("cpu")
    for name, same in (("own", True), ("shuffled-300", False)):  # ordered steps draw nothing
        resolved = Protocol(networks=1, program=name, epochs=1).resolved(SET)
        network, thetas = unseen(SET, resolved, "test networks", one)
        final, choosing = (
            next(trained(SET, resolved, network, thetas, purpose))
            for purpose in ("test networks", "validation networks")
        )
        assert torch.equal(final, choosing) is same


@pytest.mark.parametrize(
    "program",
    [
        Program(order=Ordered(step_sizes=torch.tensor([[0.3], [0.1]])), optimiser=Adam(epsilon=1e-3)),
        PROGRAMS["shuffled-300"],
        Program(order=Shuffled(epochs=3, batch=2, schedule="cosine"), loss=SquaredError(), clip=1.0),
    ],
    ids=["ordered", "named", "squared"],
)
def test_a_set_with_another_program_is_stored_with_it(tmp_path, program: Program) -> None:
    changed = SET.with_score({}).with_program(program)
    assert changed.header.score is None
    changed.save(tmp_path / "a.safetensors")
    found = DistilledSet.load(tmp_path / "a.safetensors")
    assert as_plain(found.program) == as_plain(program)
    assert torch.equal(found.step_sizes, program.order.sizes(SET.size))
    ours, theirs = (linear() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    changed.fit(ours, seed=4)
    found.fit(theirs, seed=4)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_labels_of_each_epoch_are_used_in_their_epoch() -> None:
    """Two epochs with their own labels are two programs of one epoch, one after the other."""
    labels = torch.rand(2, SET.size, 3, generator=torch.Generator().manual_seed(0))
    sizes = torch.tensor([[0.3], [0.1]])
    both = replace(SET, targets=labels, header=replace(SET.header, labels=PerEpoch()), program=ordered(sizes))
    ours, theirs = (linear() for _ in range(2))
    theirs.load_state_dict(ours.state_dict())
    both.fit(ours)
    for targets, size in zip(labels, sizes, strict=True):
        replace(SET, targets=targets, program=ordered(size[None])).fit(theirs)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_set_refuses_a_program_that_does_not_fit_it() -> None:
    model = linear()
    with pytest.raises(UserError, match="4 ordered steps cannot share 3 examples evenly"):
        SET.fit(model, program=Program(order=Ordered(step_sizes=torch.ones(1, 4))))
