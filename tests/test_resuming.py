"""A run that was stopped goes on only with what it began with; two runs never write to one folder."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import datastill.methods.dataset_distillation
import datastill.run
import datastill.storage.flock
from datastill import Config, DistilledSet, LoopSettings, Protocol, UserError, distill, score
from datastill.cli import main
from datastill.commands import distilling
from datastill.data import RealData
from datastill.locks import alone
from datastill.loop import Stopped
from datastill.networks import build
from datastill.resuming import stored_config
from datastill.rng import generator
from datastill.run_state import load, save
from datastill.signals import Terminated, terminable
from datastill.storage.files import write_text
from datastill.training import Engine

from .test_run import before_iteration, stopping
from .toys import toy_config, toy_data

DATA = toy_data()
ENGINE = Engine(mode="stored", execution="eager", together=2)


@pytest.fixture(autouse=True, scope="module")
def way_to_compute() -> Iterator[None]:
    """Measuring which way is best takes most of the time of a toy run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            datastill.methods.dataset_distillation,
            "choose",
            lambda trial, _: replace(
                trial.unroll,
                engine=replace(ENGINE, execution=trial.unroll.engine.execution.replace("auto", "eager")),
            ),
        )
        yield


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopped") / "run"
    with pytest.MonkeyPatch.context() as patch:
        stopping(patch, 3)
        with pytest.raises(Stopped):
            distill(toy_config(), folder, data=DATA)
    return folder


@pytest.fixture
def stopped(stopped_once: Path, tmp_path: Path) -> Path:
    """A folder of a run that was stopped after four of six iterations."""
    folder = tmp_path / "run"
    folder.mkdir()
    for path in stopped_once.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    stored = json.loads((folder / "config.json").read_text())
    change(stored)
    (folder / "config.json").write_text(json.dumps(stored))


def method(**changes: object) -> Callable[[dict[str, Any]], object]:
    return lambda stored: stored["config"]["method"].update(changes)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda stored: stored["config"].update(seed=7), "setting seed was 0 and is 7"),
        (lambda stored: stored["config"].update(network="mlp"), "setting network was mlp.*and is mlp;"),
        (lambda stored: stored["config"].pop("seed") or stored["config"].pop("network"), "setting network was mlp"),
        (lambda stored: stored["config"]["loop"].update(iterations=7), "setting loop.iterations was 6 and is 7"),
        (lambda stored: stored["planned"]["unroll"]["engine"].update(together=1),
         "planned setting engine.together was 2 and is 1"),
        (method(optimiser="adam"), "setting method.optimiser was sgd and is adam"),
        (method(epochs=3), "setting method.epochs was 2 and is 3"),
        (method(ipc=4), "setting method.ipc was 2 and is 4"),
    ],
)  # fmt: skip
def test_settings_that_were_edited_after_the_beginning_are_named(
    stopped: Path, change: Callable[[dict[str, Any]], object], named: str
) -> None:
    edited(stopped, change)
    with pytest.raises(UserError, match=f"cannot go on, because something changed since it began: {named}"):
        distill(stored_config(stopped), stopped, data=DATA, resume=True)
    assert load(stopped / "checkpoint.pt").iteration == 4


def inverted(data: RealData) -> RealData:
    return replace(data, train=replace(data.train, images=255 - data.train.images))


@pytest.mark.parametrize(
    ("data", "named"),
    [
        (inverted(DATA), r"SHA-256 of the data, split train was [0-9a-f]{12}\.\.\. and is"),
        (toy_data(count=120), r"split train was .*split validation was .*split test was"),
        (replace(DATA, class_names=("0", "1", "zz")), "class names was 0, 1, 2 and is 0, 1, zz"),
        (replace(DATA, class_names=("0", "1")), "class names was 0, 1, 2 and is 0, 1;"),
    ],
)
def test_data_that_changed_since_the_beginning_is_named(stopped: Path, data: RealData, named: str) -> None:
    with pytest.raises(UserError, match=named):
        distill(toy_config(), stopped, data=data, resume=True)
    assert load(stopped / "checkpoint.pt").iteration == 4


def test_a_checkpoint_of_an_older_version_goes_on_with_a_warning(
    stopped: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = load(stopped / "checkpoint.pt")
    state.identity = {}
    save(state, stopped / "checkpoint.pt")
    assert distill(toy_config(), stopped, data=DATA, resume=True).header.score
    assert "begun by an older version: it is unknown whether settings and data changed" in " ".join(
        capsys.readouterr().err.split()
    )


def test_a_set_names_the_data_that_it_was_made_of(stopped: Path) -> None:
    assert distill(toy_config(), stopped, data=DATA, resume=True).header.provenance["data_sha256"] == DATA.sha256


def test_a_folder_that_a_run_writes_to_is_refused_by_the_name_of_its_process(
    tmp_path: Path, stopped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = f"is in use by process {os.getpid()} on {socket.gethostname()}, which writes to it"
    refused = []

    def second(folder: Path, resume: bool) -> None:
        with pytest.raises(UserError, match=me):
            distill(toy_config(), folder, data=DATA, resume=resume)
        refused.append(resume)

    with monkeypatch.context() as patch:
        before_iteration(patch, 1, lambda: second(tmp_path / "new", False))
        distill(toy_config(), tmp_path / "new", data=DATA)
    with alone(stopped):
        second(stopped, True)
    assert refused == [False, True]
    assert distill(toy_config(), stopped, data=DATA, resume=True).header.score
    assert not (stopped / ".datastill-lock").exists()


def test_a_lock_ends_with_the_process_that_is_killed(tmp_path: Path) -> None:
    script = """
import pathlib, sys
from datastill.locks import alone
with alone(pathlib.Path(sys.argv[1])):
    print()
    sys.stdin.read()
"""
    process = subprocess.Popen(
        [sys.executable, "-uc", script, tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    with pytest.raises(UserError, match=f"is in use by process {process.pid} on"), alone(tmp_path / "run"):
        pass
    process.kill()
    process.communicate()
    with alone(tmp_path / "run"):
        pass


def test_folders_that_a_lock_made_and_nobody_filled_are_removed(tmp_path: Path) -> None:
    with alone(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / ".datastill-lock").exists()
    assert not (tmp_path / "a").exists()
    (tmp_path / "mine").mkdir()
    with alone(tmp_path / "mine"):
        pass
    assert list(tmp_path.iterdir()) == [tmp_path / "mine"]


def test_without_locks_one_line_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(datastill.storage.flock, "fcntl", None)
    with alone(tmp_path / "run"):
        pass
    assert "has no locks: make sure that no second run writes to this folder" in " ".join(
        capsys.readouterr().err.split()
    )


class Killed(BaseException):
    """The process ends here."""


STEPS = ((os, "open"), (os, "fsync"), (Path, "replace"), (Path, "unlink"), (Path, "rmdir"))
"""All that a run does to names of files."""


def killed_at(patch: pytest.MonkeyPatch, number: int) -> None:
    """From that step on none is done, not even one that would clean up."""
    left = [number]

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
            return real(*arguments, **named)

        return call

    for owner, name in STEPS:
        patch.setattr(owner, name, dying(getattr(owner, name)))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def test_killed_at_any_step_of_writing_a_run_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = toy_config(
        loop=LoopSettings(iterations=1, validate_every=1, checkpoint_every=1), protocol=Protocol(networks=1)
    )
    monkeypatch.setattr(datastill.run, "write_report", lambda folder: write_text(folder / "report.html", ""))
    monkeypatch.setattr(datastill.run, "validate", lambda *_: {"mean": 0.5, "sd": 0.0, "n": 1})
    monkeypatch.setattr(
        datastill.run, "final_score", lambda run, one, _: score(one, run.data, run.config.protocol).as_dict()
    )
    whole, resumed = distill(config, tmp_path / "whole", data=DATA), 0
    for number in range(2, 1000, 4):  # five steps for each file: each kind of step has its turn
        folder = tmp_path / str(number)
        with monkeypatch.context() as patch:
            killed_at(patch, number)
            try:
                distill(config, folder, data=DATA)
                break
            except Killed:
                pass
        begun = (folder / "config.json").exists()
        resumed += begun
        again = distill(config, folder, data=DATA, resume=begun)
        assert all(torch.equal(value, again.tensors()[name]) for name, value in whole.tensors().items())
        assert metrics(folder) == metrics(tmp_path / "whole")
        assert names(folder) == names(tmp_path / "whole")
    assert number > 25, "nine files, three steps each"
    assert resumed < number, "some were begun anew"


@pytest.mark.parametrize("where", ["validate", "final_score", "write_report", "write_json"])
def test_a_run_asked_to_end_anywhere_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], where: str
) -> None:
    """As the command line does it, where the signal comes while something else than an iteration runs."""
    monkeypatch.setattr(distilling, "distill", lambda config, folder, **more: distill(toy_config(), folder, data=DATA))
    real = getattr(datastill.run, where)

    def asked(*arguments: Any) -> Any:
        if where != "write_json" or (tmp_path / "run" / "distilled.safetensors").exists():
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(datastill.run, where, asked)
        assert main(["distill", "--out", str(tmp_path / "run")]) == 128 + signal.SIGTERM
    assert f"go on with: datastill distill --out {tmp_path / 'run'} --resume" in capsys.readouterr().err
    assert names(tmp_path / "run") >= {"config.json", "checkpoint.pt"}
    assert not [name for name in names(tmp_path / "run") if name.startswith(".")]
    assert distill(toy_config(), tmp_path / "run", data=DATA, resume=True).header.score


def test_sigterm_ends_a_command_as_ctrl_c_does_and_is_handed_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), terminable():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("execution", ["eager", "forward"])
def test_two_threads_end_as_one_after_the_other(tmp_path: Path, execution: Any) -> None:
    configs = [replace(toy_config(engine=Engine(mode="recomputed", execution=execution, together=2)), seed=seed)
               for seed in (0, 1)]  # fmt: skip
    alone = [distill(config, tmp_path / f"alone-{config.seed}", data=DATA) for config in configs]
    found: dict[int, DistilledSet] = {}

    def run(config: Config) -> None:
        found[config.seed] = distill(config, tmp_path / f"thread-{config.seed}", data=DATA)

    threads = [threading.Thread(target=run, args=(config,)) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seed, one in enumerate(alone):
        for name, tensor in one.tensors().items():
            assert torch.equal(tensor, found[seed].tensors()[name])
        assert one.header.score is not None
        assert one.header.score["accuracies"] == found[seed].header.score["accuracies"]


def test_initial_weights_do_not_depend_on_what_other_threads_draw() -> None:
    network = build("mlp(width=64)", shape=DATA.shape, classes=DATA.classes)
    expected = [network.init("xavier", [generator(seed, "x")]) for seed in range(8)]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            found = list(pool.map(lambda seed: network.init("xavier", [generator(seed, "x")]), range(8)))
            assert all(map(torch.equal, found, expected))


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_closed_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    for words in (["show"], ["distill", "--resume", "--out"], ["report"], ["verify"]):
        assert main([*words, str(tmp_path / "closed" / "run")]) == 2
        assert capsys.readouterr().err.startswith("datastill: error: ")


def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(path: Path, **_: object) -> bool:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "exists", refuse)
    assert main(["distill", "--resume", "--out", str(tmp_path / "run")]) == 2
    assert f"datastill: error: {tmp_path / 'run'}" in capsys.readouterr().err
