"""Whole runs of methods that are not like ours: with carried state, without iterations, with soft targets."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datastill import Config, DistilledSet, UserError, distill, distributed
from datastill.cli import main
from datastill.evaluation import score
from datastill.loop import LoopSettings, Stopped
from datastill.methods import Method
from datastill.objectives import Misread
from datastill.resuming import stored_config
from datastill.run import prepare

from ..toys import toy_config, toy_data, toy_set, toy_task
from .toy_methods import TOYS, Chosen, Teaching, TeachingShuffled, Wandering

DATA = toy_data()
QUICK = ["--loop.iterations", "4", "--protocol.networks", "2", "--random-sets", "0"]


def test_identical_real_images_are_the_cause_that_is_named() -> None:
    """Every gradient is zero then, for which the network would be blamed."""
    train = replace(DATA.train, images=DATA.train.images[:1].expand_as(DATA.train.images))
    with pytest.raises(UserError, match=r"^'toy': all 144 images of train are identical, so there is nothing to learn"):
        toy_task(data=replace(DATA, train=train))


def toy_run(method: Method, folder: Path, *, resume: bool = False) -> DistilledSet:
    return distill(config_of(method), folder, data=DATA, resume=resume)


def config_of(method: Method) -> Config:
    return toy_config(method=method) if method.rates() else toy_config(method=method, loop=LoopSettings())


@pytest.mark.parametrize("kind", [*TOYS, TeachingShuffled])
def test_a_run_stores_a_set_with_its_program_and_score(kind: type[Method], tmp_path: Path) -> None:
    method = kind()
    toy_run(method, tmp_path / "run")
    found = DistilledSet.load(tmp_path / "run")
    assert found.header.method == method.name
    assert found.header.provenance["iterations"] == (6 if method.rates() else 0)
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count("validation") == (2 if method.rates() else 1)
    assert score(found, DATA, toy_config().protocol).accuracies == found.header.score["accuracies"]
    assert found.targets.is_floating_point() == isinstance(method, Teaching)
    assert stored_config(tmp_path / "run", trust=True).method == method
    assert not (tmp_path / "run" / "checkpoint.pt").exists()


def test_a_run_with_carried_state_resumes_to_the_last_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, step = toy_run(Wandering(), tmp_path / "whole"), Wandering.step

    def stopping(self, task, state, iteration):
        if iteration == 3:
            os.kill(os.getpid(), signal.SIGTERM)
        return step(self, task, state, iteration)

    with monkeypatch.context() as patch:
        patch.setattr(Wandering, "step", stopping)
        with pytest.raises(Stopped):
            toy_run(Wandering(), tmp_path / "parts")
    with pytest.raises(UserError, match=r"setting method.name was tests\.\S*:Wandering and is tests\.\S*:Teaching;"):
        toy_run(Teaching(), tmp_path / "parts", resume=True)
    with monkeypatch.context() as patch:
        patch.setattr(Wandering, "version", 4)
        message = "holds version 3 of the state of tests.methods.toy_methods:Wandering, but this is version 4; begin"
        with pytest.raises(UserError, match=message):
            toy_run(Wandering(), tmp_path / "parts", resume=True)
        patch.setattr(Wandering, "init", lambda *_: pytest.fail("init is called once in a run"))
        patch.setattr(Wandering, "version", 3)
        resumed = toy_run(Wandering(), tmp_path / "parts", resume=True)
    assert torch.equal(resumed.inputs, whole.inputs)
    assert resumed.header.score["accuracies"] == whole.header.score["accuracies"]


def test_init_is_called_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, init = [], Teaching.init

    def counted(self, task):
        calls.append(task)
        return init(self, task)

    monkeypatch.setattr(Teaching, "init", counted)
    toy_run(Teaching(), tmp_path / "run")
    assert len(calls) == 1


def test_what_a_method_cannot_do_is_refused_by_name(tmp_path: Path) -> None:
    toy_set(DATA).save(tmp_path / "set.safetensors")
    config = config_of(Chosen())
    for change, message in (
        (
            {"objective": Misread(0, 1)},
            r"the method chosen cannot make a set for the objective misread\(0,1\); take --objective",
        ),
        ({"warm_start": str(tmp_path / "set.safetensors")}, "the method chosen cannot start from an earlier set"),
        ({"method": Chosen(ipc=99)}, "ipc is 99: 99 images per class wanted, but class '0' has 48"),
        ({"loop": LoopSettings(iterations=7)}, "loop.iterations is given, .* chosen has no outer iterations"),
    ):
        with pytest.raises(UserError, match=message):
            distill(replace(config, **change), tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()


def test_several_processes_are_refused_where_there_is_nothing_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "ranks", lambda: 2)
    with pytest.raises(
        UserError, match=r"method wandering computes one network .* 2 processes cannot share; start one"
    ):
        prepare(config_of(Wandering()), DATA)
    with pytest.raises(UserError, match="networks per iteration is 3, which 2 processes cannot share evenly"):
        prepare(config_of(Teaching(networks=3)), DATA)
    assert prepare(config_of(Teaching(networks=4)), DATA).method.networks == 4


def test_each_command_that_distils_or_plans_takes_a_method_with_its_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    chosen, wandering = (f"tests.methods.toy_methods:{kind.__name__}" for kind in (Chosen, Wandering))
    for command in ("distill", "plan"):
        with pytest.raises(SystemExit):
            main([command, "--method", chosen, "--help"])
        said = capsys.readouterr().out
        assert "--method.ipc" in said
        assert "--method.window" not in said
    assert main(["plan", "--method", wandering, "--method.real-batch", "16", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (list(found["memory"]), len(found["timings"])) == (["an iteration"], 1)
    assert main(["plan", "--method", chosen]) == 2
    assert "chosen learns nothing, so there are no iterations to plan" in capsys.readouterr().err
    assert main(["distill", "--method", chosen, "--method.ipc", "1", *QUICK[2:], "--out", "run"]) == 0
    assert DistilledSet.load(tmp_path / "run").size == 10
    assert main(["distill", "--method", wandering, *QUICK, "--out", "other"]) == 0
    capsys.readouterr()
    assert main(["distill", "--resume", "--method", chosen, "--out", "other"]) == 2
    assert "has other settings (method.name" in capsys.readouterr().err
