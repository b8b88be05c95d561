"""Validations while distilling: which protocol chooses the iterate that is kept."""

from dataclasses import replace
from pathlib import Path

import pytest

from datastill.config import Config
from datastill.errors import UserError
from datastill.evaluation import Protocol, score
from datastill.run import artifact, begin, distill, prepare, validate

from .toys import toy_config, toy_data

pytestmark = pytest.mark.usefixtures("operations_not_counted")

DATA = toy_data()


def test_by_default_it_is_the_protocol_of_the_run_with_at_most_20_networks_and_its_seed() -> None:
    assert Config(seed=3).chosen_by == Protocol(networks=20, seed=3)
    protocol = Protocol(networks=5, epochs=7, clip=2.0, program="shuffled-300", seed=9)
    assert Config(protocol=protocol, seed=3).chosen_by == replace(protocol, seed=3)


def test_settings_that_are_given_replace_those_of_the_protocol() -> None:
    config = Config(protocol=Protocol(epochs=7, optimiser="adam"), validation=Protocol(networks=6, epochs=2, seed=4))
    assert config.chosen_by == Protocol(networks=6, epochs=2, optimiser="adam", seed=4)


def test_an_iterate_is_judged_by_it_and_the_set_by_the_other() -> None:
    run = prepare(toy_config(validation=Protocol(networks=2, network="mlp(width=4,depth=1)", epochs=1)), DATA)
    state = begin(run).latest
    asked = Protocol(networks=2, network="mlp(width=4,depth=1)", epochs=1, seed=run.config.seed)
    found = score(artifact(run, state), DATA, asked, split="validation")
    assert validate(run, state) == {"mean": found.mean, "sd": found.sd, "n": 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "lenett"}, "lenett"),
        ({"network": "nearest-neighbours(k=1,norm=2)"}, "leave --validation.network out"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_the_run(settings: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        distill(toy_config(validation=Protocol(**settings)), tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()
