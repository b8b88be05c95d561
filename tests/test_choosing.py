"""Runs that choose: the program of a finished set on validation images, and the best of several candidates."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datastill.config import Config, as_dict, from_dict
from datastill.errors import UserError
from datastill.evaluation import NOTHING, Grid, Protocol, score, tuned, verify
from datastill.loop import LoopSettings, Stopped
from datastill.making import make, prepare
from datastill.methods import Method
from datastill.methods.selection import Average, KMeans, RandomReal
from datastill.rng import derive
from datastill.run import distill

from .methods.toy_methods import Wandering
from .toys import toy_config, toy_data

DATA = toy_data()
TUNE = Grid(step_sizes=(1e-6, 0.3), epochs=(1, 3), networks=2)


def config_of(method: Method, **changes: object) -> Config:
    loop = {} if method.rates() else {"loop": LoopSettings()}
    return replace(toy_config(method=method, tune=TUNE, **loop), **changes)


def test_a_method_without_iterations_is_run_scored_verified_and_shown(tmp_path: Path) -> None:
    made = distill(config_of(KMeans(ipc=2)), tmp_path / "run", data=DATA)
    assert float(made.step_sizes.unique()) == pytest.approx(0.3), "the other one teaches nothing"
    assert made.header.provenance["validation"] > 0.5, "validated with the chosen program"
    assert made.header.score["mean"] > 0.5
    assert verify(made, DATA)["holds"]
    page = (tmp_path / "run" / "report.html").read_text()
    assert "k-means" in page
    assert "Distillation" not in page, "nothing was iterated"
    assert torch.equal(make(from_dict(made.header.config), DATA).inputs, made.inputs)


def test_an_open_program_is_chosen_from_the_usual_values_if_none_are_given() -> None:
    half = Grid(step_sizes=(0.5,), epochs=(), optimisers=())
    assert prepare(config_of(RandomReal(ipc=2), tune=NOTHING), DATA).grid == Grid()
    assert prepare(config_of(RandomReal(ipc=2), tune=half), DATA).grid == replace(Grid(), step_sizes=(0.5,))
    assert prepare(config_of(RandomReal(ipc=2, program="shuffled-300"), tune=NOTHING), DATA).grid is None
    assert prepare(toy_config(), DATA).grid is None


def test_the_program_of_a_learned_set_is_chosen_only_where_it_is_asked_for(tmp_path: Path) -> None:
    tune = Grid(step_sizes=(0.02,), epochs=(2,), optimisers=(), networks=2)
    made = distill(config_of(Wandering(), tune=tune), tmp_path / "run", data=DATA)
    assert made.step_sizes.tolist() == [[pytest.approx(0.02)]] * 2
    plain = distill(config_of(Wandering(), tune=NOTHING), tmp_path / "plain", data=DATA)
    assert made.program.optimiser == plain.program.optimiser
    assert torch.equal(made.inputs, plain.inputs)
    assert plain.step_sizes.tolist() == [[pytest.approx(0.1)]]


def test_a_single_combination_is_taken_without_measuring_it(monkeypatch: pytest.MonkeyPatch) -> None:
    made = make(config_of(RandomReal(ipc=2)), DATA, tune=False)
    monkeypatch.setattr("datastill.evaluation.tune.score", None)
    found = tuned(made, DATA, Protocol(networks=7), Grid(step_sizes=(0.02,), epochs=(2,)))
    assert found == Protocol(networks=7, step_size=0.02, epochs=2, optimiser="sgd")


@pytest.mark.parametrize("method", [RandomReal(ipc=2), Wandering()])
def test_a_run_that_is_stopped_while_it_chooses_resumes_to_the_same_set(
    method, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = distill(config_of(method), tmp_path / "whole", data=DATA)

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("datastill.making.chosen_program", stop)
        with pytest.raises(Stopped):
            distill(config_of(method), tmp_path / "parts", data=DATA)
    resumed = distill(config_of(method), tmp_path / "parts", data=DATA, resume=True)
    assert torch.equal(resumed.inputs, whole.inputs)
    assert resumed.header.score["accuracies"] == whole.header.score["accuracies"]


def test_the_best_candidate_on_train_images_is_kept() -> None:
    """Judged again by ordinary scores on a data set whose validation split is the train split."""
    config = config_of(RandomReal(ipc=1), candidates=4)
    seeds = [derive(config.seed, "candidate", i) for i in range(4)]
    sets = [make(replace(config, seed=seed, candidates=1), DATA, tune=False) for seed in seeds]
    protocol = replace(tuned(sets[0], DATA, config.chosen_by, TUNE), networks=4)
    on_train = replace(DATA, validation=DATA.train)
    means = [score(each, on_train, protocol, split="validation").mean for each in sets]
    assert torch.equal(make(config, DATA).inputs, sets[means.index(max(means))].inputs)


def test_what_has_no_effect_is_refused_by_name(tmp_path: Path) -> None:
    for config, message in (
        (
            toy_config(candidates=2),
            "candidates is 2, but has no effect: the method dataset-distillation learns",
        ),
        (config_of(Average(), candidates=2), "candidates is 2, .* the method average gives every seed an equal set"),
        (
            config_of(RandomReal(ipc=2), protocol=Protocol(networks=2, program="shuffled-300")),
            "protocol.program is shuffled-300, but .* give the set itself this program with --method.program",
        ),
        (config_of(RandomReal(ipc=2), protocol=Protocol(networks=2, step_size=0.1)), "tuning chooses it"),
    ):
        with pytest.raises(UserError, match=message):
            distill(config, tmp_path / "run", data=DATA)
        assert not (tmp_path / "run").exists()
    with pytest.raises(UserError, match="networks is 0"):
        Grid(networks=0)


def test_what_is_chosen_from_is_written_and_read_in_one_way() -> None:
    config = config_of(KMeans(ipc=2, nearest=True), candidates=3)
    assert from_dict(as_dict(config)) == config
