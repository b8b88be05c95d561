"""Scores: closed forms, paired networks, and what may not be mixed up."""

import math
import re
import statistics
from contextlib import nullcontext
from dataclasses import asdict, replace

import pytest
import torch
from torch import nn

from datastill.artifact import DistilledSet
from datastill.data import Split, load_data
from datastill.errors import UserError
from datastill.evaluation import Protocol, curve, packed, score, verify
from datastill.evaluation.answers import Answers
from datastill.evaluation.checking import must_be_measurable
from datastill.evaluation.fit import NETWORKS_PER_BATCH, unseen
from datastill.networks import build
from datastill.networks.start import Fixed, Random
from datastill.program import Program, Shuffled, SquaredError
from datastill.rng import generator
from datastill.runlog import ProgressLine

from ..sets import ordered
from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)
FEW = Protocol(networks=5)


def fixed_set() -> DistilledSet:
    network = build("mlp(width=8,depth=1)", shape=DATA.shape, classes=DATA.classes)
    theta = network.init("xavier", [generator(3, "fixed")])[0]
    return replace(SET, header=replace(SET.header, start=Fixed()), theta_0=network.named(theta))


def test_a_set_of_class_means_teaches_and_an_untrained_network_guesses() -> None:
    assert score(SET, DATA, FEW).mean > 0.6
    untrained = replace(SET, program=ordered(torch.zeros(2, 1)))
    assert score(untrained, DATA, Protocol(networks=50)).mean == pytest.approx(1 / 3, abs=0.1)


def test_mean_sd_and_n_are_those_of_the_accuracies() -> None:
    found = score(SET, DATA, FEW)
    assert found.n == len(found.accuracies) == 5
    assert found.mean == statistics.fmean(found.accuracies)
    assert found.sd == statistics.stdev(found.accuracies)
    assert found.images == len(DATA.test)
    assert found.split == "test"


@pytest.mark.parametrize("spec", ["mlp(width=8,depth=1)", "convnet(width=4,depth=1,norm=batch)"])
def test_the_score_is_that_of_ordinary_modules_trained_with_the_set(spec: str) -> None:
    """What a user gets with `fit` on a plain module is what the batched evaluation reports."""
    distilled = replace(SET, header=replace(SET.header, network=spec))
    network, thetas = unseen(distilled, FEW.resolved(distilled), "test networks", torch.device("cpu"))
    mine = []
    for theta in thetas:
        model = network.factory()
        model.load_state_dict(network.named(theta), strict=False)
        distilled.fit(model)
        right = model(distilled.normalise(DATA.test.images)).argmax(1) == DATA.test.labels
        mine.append(float(right.float().mean()))
    assert score(distilled, DATA, FEW).accuracies == pytest.approx(mine)


def test_networks_whose_training_diverged_answer_nothing_and_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    """They are no guesses: an index of the largest of several NaN is always class 0, which is right for a third."""
    exploding = SET.with_program(replace(SET.program, loss=SquaredError()))
    found = score(exploding, DATA, replace(FEW, step_size=1e9, epochs=9), confusion=True, progress=True)
    assert found.accuracies == [0.0] * 5
    assert not torch.tensor(found.confusion).any()
    assert "5 of 5 networks answer no example right, so their training has probably diverged" in capsys.readouterr().err


def normalising(*, shape: tuple[int, ...], classes: int) -> nn.Module:
    """A network with batch normalisation of single numbers, which needs two examples."""
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 4), nn.BatchNorm1d(4), nn.Linear(4, classes))


def test_a_last_batch_that_the_network_cannot_take_is_refused_before_a_set_is_learned_for_hours() -> None:
    network = Protocol(network=f"{__name__}:normalising")
    for batch, fits in ((3, True), (2, False)):
        shuffled = SET.with_program(Program(order=Shuffled(epochs=2, batch=batch)))
        with (
            nullcontext() if fits else pytest.raises(UserError, match=r"cannot take 1 example, which the last .* of 2")
        ):
            must_be_measurable(shuffled, network, torch.device("cpu"))


def test_a_score_of_one_network_has_no_spread() -> None:
    found = score(SET, DATA, Protocol(networks=2))
    assert "±" in str(found)
    assert "±" not in str(score(SET, DATA, Protocol(networks=1)))


def test_network_i_is_the_same_however_many_are_evaluated() -> None:
    many = score(SET, DATA, Protocol(networks=NETWORKS_PER_BATCH + 3)).accuracies
    assert score(SET, DATA, Protocol(networks=2)).accuracies == many[:2]


def test_test_networks_are_not_validation_networks() -> None:
    one, other = (
        unseen(SET, FEW.resolved(SET), f"{split} networks", torch.device("cpu"))[1] for split in ("test", "validation")
    )
    assert not torch.equal(one, other)


def test_a_set_for_fixed_weights_is_evaluated_once_from_them() -> None:
    distilled = fixed_set()
    found = score(distilled, DATA)
    model = distilled.fit(build("mlp(width=8,depth=1)", shape=DATA.shape, classes=3).factory())
    right = (model(distilled.normalise(DATA.test.images)).argmax(1) == DATA.test.labels).float().mean()
    assert (found.n, found.sd) == (1, 0.0)
    assert found.mean == pytest.approx(float(right))
    assert found.protocol["start"] == Protocol(start=Fixed()).as_plain()["start"]


def test_another_network_or_initialiser_ignores_the_fixed_weights() -> None:
    assert score(fixed_set(), DATA, replace(FEW, network="mlp(width=6,depth=1)")).n == 5
    assert score(fixed_set(), DATA, replace(FEW, start=Random("kaiming"))).n == 5


def test_fixed_weights_of_another_network_are_refused() -> None:
    distilled = fixed_set()
    wrong = replace(distilled, header=replace(distilled.header, network="mlp(width=9,depth=1)"))
    with pytest.raises(UserError, match="do not fit network 'mlp\\(width=9,depth=1\\)'"):
        score(wrong, DATA)


def test_batch_norm_is_recalibrated_on_the_synthetic_examples_not_on_test_images() -> None:
    distilled = replace(SET, header=replace(SET.header, network="convnet(width=4,depth=1,norm=batch)"))
    network, thetas = unseen(distilled, FEW.resolved(distilled), "test networks", torch.device("cpu"))
    whole = Answers(network, distilled, DATA.test)(thetas[0])
    each = [Answers(network, distilled, DATA.test.take(torch.tensor([i])))(thetas[0]) for i in range(len(DATA.test))]
    assert torch.equal(whole, torch.cat(each)), "an answer does not depend on the other test images"


def test_the_curve_starts_untrained_and_ends_at_the_score_of_its_networks() -> None:
    along = curve(SET, DATA, FEW)
    assert len(along["mean"]) == len(along["sd"]) == 3
    assert along["mean"][-1] == pytest.approx(score(SET, DATA, FEW, split="validation").mean)
    assert along["mean"][0] < along["mean"][-1]


def test_the_curve_of_a_long_program_has_its_start_its_end_and_some_between() -> None:
    long = replace(SET, program=ordered(torch.full((150, 1), 0.01)))
    along = curve(long, DATA, FEW)
    assert along["steps"][0] == 0
    assert along["steps"][-1] == 150
    assert len(along["steps"]) == len(along["mean"]) <= 62
    every = curve(replace(long, program=ordered(long.step_sizes[:30])), DATA, FEW)
    assert every["steps"] == list(range(31))
    assert [along["mean"][along["steps"].index(t)] for t in (0, 15, 30)] == [every["mean"][t] for t in (0, 15, 30)]


def test_normalisation_is_the_sets_own() -> None:
    """A score depends on the artifact alone, not on statistics of the data at hand."""
    shifted = replace(DATA, space=replace(DATA.space, mean=(DATA.space.mean[0] + 5,)))
    assert score(SET, shifted, FEW).accuracies == score(SET, DATA, FEW).accuracies


def test_a_part_of_a_split_is_evenly_spaced() -> None:
    split = Split(images=torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1), labels=torch.arange(10) // 5)
    assert split.spaced(5).images.flatten().tolist() == [0, 2, 4, 6, 8]
    assert split.spaced(None) is split.spaced(10) is split


def test_data_of_another_shape_or_class_count_is_refused() -> None:
    images = torch.arange(40, dtype=torch.uint8)[:, None, None].expand(40, 4, 4)
    other = load_data((images, torch.arange(40) % 4), validation=0.25)
    with pytest.raises(UserError, match=r"\(1, 4, 4\) in 3 classes, but data .* has \(1, 4, 4\) in 4;"):
        score(SET, other)


def test_zero_networks_are_refused() -> None:
    with pytest.raises(UserError, match="networks to evaluate on is 0"):
        Protocol(networks=0)


class TestVerify:
    """A claim holds when it can be measured again."""

    claimed = SET.with_score(score(SET, DATA, FEW).as_dict())

    def test_an_honest_claim_holds_to_the_last_digit(self) -> None:
        found = verify(self.claimed, DATA)
        assert found["holds"]
        assert found["claimed"] == found["measured"]
        assert found["largest_difference"] == 0
        assert found["n"] == 5

    def test_the_first_networks_are_compared_with_the_same_networks_of_the_claim(self) -> None:
        found = verify(self.claimed, DATA, networks=2)
        assert found["holds"]
        assert found["claimed"] == statistics.fmean(self.claimed.header.score["accuracies"][:2])

    def test_a_wrong_claim_does_not_hold(self) -> None:
        claim = dict(self.claimed.header.score)
        better = SET.with_score(claim | {"accuracies": [a + 0.01 for a in claim["accuracies"]]})
        assert not verify(better, DATA)["holds"]
        assert verify(better, DATA, tolerance=0.011)["holds"]

    def test_a_claim_about_another_number_of_images_does_not_hold(self) -> None:
        assert not verify(SET.with_score(dict(self.claimed.header.score) | {"images": 7}), DATA)["holds"]

    def test_a_fixed_set_is_verified_from_its_own_weights(self) -> None:
        distilled = fixed_set()
        assert verify(distilled.with_score(score(distilled, DATA).as_dict()), DATA)["largest_difference"] == 0

    def test_no_claim_and_too_many_networks_are_named(self) -> None:
        with pytest.raises(UserError, match=r"the set has no score; write it with one: datastill pack FILE --to NEW"):
            verify(SET, DATA)
        with pytest.raises(UserError, match="networks is 9, but the score is of 5"):
            verify(self.claimed, DATA, networks=9)


def test_soft_labels_that_are_one_hot_score_like_hard_ones() -> None:
    soft = replace(SET, targets=nn.functional.one_hot(SET.targets, 3).float())
    assert score(soft, DATA, FEW).accuracies == score(SET, DATA, FEW).accuracies


def test_a_packed_set_has_a_score_of_its_own_by_the_same_protocol() -> None:
    protocol = Protocol(networks=4, step_size=0.2, epochs=3, seed=1)
    asked = replace(SET, header=replace(SET.header, config={"protocol": asdict(protocol)}))  # as a run records it
    claimed = asked.with_score(score(asked, DATA, protocol).as_dict())
    small = packed(claimed, DATA)
    assert small.header.score["protocol"] == claimed.header.score["protocol"]
    assert small.header.score["accuracies"] == score(small, DATA, protocol).accuracies
    assert verify(small, DATA)["holds"]


def test_packing_gives_a_score_to_a_set_without_one() -> None:
    small = packed(SET, DATA)
    assert (small.header.score["split"], small.header.score["n"]) == ("test", Protocol().networks)
    assert verify(small, DATA, networks=2)["holds"]


def test_it_is_said_if_fewer_networks_can_be_measured_than_were_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    weights = build(SET.header.network, shape=DATA.shape, classes=DATA.classes)
    theta = weights.init("xavier", [torch.Generator().manual_seed(0)])[0]
    fixed = replace(SET, header=replace(SET.header, start=Fixed()), theta_0=weights.named(theta))
    assert score(fixed, DATA, Protocol(networks=5), progress=True).n == 1
    assert "networks is 5, but 1 can be measured" in capsys.readouterr().err
    score(fixed, DATA, progress=True)
    assert "can be measured" not in capsys.readouterr().err


def test_progress_is_shown_while_a_network_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ProgressLine, "INTERVAL", 0.0)
    score(SET, DATA, Protocol(networks=2), progress=True)
    shown = capsys.readouterr().err
    assert re.search(r"evaluate: network 0/2, .*gradient step 1/", shown)
    assert re.search(r"evaluate: network 2/2, .*mean ", shown)
