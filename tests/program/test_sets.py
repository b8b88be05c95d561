"""The program of a distilled set: what `fit` and evaluation do with it, and what a file can hold of another one."""

from dataclasses import replace

import pytest
import torch

from datastill import DistilledSet
from datastill.errors import UserError
from datastill.evaluation import Protocol
from datastill.evaluation.fit import trained, unseen
from datastill.program import PROGRAMS, Adam, Ordered, Program, Shuffled, SquaredError

from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)


def test_the_program_of_a_set_is_its_step_sizes_and_its_optimiser() -> None:
    program = replace(SET, header=replace(SET.header, optimiser="adam")).program
    assert torch.equal(program.order.step_sizes, SET.step_sizes)
    assert program.optimiser == Adam()
    assert program.augmentation is None
    x, y = program.batch(SET.inputs, SET.targets, next(program.steps(SET.size)))
    assert torch.equal(x, SET.examples[0])
    assert torch.equal(y, SET.labels[0])


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


def test_a_set_with_another_program_is_stored_with_it(tmp_path) -> None:
    program = Program(order=Ordered(step_sizes=torch.tensor([[0.3], [0.1]])), optimiser=Adam())
    changed = SET.with_program(program)
    assert changed.header.score is None
    changed.save(tmp_path / "a.safetensors")
    found = DistilledSet.load(tmp_path / "a.safetensors").program
    assert torch.equal(found.order.step_sizes, program.order.step_sizes)
    assert found.optimiser == Adam()


@pytest.mark.parametrize(
    "program",
    [
        PROGRAMS["shuffled-300"],
        Program(order=Shuffled()),
        replace(SET.program, clip=1.0),
        replace(SET.program, loss=SquaredError()),
    ],
    ids=["named", "shuffled", "clipped", "squared"],
)
def test_what_a_file_cannot_hold_is_refused_with_the_way_to_use_it(program: Program) -> None:
    with pytest.raises(UserError, match=r"fit\(model, program=...\)"):
        SET.with_program(program)


def test_a_set_refuses_a_program_that_does_not_fit_it() -> None:
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LazyLinear(3))
    with pytest.raises(UserError, match="4 ordered steps cannot share 3 examples evenly"):
        SET.fit(model, program=Program(order=Ordered(step_sizes=torch.ones(1, 4))))
