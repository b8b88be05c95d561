"""Every claim of a set is checked, or said to be unchecked."""

import statistics
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from datastill import DistilledSet, Header, Protocol, load_data, score, verify
from datastill.cli import main
from datastill.errors import UserError
from datastill.evaluation import check_command
from datastill.evaluation.claims import UNCHECKED, _sd
from datastill.evaluation.score import Score
from datastill.networks import build
from datastill.networks.start import Fixed, Pretrained, Random, Start
from datastill.objectives import Misread
from datastill.report import write_report

from ..sets import set_of_steps

DATA = load_data("digits")
INDEX = DATA.by_class(1, torch.Generator().manual_seed(0)).flatten()
SET = set_of_steps(
    DATA.normalise(DATA.train.images[INDEX])[None],
    torch.arange(10)[None],
    torch.full((5, 1), 0.1),
    header=Header(
        data="digits",
        class_names=DATA.class_names,
        space=DATA.space,
        network="mlp(width=8)",
        start=Random(),
        config={"data": {"name": "digits"}},
        provenance={"data_sha256": DATA.sha256},
    ),
)
HONEST = SET.with_score(score(SET, DATA, Protocol(networks=3)).as_dict())


def forged(header: Mapping[str, Any], **changes: Any) -> DistilledSet:
    return replace(HONEST, header=replace(HONEST.header, **header, score={**HONEST.header.score, **changes}))


def verdicts(distilled: DistilledSet, **settings: Any) -> dict[str, str]:
    found = verify(distilled, DATA, **settings)
    verdicts = {claim["name"]: claim["verdict"] for claim in found["claims"]}
    assert found["holds"] == ("does not hold" not in verdicts.values())
    return verdicts


def test_an_honest_set_holds_and_what_was_not_checked_is_said() -> None:
    found = verdicts(HONEST)
    unchecked = {name for name, verdict in found.items() if verdict == "not checked"}
    assert unchecked == {"seconds", "hardware", "config", "provenance"}
    assert "does not hold" not in found.values()


@pytest.mark.parametrize("start", [Random("kaiming"), Fixed("kaiming")], ids=str)
def test_an_honest_set_holds_after_it_was_stored(start: Start, tmp_path: Path) -> None:
    network = build(SET.header.network, shape=DATA.shape, classes=DATA.classes)
    draws = start.bound(network, seed=3)
    theta_0 = None if draws.one is None else network.named(draws.one)
    one = replace(SET, header=replace(SET.header, start=draws.start), theta_0=theta_0)
    one.with_score(score(one, DATA, Protocol(networks=2)).as_dict()).save(tmp_path / "set")
    assert "does not hold" not in verdicts(DistilledSet.load(tmp_path / "set")).values()


@pytest.mark.parametrize(
    ("header", "changes", "name"),
    [
        ({}, {"mean": 0.999}, "mean"),
        ({}, {"sd": 0.5}, "sd"),
        ({}, {"accuracies": [0.999, 0.999, 0.999]}, "accuracies of 3 networks"),
        ({}, {"images": 7}, "images"),
        ({"data": "mnist"}, {}, "data"),
        ({"network": "mlp(width=9)"}, {}, "network"),
        ({"provenance": {"data_sha256": {**DATA.sha256, "train": "0" * 64}}}, {}, "SHA-256 of the train split"),
        ({"start": Random("kaiming")}, {}, "start"),
        ({"start": Pretrained()}, {}, "start"),
        ({}, {"protocol": {**HONEST.header.score["protocol"], "optimiser": "momentum"}}, "optimiser"),
        ({"space": replace(DATA.space, mean=(DATA.space.mean[0] + 0.001,))}, {}, "mean and std of pixels"),
        ({"space": replace(DATA.space, std=(DATA.space.std[0] + 0.001,))}, {}, "mean and std of pixels"),
        ({}, {"protocol": {**HONEST.header.score["protocol"], "start": asdict(Fixed())}}, "start"),
        ({}, {"protocol": {**HONEST.header.score["protocol"], "clip": 1e6}}, "clip"),
        ({}, {"protocol": {**HONEST.header.score["protocol"], "step_size": 0.1}}, "step_size"),
        ({}, {"protocol": {**HONEST.header.score["protocol"], "program": "shuffled-300"}}, "program"),
    ],
)
def test_a_forged_claim_does_not_hold(header: dict, changes: dict, name: str) -> None:
    assert verdicts(forged(header, **changes))[name] == "does not hold"


@pytest.mark.parametrize(
    ("header", "changes", "name"),
    [
        ({}, {"accuracies": HONEST.header.score["accuracies"][::-1]}, "accuracy of each network"),
        ({"objective": Misread(0, 1)}, {}, "misread"),
        ({"provenance": {"data_sha256": {"train": DATA.sha256["train"]}}}, {}, "SHA-256 of the test split"),
    ],
)
def test_a_claim_that_cannot_be_measured_is_not_checked(header: dict, changes: dict, name: str) -> None:
    assert verdicts(forged(header, **changes))[name] == "not checked"


def test_a_program_that_the_configuration_asks_for_is_the_claim() -> None:
    asked = Protocol(networks=3, optimiser="momentum", epochs=2)
    distilled = SET.with_score(score(SET, DATA, asked).as_dict())
    assert verdicts(distilled)["optimiser"] == verdicts(distilled)["epochs"] == "does not hold"
    config = {**SET.header.config, "protocol": {"optimiser": "momentum", "epochs": 2}}
    found = verdicts(replace(distilled, header=replace(distilled.header, config=config)))
    assert found["protocol"] == "holds"


def test_more_networks_than_accuracies_do_not_hold() -> None:
    assert verdicts(forged({}, n=200), networks=3)["n"] == "does not hold"


def test_the_score_of_another_network_is_not_that_of_the_set() -> None:
    easy = SET.with_score(score(SET, DATA, Protocol(network="nearest-neighbours(k=1,norm=2)")).as_dict())
    assert verdicts(easy)["network"] == "does not hold"
    asked = {**SET.header.config, "protocol": {"network": "nearest-neighbours(k=1,norm=2)"}}
    assert verdicts(replace(easy, header=replace(easy.header, config=asked)))["network"] == "holds"


def test_other_data_under_this_name_is_refused() -> None:
    other = replace(DATA, test=DATA.test.take(torch.arange(len(DATA.test)).flip(0)))
    with pytest.raises(UserError, match="this is not the data that the set was made from: the test split of 'digits'"):
        verify(HONEST, other)


@pytest.mark.parametrize("command", ["evaluate", "pack"])
def test_measuring_on_other_data_is_said(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two sets of arrays are both called "arrays": only their digests differ."""
    file, other = tmp_path / "set.safetensors", replace(DATA, test=DATA.test.take(torch.arange(10, len(DATA.test))))
    HONEST.save(file)
    for data, said in ((DATA, False), (other, True)):
        more = ["--networks", "2"] if command == "evaluate" else ["--to", str(tmp_path / f"{said}.safetensors")]
        monkeypatch.setattr("datastill.commands.evaluating.load_data", lambda _, data=data: data)
        assert main([command, str(file), *more]) == 0
        assert ("this is not the data that the set was made from: the test split" in capsys.readouterr().err) is said


def test_the_command_to_check_a_set_of_data_without_a_name_asks_for_the_data(tmp_path: Path) -> None:
    given = replace(HONEST.header, data="arrays", config={"data": {"name": "arrays", "in_memory": True}})
    file = tmp_path / "set.safetensors"
    assert check_command(HONEST, file) == f"datastill verify {file}"
    assert check_command(replace(HONEST, header=given), file) == f"datastill verify {file} --data FOLDER"
    theirs = replace(HONEST, header=replace(given, network="their_module:network"))
    named = replace(HONEST.header, config=HONEST.header.config | {"data": {"name": "./my photos"}})
    assert check_command(replace(HONEST, header=named), file) == f"datastill verify {file} --data './my photos'"
    assert check_command(theirs, file) == f"datastill verify {file} --data FOLDER --trust"
    page = tmp_path / "page.html"
    (tmp_path / "run").mkdir()
    replace(HONEST, header=given).save(tmp_path / "run/distilled.safetensors")
    write_report(tmp_path / "run", page)
    assert "replace FOLDER by a folder that holds it" in page.read_text()


def test_files_without_a_digest_of_the_data_say_so() -> None:
    found = verify(forged({"provenance": {}}), DATA)
    claim = next(each for each in found["claims"] if each["name"] == "identity of the data")
    assert (claim["verdict"], claim["text"]) == ("not checked", "not recorded")
    assert found["holds"]


def test_what_would_take_a_measurement_of_its_own_is_said_to_be_unchecked() -> None:
    found = verdicts(forged({}, **dict.fromkeys(UNCHECKED, 1.0)))
    assert {found[name] for name in UNCHECKED} == {"not checked"}


def test_the_first_line_names_what_was_not_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datastill.commands.evaluating.load_data", lambda _: DATA)
    baseline = {"kind": "random real", "sets": 20, "best": 0.1, "mean": 0.1, "sd": 0.0, "accuracies": [0.1] * 20}
    forged({}, baseline=baseline).save(tmp_path / "set.safetensors")
    assert main(["verify", str(tmp_path / "set.safetensors")]) == 0
    first = capsys.readouterr().out.splitlines()[0]
    assert "points; not checked: baseline, seconds, hardware, config, provenance)" in first


def test_some_networks_say_nothing_of_the_others() -> None:
    found = verdicts(HONEST, networks=2)
    assert found["n"] == found["mean"] == found["sd"] == "not checked"
    assert found["accuracies of 2 networks"] == "holds"


def test_a_measure_that_does_not_belong_to_the_objective_does_not_hold() -> None:
    measures = {"misread": {"before": [0.1] * 3, "after": [0.9] * 3}}
    assert verdicts(forged({}, measures=measures))["misread"] == "does not hold"


def test_measures_are_measured_again() -> None:
    attack = replace(SET, header=replace(SET.header, objective=Misread(0, 1)))
    found = score(attack, DATA, Protocol(networks=3)).as_dict()
    assert set(found["measures"]) == {"misread", "accuracy", "others"}
    honest = verdicts(attack.with_score(found))
    assert honest["misread before"] == honest["others after"] == "holds"
    found["measures"]["misread"]["after"] = [0.99] * 3
    assert verdicts(attack.with_score(found))["misread after"] == "does not hold"


@pytest.mark.parametrize(
    ("moved", "verdict"),
    [
        ({3: 0.0}, "holds"),  # rounding of another machine sends one network of twenty elsewhere
        ({3: 0.0, 8: 0.0}, "does not hold"),
        (dict.fromkeys(range(20), 0.5), "does not hold"),  # no spread at all
    ],
)
def test_a_spread_holds_if_it_is_that_of_all_networks_but_one(moved: dict[int, float], verdict: str) -> None:
    measured = [0.4 + 0.01 * i for i in range(20)]
    claimed = [moved.get(i, accuracy) for i, accuracy in enumerate(measured)]
    found = score_of(measured)
    assert _sd(score_of(claimed).as_dict(), found, 0.005).verdict == verdict
    lie = score_of(claimed).as_dict() | {"sd": 0.3}
    assert _sd(lie, found, 0.005).verdict == "does not hold"


def score_of(accuracies: list[float]) -> Score:
    return Score(
        split="test", images=100, n=len(accuracies), accuracies=accuracies, seconds=0.0, hardware="", protocol={},
        mean=statistics.fmean(accuracies), sd=statistics.stdev(accuracies),
    )  # fmt: skip
