"""What a run needs in memory is predicted, and what does not fit is refused with what does."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import datastill.planner
import datastill.training.engine
from datastill.errors import UserError
from datastill.methods import Problem
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.planner import (
    HEADROOM,
    Peak,
    fitting,
    free_bytes,
    peak,
    peaks,
)
from datastill.training import Engine

from .planning import GIB, MEMORY, METHOD, TIGHT, given

# --- memory


def test_the_peak_is_that_of_the_storages_alive_at_once_whoever_views_them() -> None:
    with Peak() as follower:
        first = torch.zeros(100)  # 400 bytes
        second = first.view(10, 10).t() + 1  # two views are nothing: 800
        del first  # 400
        third = second[:5] * 2  # 600
        assert (follower.now, follower.peak) == (600, 800)
        third[0].exp_()  # in place: nothing
        torch.split(second, 2)
        assert (follower.now, follower.peak) == (600, 800)
        fourth = torch.cat([second, second])  # 1400
        assert (follower.now, follower.peak) == (1400, 1400)
    assert fourth.shape == (20, 10)


def test_views_of_what_was_there_before_take_no_memory() -> None:
    before = torch.zeros(1000)
    with Peak() as follower:
        assert before[:50].view(5, 10).t().sum() == 0
    assert follower.peak < 100


@pytest.mark.parametrize(("network", "ipc"), [("mlp(width=64,depth=1)", 4), ("convnet(width=8,depth=1,norm=none)", 8)])
def test_the_predicted_memory_is_what_a_whole_iteration_takes(
    network: str, ipc: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = replace(METHOD, ipc=ipc, epochs=4, networks=1)
    problem, short = given(network, method), {}

    def noted(method: DatasetDistillation, problem: Problem) -> int:
        short[problem.engine.mode, method.epochs] = found = peak(method, problem)
        return found

    monkeypatch.setattr(datastill.planner, "peak", noted)
    predicted = peaks(method, problem)
    assert list(predicted) == ["stored", "recomputed"]
    for mode, expected in predicted.items():
        trial = replace(problem, engine=Engine(mode=mode, execution="eager", together=1))
        assert peak(method, trial) == pytest.approx(expected, rel=0.1)
    # two epochs of two steps more: copies of the weights in either mode, and activations of these steps in one
    copies = 2 * 2 * 4 * problem.network.size
    assert predicted["recomputed"] - short["recomputed", 2] == pytest.approx(copies, rel=0.1)
    assert predicted["stored"] - short["stored", 2] > 2 * copies


def test_the_predicted_memory_is_right_for_a_program_of_one_step_an_epoch() -> None:
    method = replace(METHOD, steps=1, epochs=5, networks=1)
    problem = given("mlp(width=64,depth=1)", method)
    for mode, expected in peaks(method, problem).items():
        trial = replace(problem, engine=Engine(mode=mode, execution="eager", together=1))
        assert peak(method, trial) == pytest.approx(expected, rel=0.1), mode


def test_keeping_weights_less_often_is_predicted_to_take_less() -> None:
    engine = Engine(mode="recomputed", execution="eager", together=1, keep_every=4)
    method = replace(METHOD, epochs=5, networks=1)
    problem = given("mlp(width=64,depth=1)", method, engine)
    assert peak(method, problem) == pytest.approx(peaks(method, problem)["recomputed"], rel=0.1)


def test_memory_is_continued_from_two_and_three_epochs_along_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {("stored", 2): 100, ("stored", 3): 130, ("recomputed", 2): 70, ("recomputed", 3): 60}
    monkeypatch.setattr(datastill.planner, "peak", lambda method, problem: found[problem.engine.mode, method.epochs])
    assert peaks(replace(METHOD, epochs=5), given()) == {"stored": 100 + 3 * 30, "recomputed": 70}


def test_free_memory_is_what_the_system_says_or_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = "MemTotal: 9 kB\nMemFree: 1 kB\nMemAvailable:   2048 kB\nBuffers: 5 kB\n"
    for text, expected in ((told, 2048 * 1024), ("MemTotal: 9 kB\n", None)):
        monkeypatch.setattr(Path, "read_text", lambda _, text=text: text)
        assert free_bytes(torch.device("cpu")) == expected

    def missing(_: Path) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    assert free_bytes(torch.device("cpu")) is None


def test_the_modes_that_fit_are_those_within_the_share_of_the_free_memory() -> None:
    for available, expected in (
        (None, ["stored", "recomputed"]),
        (math.ceil(10 * GIB / HEADROOM), ["stored", "recomputed"]),
        (math.floor(10 * GIB / HEADROOM) - 1, ["recomputed"]),
        (math.ceil(GIB / HEADROOM), ["recomputed"]),
    ):
        assert fitting(Engine(), MEMORY, available) == expected
    assert fitting(Engine(mode="stored"), MEMORY, None) == ["stored"]
    assert fitting(Engine(mode="recomputed"), MEMORY, 100 * GIB) == ["recomputed"]


def test_a_mode_that_does_not_fit_is_refused_with_its_size_the_free_size_and_the_mode_that_would() -> None:
    with pytest.raises(UserError) as caught:
        fitting(Engine(mode="stored"), MEMORY, TIGHT)
    message = "mode 'stored' needs about 10.0 GiB, but 2.0 GiB of memory are free; take mode=recomputed"
    assert str(caught.value) == message


@pytest.mark.parametrize("mode", ["auto", "stored", "recomputed"])
def test_where_no_mode_fits_something_else_is_advised(mode: str) -> None:
    with pytest.raises(UserError) as caught:
        fitting(Engine(mode=mode), MEMORY, GIB)
    last, needed = ("stored", "10.0") if mode == "stored" else ("recomputed", "1.0")
    assert str(caught.value) == (
        f"mode {last!r} needs about {needed} GiB, but 1.0 GiB of memory are free; "
        "take fewer networks together, a smaller real_batch or keep_every"
    )
