"""A program as plain values: what is written is what is read, and nothing else is accepted."""

import json
from dataclasses import replace

import pytest
import torch

from datastill.errors import UserError
from datastill.program import (
    AUGMENTATIONS,
    OPTIMISERS,
    PROGRAMS,
    Adam,
    CrossEntropy,
    Divergence,
    Ordered,
    Program,
    Shuffled,
    Siamese,
    SquaredError,
    as_plain,
    from_plain,
)

ORDERED = Program(order=Ordered(step_sizes=torch.rand(2, 3)))
FIELD = PROGRAMS["shuffled-300"]
MANY = {
    "field": FIELD,
    "clipped": replace(FIELD, clip=2.0, order=Shuffled(epochs=1, batch=3, step_size=0.5, schedule="cosine")),
    **{name: replace(FIELD, optimiser=rule) for name, rule in OPTIMISERS.items()},
    **{name: replace(FIELD, augmentation=each) for name, each in AUGMENTATIONS.items()},
    **{str(loss): replace(FIELD, loss=loss) for loss in (CrossEntropy(), Divergence(temperature=4.0), SquaredError())},
    "many settings": replace(
        FIELD,
        optimiser=Adam(betas=(0.5, 0.9), epsilon=1e-8, weight_decay=0.1),
        augmentation=Siamese(operations=("crop",), one=False, shared=True),
    ),
}


def parts(program: Program) -> tuple:
    return program.order, program.optimiser, program.loss, program.augmentation, program.clip


@pytest.mark.parametrize("program", MANY.values(), ids=MANY)
def test_what_is_read_is_what_was_written(program: Program) -> None:
    assert parts(from_plain(json.loads(json.dumps(as_plain(program))))) == parts(program)


def test_learned_step_sizes_stay_a_tensor_beside_the_values() -> None:
    plain = json.loads(json.dumps(as_plain(ORDERED)))
    assert plain["order"] == {"kind": "ordered"}
    found = from_plain(plain, ORDERED.order.step_sizes)
    assert torch.equal(found.order.step_sizes, ORDERED.order.step_sizes)
    assert parts(found)[1:] == parts(ORDERED)[1:]


PLAIN = as_plain(FIELD)


def changed(part: str, **values):
    return {**PLAIN, part: {**PLAIN[part], **values}}


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (changed("optimiser", kind="lion"), "unknown kind of program.optimiser 'lion'.*known: "),
        (changed("optimiser", nesterov=True), "unknown name 'nesterov' in program.optimiser.*newer version"),
        (changed("optimiser", decay=1.5), r"program.optimiser.decay is 1.5, but must be a number from 0 to 1"),
        (changed("optimiser", weight_decay="1"), "program.optimiser.weight_decay is '1', but must be a number"),
        (changed("order", epochs=0), "program.order.epochs is 0, but must be a whole number from 1 to 1000000"),
        (changed("order", schedule="up"), "program.order.schedule is 'up', but must be 'constant' or"),
        (changed("augmentation", operations=["blur"]), r"program.augmentation.operations\[0\] is 'blur'"),
        (changed("augmentation", operations=[]), "program.augmentation.operations is a list of 0"),
        ({**PLAIN, "clip": -1}, "program.clip is -1, but must be a number from 0"),
        ({**PLAIN, "warmup": 3}, "unknown name 'warmup' in program"),
        ({key: value for key, value in PLAIN.items() if key != "loss"}, "program lacks 'loss'"),
        ({**PLAIN, "loss": None}, "program.loss is None, but must be a record"),
        ([], "program is a list of 0, but must be a record"),
        (as_plain(ORDERED), "ordered steps, but their step sizes are missing"),
        ({**as_plain(ORDERED), "order": {"kind": "ordered", "epochs": 3}}, "step sizes are missing|unknown name"),
    ],
)
def test_everything_else_is_refused_by_name_and_limit(plain, message) -> None:
    with pytest.raises(UserError, match=message):
        from_plain(plain)


def test_step_sizes_of_single_steps_do_not_go_with_shuffled_examples() -> None:
    with pytest.raises(UserError, match="step sizes of single steps, but its order is 'shuffled'"):
        from_plain(PLAIN, torch.ones(1, 1))


def test_words_name_every_setting_of_a_program() -> None:
    assert FIELD.words == (
        "300 epochs of shuffled batches of 256, step size 0.01 (in the second half of the epochs a tenth of it); "
        "gradient descent with momentum 0.9 and weight decay 0.0005; cross-entropy; siamese augmentation (one of "
        "colour, crop, cutout, flip, scale, rotate, with its own numbers for each image)"
    )
    assert ORDERED.words == (
        "2 epochs of 3 ordered steps, each with its own step size; plain gradient descent; cross-entropy"
    )
    assert replace(ORDERED, clip=2.0).words == f"{ORDERED.words}; gradients of a norm of at most 2"
    assert len({each.words for each in MANY.values()}) == len(MANY) - 3, "three of them name parts that FIELD has"
