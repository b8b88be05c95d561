"""A pool whose training is stopped in the middle of a network goes on there, and ends as if it had not been stopped."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import datastill.pretraining
from datastill import UserError
from datastill.data import DataSettings
from datastill.networks.pool import Pool, parts
from datastill.pretraining import PoolSettings, pretrain, unfinished
from datastill.pretraining.unfinished import Checkpoints, TrainingState

from .toys import toy_data

DATA = toy_data()
SETTINGS = PoolSettings(
    data=DataSettings(name="toy"), network="mlp(width=8,depth=1)", count=2, held_out=1, epochs=2, batch=16, snapshots=2
)
STEPS = 2 * (len(DATA.train) // 16)
"""Gradient steps of a network."""


class Killed(BaseException):
    """The end of a process that has no time to write anything."""


class Steps:
    """Counts the gradient steps of all trainings, and ends the process after some of them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done, self.last, self.end = 0, 0, KeyboardInterrupt
        follow = Checkpoints.follow

        def counted(checkpoints: Checkpoints, now: TrainingState) -> None:
            follow(checkpoints, now)
            self.done += 1
            if self.done == self.last:
                raise self.end

        monkeypatch.setattr(Checkpoints, "follow", counted)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> Steps:
    return Steps(monkeypatch)


@pytest.fixture(params=[1, 2], ids=["one-by-one", "two-at-once"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a pool that has groups of this many networks."""
    monkeypatch.setattr(datastill.pretraining, "faster", lambda *_: request.param)
    return tmp_path / "pool"


@pytest.fixture
def stopped(tmp_path: Path, steps: Steps) -> tuple[PoolSettings, Path, Path]:
    """The settings and the file of a pool whose one network was stopped after five steps, and its checkpoint."""
    settings, path = replace(SETTINGS, count=1, held_out=0), tmp_path / "pool"
    steps.last = 5
    with pytest.raises(KeyboardInterrupt):
        pretrain(settings, DATA, path)
    (checkpoint,) = parts(path).glob("*-training.safetensors")
    return settings, path, checkpoint


def must_be_the_same(one: Pool, other: Pool) -> None:
    for snapshot in (0, 1, None):
        assert torch.equal(one.at(snapshot).training, other.at(snapshot).training)
        assert torch.equal(one.at(snapshot).held_out, other.at(snapshot).held_out)


@pytest.mark.parametrize("last", [1, STEPS // 2, STEPS - 1, STEPS + 1])
def test_a_training_that_a_user_stops_goes_on_with_the_next_step(path: Path, steps: Steps, last: int) -> None:
    whole = pretrain(SETTINGS, DATA, path.with_name("whole"))
    needed, steps.done, steps.last = steps.done, 0, last
    with pytest.raises(KeyboardInterrupt):
        pretrain(SETTINGS, DATA, path)
    must_be_the_same(pretrain(SETTINGS, DATA, path), whole)
    assert steps.done == needed, "no step was done twice"
    assert not parts(path).exists()


def test_a_training_that_is_killed_goes_on_from_its_last_checkpoint(
    path: Path, steps: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = pretrain(SETTINGS, DATA, path.with_name("whole"))
    needed, steps.done, steps.last, steps.end = steps.done, 0, 7, Killed
    monkeypatch.setattr(unfinished, "SECONDS_BETWEEN", 0.0)
    monkeypatch.setattr(unfinished, "MOST_SHARE", torch.inf)
    with pytest.raises(Killed):
        pretrain(SETTINGS, DATA, path)
    must_be_the_same(pretrain(SETTINGS, DATA, path), whole)
    assert steps.done == needed


def test_a_training_without_a_checkpoint_begins_anew(path: Path, steps: Steps) -> None:
    steps.last, steps.end = 7, Killed
    with pytest.raises(Killed):
        pretrain(SETTINGS, DATA, path)
    must_be_the_same(pretrain(SETTINGS, DATA, path), pretrain(SETTINGS, DATA, path.with_name("whole")))


def test_seconds_are_those_of_all_parts_of_a_training(stopped: tuple[PoolSettings, Path, Path]) -> None:
    settings, path, file = stopped
    change(file, done=torch.tensor([5.0, 1000.0], dtype=torch.float64))
    assert 1000 < pretrain(settings, DATA, path).header["seconds"] < 1500


def test_what_does_not_fit_is_told_with_what_to_do(stopped: tuple[PoolSettings, Path, Path]) -> None:
    settings, path, file = stopped
    whole = file.read_bytes()
    for broken in (whole[:100], b"", whole[:-1]):
        file.write_bytes(broken)
        with pytest.raises(UserError, match=r"is not a whole safetensors file .*; delete .*-training\.safetensors"):
            pretrain(settings, DATA, path)
    file.write_bytes(whole)
    change(file, done=torch.zeros(3))
    with pytest.raises(UserError, match=r"holds no training of networks; delete .*-training\.safetensors"):
        pretrain(settings, DATA, path)
    file.write_bytes(whole)
    change(file, **{"state.0": torch.zeros(1, 3)})
    with pytest.raises(UserError, match=r"holds the training of other networks; delete .*-training\.safetensors"):
        pretrain(settings, DATA, path)
    file.unlink()
    must_be_the_same(pretrain(settings, DATA, path), pretrain(settings, DATA, path.with_name("whole")))


def test_progress_is_shown_within_a_network(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("datastill.runlog.ProgressLine.INTERVAL", 0.0)
    pretrain(SETTINGS, DATA, path)
    shown = capsys.readouterr().err
    assert f"pretrain: gradient step 2/{3 * STEPS}" in shown
    assert f"pretrain: gradient step {3 * STEPS}/{3 * STEPS}" in shown


def change(file: Path, **tensors: torch.Tensor) -> None:
    """Write a checkpoint with other tensors."""
    found = unfinished.read_tensors(file)[1]
    save_file(found | tensors, file)
