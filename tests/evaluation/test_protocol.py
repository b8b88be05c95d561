"""Protocols: what they change about a set, and nearest neighbours in the place of networks."""

from dataclasses import replace

import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from datastill.data import Split, augmented
from datastill.errors import UserError
from datastill.evaluation import Protocol, curve, score, verify

from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)
SOFT = replace(SET, labels=torch.tensor([[[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]]]))


def test_left_to_itself_a_protocol_changes_nothing() -> None:
    resolved = Protocol(networks=3).resolved(SET)
    assert "" not in vars(resolved).values()
    applied = resolved.applied(SET)
    for name, tensor in SET.tensors().items():
        assert torch.equal(applied.tensors()[name], tensor)
    assert applied.header == SET.header


def test_step_sizes_and_epochs_are_those_asked_for() -> None:
    two = replace(SET, step_sizes=torch.tensor([[0.5], [0.2]]))
    assert Protocol(epochs=1).applied(two).step_sizes.flatten().tolist() == [0.5]
    assert Protocol(epochs=3).applied(two).step_sizes.flatten().tolist() == pytest.approx([0.5, 0.2, 0.2])
    assert Protocol(epochs=2, step_size=0.25).applied(two).step_sizes.flatten().tolist() == [0.25, 0.25]


def test_the_optimiser_is_that_asked_for() -> None:
    few = Protocol(networks=3, step_size=0.05, epochs=4)
    found = {kind: score(SET, DATA, replace(few, optimiser=kind)).accuracies for kind in ("", "sgd", "adam")}
    assert found[""] == found["sgd"] != found["adam"]


def test_hard_labels_are_the_most_probable_ones() -> None:
    assert Protocol(labels="hard").applied(SOFT).labels.tolist() == [[0, 1, 2]]
    assert score(SOFT, DATA, Protocol(networks=2)).protocol["labels"] == "soft"
    assert score(SOFT, DATA, Protocol(networks=2, labels="hard")).protocol["labels"] == "hard"
    with pytest.raises(UserError, match="labels is 'soft', but the set has hard labels"):
        score(SET, DATA, Protocol(networks=2, labels="soft"))


def test_a_score_is_verified_under_the_protocol_that_it_was_measured_by() -> None:
    protocol = Protocol(networks=3, step_size=0.1, epochs=3, optimiser="adam", augmentation="shift", seed=4)
    claimed = SET.with_score(score(SET, DATA, protocol).as_dict())
    assert verify(claimed, DATA)["largest_difference"] == 0


class TestAugmentation:
    """Images moved and mirrored."""

    images = torch.arange(2 * 3 * 16 * 17).float().view(2, 3, 16, 17)

    def test_a_shift_moves_all_that_stays_within_the_frame(self) -> None:
        many = self.images[:1].expand(40, -1, -1, -1)
        moved = augmented(many, "shift", torch.Generator().manual_seed(0))
        inner = self.images[0, :, 2:-2, 2:-2]
        places = set()
        for image in moved:
            at = [(y, x) for y in range(5) for x in range(5) if torch.equal(image[:, y : y + 12, x : x + 13], inner)]
            assert len(at) == 1
            places.add(at[0])
        assert len(places) > 15, "of 25, each image moves by itself"

    def test_a_flip_mirrors_half_of_them(self) -> None:
        symmetric = self.images + self.images.flip(3)
        many = symmetric[:1, :, :1, :].expand(200, -1, 16, -1)  # moving up and down changes nothing
        ramp = self.images[:1, :, :1, :].expand(200, -1, 16, -1)
        torch.testing.assert_close(
            augmented(many, "shift-flip", torch.Generator().manual_seed(0))[..., 8],
            augmented(many, "shift-flip", torch.Generator().manual_seed(0))[..., 8].flip(0).flip(0),
        )
        rising = augmented(ramp, "shift-flip", torch.Generator().manual_seed(0)).diff(dim=3).sum((1, 2, 3)) > 0
        assert 70 < int(rising.sum()) < 130

    def test_none_is_nothing(self) -> None:
        assert augmented(self.images, "none", torch.Generator()) is self.images

    def test_every_epoch_has_examples_of_its_own_and_every_step_its_size(self) -> None:
        set_ = replace(SET, step_sizes=torch.tensor([[0.5], [0.2]]))
        applied = Protocol(augmentation="shift").applied(set_)
        assert applied.examples.shape == (2, *SET.examples.shape[1:])
        assert applied.step_sizes.tolist() == [pytest.approx([0.5, 0.2])]
        assert not torch.equal(applied.examples[0], applied.examples[1])
        assert torch.equal(applied.labels, SET.labels.repeat(2, 1))

    def test_it_is_the_same_for_the_same_seed(self) -> None:
        one, again, other = (
            Protocol(augmentation="shift", seed=seed, epochs=9).applied(SET).examples for seed in (1, 1, 2)
        )
        assert torch.equal(one, again)
        assert not torch.equal(one, other)


class TestNearestNeighbours:
    """No network."""

    def test_the_score_is_that_of_the_definition(self) -> None:
        found = score(SET, DATA, Protocol(network="nearest-neighbours"))
        flat = SET.normalise(DATA.test.images).flatten(1)
        nearest = torch.cdist(flat, SET.examples[0].flatten(1)).argmin(1)
        assert found.mean == pytest.approx(float((SET.labels[0][nearest] == DATA.test.labels).float().mean()))
        assert (found.n, found.protocol["initialiser"]) == (1, "none")

    def test_k_and_norm_are_taken(self) -> None:
        split = Split(images=DATA.train.images[:30], labels=DATA.train.labels[:30])
        many = replace(
            SET, examples=DATA.normalise(split.images)[None], labels=split.labels[None], step_sizes=torch.ones(1, 1)
        )
        found = score(many, DATA, Protocol(network="nearest-neighbours(k=3,norm=1)")).mean
        classifier = KNeighborsClassifier(3, p=1).fit(many.examples[0].flatten(1), many.labels[0])
        assert found == pytest.approx(classifier.score(SET.normalise(DATA.test.images).flatten(1), DATA.test.labels))

    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("initialiser", "kaiming"),
            ("step_size", 2.0),
            ("epochs", 3),
            ("optimiser", "adam"),
            ("clip", 1.0),
            ("seed", 1),
        ],
    )
    def test_settings_of_training_are_refused_by_name(self, setting: str, value: object) -> None:
        with pytest.raises(UserError, match=f"^{setting} is {value}, but has no effect: nearest-neighbours trains no"):
            score(SET, DATA, Protocol(network="nearest-neighbours", **{setting: value}))  # type: ignore[arg-type]

    def test_augmentation_changes_the_examples_of_every_epoch(self) -> None:
        asked = Protocol(network="nearest-neighbours(k=6)", augmentation="shift", epochs=2, seed=1)
        assert score(SET, DATA, asked).n == 1  # six examples: three in each of two epochs

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
            ("n=1", "unknown argument of nearest-neighbours 'n'"),
        ],
    )
    def test_wrong_arguments_are_named(self, arguments: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            score(SET, DATA, Protocol(network=f"nearest-neighbours({arguments})"))
