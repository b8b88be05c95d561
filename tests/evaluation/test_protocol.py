"""Protocols: what they change about a set, and nearest neighbours in the place of networks."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from datastill import Config, load_rows
from datastill.artifact import Signed
from datastill.data import Split
from datastill.errors import UserError
from datastill.evaluation import Grid, Protocol, curve, score, verify
from datastill.label_source import TeacherOnce
from datastill.making import make
from datastill.methods.selection import RandomReal
from datastill.networks.start import Random
from datastill.program import PROGRAMS, AdamW, Divergence, ShiftFlip, Shuffled, SquaredError

from ..sets import ordered
from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)
SOFT = replace(SET, targets=torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]]))


def test_left_to_itself_a_protocol_changes_nothing() -> None:
    resolved = Protocol(networks=3).resolved(SET)
    assert "" not in vars(resolved).values()
    program = resolved.program_of(SET)
    assert torch.equal(program.order.step_sizes, SET.step_sizes)
    assert (program.optimiser, program.loss) == (SET.program.optimiser, SET.program.loss)
    assert (program.augmentation, program.clip) == (None, 0)
    assert torch.equal(resolved.targets_of(SET), SET.targets)


@pytest.mark.parametrize("shape", [(5,), (2, 8)], ids=["rows", "signals"])
def test_a_named_program_is_for_examples_that_are_no_images_too(shape: tuple[int, ...]) -> None:
    draw = np.random.default_rng(0)
    labels = np.arange(90) % 3
    values = draw.normal(size=(90, *shape)) + 3 * labels.reshape(-1, *[1] * len(shape))
    data = load_rows({"train": (values[:60], labels[:60]), "test": (values[60:], labels[60:])})
    config = Config(
        recipe="", data=data.settings, network="mlp(width=8)", method=RandomReal(ipc=5, program="shuffled-300")
    )
    distilled = make(config, data)
    resolved = Protocol(program="shuffled-300-adam", networks=2, step_size=0.03).resolved(distilled)
    assert resolved.augmentation == "none"
    assert score(distilled, data, resolved).mean > 0.8
    with pytest.raises(UserError, match="augmentation is 'shift', which changes images, but the set holds "):
        score(distilled, data, Protocol(program="shuffled-300", augmentation="shift"))


def test_step_sizes_and_epochs_are_those_asked_for() -> None:
    two = replace(SET, program=ordered(torch.tensor([[0.5], [0.2]])))

    def sizes(protocol: Protocol) -> list[float]:
        return [float(step.size) for step in protocol.program_of(two).steps(two.size)]

    assert sizes(Protocol(epochs=1)) == [0.5]
    assert sizes(Protocol(epochs=3)) == pytest.approx([0.5, 0.2, 0.2])
    assert sizes(Protocol(epochs=2, step_size=0.25)) == [0.25, 0.25]


def test_the_optimiser_is_that_asked_for() -> None:
    few = Protocol(networks=3, step_size=0.05, epochs=4)
    found = {kind: score(SET, DATA, replace(few, optimiser=kind)).accuracies for kind in ("", "sgd", "adam")}
    assert found[""] == found["sgd"] != found["adam"]


def test_hard_labels_are_the_most_probable_ones() -> None:
    assert Protocol(labels="hard").targets_of(SOFT).tolist() == [0, 1, 2]
    assert score(SOFT, DATA, Protocol(networks=2)).protocol["labels"] == "soft"
    assert score(SOFT, DATA, Protocol(networks=2, labels="hard")).protocol["labels"] == "hard"
    with pytest.raises(UserError, match="labels is 'soft', but the set has hard labels"):
        score(SET, DATA, Protocol(networks=2, labels="soft"))


def test_labels_of_any_sign_become_probabilities_unless_the_named_program_has_the_squared_error() -> None:
    """Hard labels are classes, and are trained with the loss of the program."""
    targets = torch.tensor([[9.0, -4.5, -4.5], [0.0, 0.0, 0.0], [-4.5, 9.0, -4.5]])
    program = replace(SOFT.program, loss=SquaredError(scale=10.0))
    signed = replace(SOFT, targets=targets, program=program, header=replace(SOFT.header, labels=Signed()))
    for name, named in PROGRAMS.items():
        squared = isinstance(named.loss, SquaredError)
        assert Protocol(program=name).program_of(signed).loss == (program.loss if squared else named.loss)
        wanted = targets if squared else (8 * targets / 10).softmax(1)
        assert torch.allclose(Protocol(program=name).targets_of(signed), wanted)
        assert Protocol(program=name, labels="hard").program_of(signed).loss == named.loss
        assert Protocol(program=name).program_of(SOFT).loss == named.loss
        assert Protocol(program=name).targets_of(SOFT) is SOFT.targets
    assert Protocol().targets_of(signed) is targets


def test_logits_of_a_teacher_keep_the_divergence_under_every_named_program_and_classes_have_cross_entropy() -> None:
    loss, source = Divergence(temperature=4.0), TeacherOnce(sha256="0" * 64, network="mlp")
    program, header = replace(SOFT.program, loss=loss), replace(SOFT.header, labels=source)
    logits = replace(SOFT, targets=20 * SOFT.targets - 10, program=program, header=header)
    for name in ("", *PROGRAMS):
        assert Protocol(program=name).program_of(logits).loss == loss
        assert not isinstance(Protocol(program=name, labels="hard").program_of(logits).loss, Divergence)
    assert score(logits, DATA, Protocol(networks=2, labels="hard")).protocol["labels"] == "hard"
    with pytest.raises(UserError, match=r"logits of a teacher \(the smallest is -8\), but cross-entropy needs prob"):
        replace(logits, program=SOFT.program)


def test_a_score_is_verified_under_the_protocol_that_it_was_measured_by() -> None:
    protocol = Protocol(networks=3, step_size=0.1, epochs=3, optimiser="adam", augmentation="shift", seed=4)
    claimed = SET.with_score(score(SET, DATA, protocol).as_dict())
    assert verify(claimed, DATA)["largest_difference"] == 0


class TestNamedProgram:
    """The program of the field, for any set."""

    FIELD = Protocol(networks=2, program="shuffled-300")

    def test_it_is_recorded_with_all_its_settings(self) -> None:
        resolved = self.FIELD.resolved(SET)
        assert (resolved.program, resolved.epochs, resolved.optimiser) == ("shuffled-300", 300, "momentum-decay")
        assert resolved.augmentation == "siamese"
        assert resolved.program_of(SET).order == PROGRAMS["shuffled-300"].order

    def test_a_protocol_edits_it(self) -> None:
        edited = replace(self.FIELD, epochs=7, step_size=0.3, optimiser="adamw", augmentation="shift", clip=2.0)
        program = edited.resolved(SET).program_of(SET)
        assert program.order == Shuffled(epochs=7, step_size=0.3)
        assert (program.optimiser, program.augmentation, program.clip) == (AdamW(), ShiftFlip(flip=False), 2.0)
        assert replace(self.FIELD, augmentation="none").program_of(SET).augmentation is None

    def test_a_score_under_it_is_verified(self) -> None:
        few = replace(self.FIELD, epochs=4)
        claimed = SET.with_score(score(SET, DATA, few).as_dict())
        assert claimed.header.score["protocol"]["program"] == "shuffled-300"
        assert verify(claimed, DATA)["largest_difference"] == 0
        assert score(SET, DATA, few).accuracies != score(SET, DATA, replace(few, seed=1)).accuracies

    def test_it_trains_a_set_of_real_images_well(self) -> None:
        images, labels = DATA.train.images[:30], DATA.train.labels[:30]
        many = replace(SET, inputs=DATA.normalise(images), targets=labels, program=ordered(torch.ones(1, 1)))
        assert score(many, DATA, replace(self.FIELD, augmentation="none", step_size=0.1, epochs=40)).mean > 0.9

    def test_the_curve_goes_along_it(self) -> None:
        found = curve(SET, DATA, replace(self.FIELD, epochs=6))
        assert found["steps"] == list(range(7))


@pytest.mark.parametrize("augmentation", ["shift", "siamese-no-flip"])
def test_augmentation_changes_a_score_and_follows_from_the_seed(augmentation: str) -> None:
    plain, one, again, other = (
        score(SET, DATA, Protocol(networks=3, epochs=9, augmentation=kind, seed=seed)).accuracies
        for kind, seed in (("none", 1), (augmentation, 1), (augmentation, 1), (augmentation, 2))
    )
    assert one == again
    assert plain != one != other


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"epochs": 10**30}, "epochs is 1000000000000000000000000000000"),
        ({"epochs": 10**9}, "epochs is 1000000000, but at most 100000 are allowed"),
        ({"networks": 10**9}, "networks is 1000000000, but at most 100000 are allowed"),
        ({"seed": 10**30}, "seed is 1"),
        ({"step_size": float("inf")}, "step_size is inf"),
        ({"step_size": 1e30}, r"step_size is 1e.30, but must be at most 1e.09"),
        ({"clip": float("nan")}, "clip is nan"),
    ],
)
def test_impossible_settings_are_refused_at_once(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Protocol(**settings)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"step_sizes": (0.1, -1.0)}, "step_sizes has -1, but each must be above 0; leave it out"),
        ({"step_sizes": (1e30,)}, r"one of step_sizes is 1e.30, but must be at most 1e.09"),
        ({"epochs": (3, 0)}, "one of epochs is 0, but must be at least 1"),
        ({"epochs": (10**9,)}, r"one of epochs is 1e.09, but must be at most 100000"),
    ],
)
def test_impossible_values_to_choose_from_are_refused_at_once(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        Grid(**values)


class TestNearestNeighbours:
    """No network."""

    def test_the_score_is_that_of_the_definition(self) -> None:
        found = score(SET, DATA, Protocol(network="nearest-neighbours"))
        flat = SET.normalise(DATA.test.images).flatten(1)
        nearest = torch.cdist(flat, SET.inputs.flatten(1)).argmin(1)
        assert found.mean == pytest.approx(float((SET.targets[nearest] == DATA.test.labels).float().mean()))
        assert (found.n, found.protocol["start"]) == (1, None)

    def test_k_and_norm_are_taken(self) -> None:
        split = Split(images=DATA.train.images[:30], labels=DATA.train.labels[:30])
        many = replace(
            SET, inputs=DATA.normalise(split.images), targets=split.labels, program=ordered(torch.ones(1, 1))
        )
        found = score(many, DATA, Protocol(network="nearest-neighbours(k=3,norm=1)")).mean
        classifier = KNeighborsClassifier(3, p=1).fit(many.inputs.flatten(1), many.targets)
        assert found == pytest.approx(classifier.score(SET.normalise(DATA.test.images).flatten(1), DATA.test.labels))

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("start", Random("kaiming")),
            ("program", "shuffled-300"),
            ("augmentation", "shift"),
            ("step_size", 2.0),
            ("epochs", 3),
            ("optimiser", "adam"),
            ("clip", 1.0),
            ("seed", 1),
        ],
    )
    def test_settings_of_training_are_refused_by_name(self, setting: str, value: object) -> None:
        message = f"^{setting} is {re.escape(str(value))}, but has no effect: nearest-neighbours trains no"
        with pytest.raises(UserError, match=message):
            score(SET, DATA, Protocol(network="nearest-neighbours", **{setting: value}))  # type: ignore[arg-type]

    def test_there_is_no_curve(self) -> None:
        with pytest.raises(UserError, match="trains no network, so there is no accuracy after each step"):
            curve(SET, DATA, Protocol(network="nearest-neighbours"))

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ("k=4", "k is 4, but the set has 3 examples; take k up to 3"),
            ("k=0", "k is 0"),
            ("k=1.5", "whole numbers as k"),
            ("norm=0.5", "norm is 0.5"),
            ("n=1", "unknown argument 'n' of nearest-neighbours"),
        ],
    )
    def test_wrong_arguments_are_named(self, arguments: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            score(SET, DATA, Protocol(network=f"nearest-neighbours({arguments})"))
