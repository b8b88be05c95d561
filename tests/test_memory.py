"""What a run needs in memory is predicted, and what does not fit is refused with what does."""

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

import datastill.costs
import datastill.memory
from datastill.costs import SHORTEST, Cost, Peak, costs
from datastill.errors import UserError
from datastill.memory import free_bytes
from datastill.planner import (
    HEADROOM,
    fitting,
)
from datastill.run import prepare
from datastill.training import Engine, Unroll
from datastill.trial import Iteration

from .planning import DATA, GIB, MEMORY, METHOD, PLAINEST, TIGHT, Variant, given, whole
from .toys import toy_config, unrolled

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


PROGRAMS = [
    ("mlp(width=64,depth=1)", {"ipc": 4, "epochs": 4}, {}),
    ("mlp(width=64,depth=1)", {"steps": 1, "epochs": 5}, {}),
    ("mlp(width=8,depth=1)", {"ipc": 10, "steps": 10, "epochs": 3, "coordinates": "principal"}, {}),
    ("mlp(width=64,depth=1)", {"steps": 1, "epochs": 9, "optimiser": "adam"}, {"window": 5, "networks": 2}),
    ("convnet(width=8,depth=1,norm=none)", {"ipc": 8, "epochs": 4}, {"networks": 2}),
    ("mlp(width=64,depth=1)", {"ipc": 4, "steps": 1, "epochs": 3, "batch": 4}, {"window": 5}),
]
ONE = unrolled(METHOD, networks=1)


@pytest.mark.parametrize(("network", "changes", "unroll"), PROGRAMS)
def test_what_is_continued_from_short_programs_is_what_a_whole_one_takes(
    network: str, changes: dict[str, Any], unroll: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    method = unrolled(replace(ONE, **changes), **unroll)
    trial, lengths = given(network, method), []

    def noted(unroll: Unroll, steps: int, epochs: int) -> Iteration:
        lengths.append(steps * epochs)
        return trial.variant(unroll, steps, epochs)

    predicted = costs(replace(trial, variant=noted))
    assert max(lengths) <= SHORTEST < method.length(3)
    middle = (method.length(3) - method.unroll.window) // 2
    mean = range(middle, middle + method.unroll.window) if method.unroll.window else range(method.length(3))
    monkeypatch.setattr(Unroll, "drawn_window", lambda *_: mean)  # the mean place
    for mode, expected in predicted.items():
        found = whole(trial, replace(PLAINEST, mode=mode, together=method.networks))
        assert found.operations == expected.operations
        assert found.memory == pytest.approx(expected.memory, rel=0.1)


def test_keeping_weights_less_often_is_predicted_to_take_less() -> None:
    engine = Engine(mode="recomputed", execution="eager", together=1, keep_every=4, precision="float32")
    trial = given("mlp(width=64,depth=1)", replace(ONE, epochs=5), engine)
    assert whole(trial, engine).memory == pytest.approx(costs(trial)["recomputed"].memory, rel=0.1)


def test_a_warm_start_does_not_stand_in_the_way_of_shorter_programs() -> None:
    method = replace(ONE, epochs=4)
    task = prepare(toy_config(method=method), DATA).task
    start = method.result(task, method.init(task))
    assert costs(method.trial(replace(task, warm_start=start))) == costs(method.trial(task))


def test_costs_are_continued_along_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {
        ("stored", 1, 2): Cost(memory=100, operations=1000),
        ("stored", 1, 3): Cost(memory=130, operations=1100),
        ("stored", 2, 2): Cost(memory=162, operations=1207),  # another step: 2 bytes and 7 operations more
        ("recomputed", 1, 2): Cost(memory=70, operations=2000),
        ("recomputed", 1, 3): Cost(memory=60, operations=2150),
    }
    monkeypatch.setattr(datastill.costs, "cost", lambda made: found[made.unroll.engine.mode, made.steps, made.epochs])
    assert costs(replace(given(method=replace(METHOD, epochs=5)), variant=Variant)) == {
        "stored": Cost(memory=100 + 8 * 30 + 2, operations=1000 + 8 * 100 + 7),
        "recomputed": Cost(memory=70 + 2, operations=2000 + 8 * 150 + 7),
    }


GROUP = {
    "memory.max": "1000\n",
    "memory.current": "700\n",
    "memory.stat": "anon 500\ninactive_file 150\n",
}
OLD_GROUP = {
    "memory.limit_in_bytes": "1000\n",
    "memory.usage_in_bytes": "700\n",
    "memory.stat": "cache 9\ntotal_inactive_file 150\n",
}


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/jobs/7", {"jobs/7": GROUP}, 450),
        ("0::/", {"": GROUP}, 450),
        ("0::/jobs/7", {"jobs/7": GROUP, "jobs": GROUP | {"memory.max": "600"}}, 50),  # the limit of all jobs together
        ("0::/jobs/7", {"jobs/7": GROUP | {"memory.max": "max"}}, 5000),  # no limit
        ("0::/jobs/7", {"jobs/7": GROUP | {"memory.current": "2000"}}, 0),
        ("0::/jobs/7", {"jobs/8": GROUP}, 5000),  # another job
        ("9:memory:/jobs/7", {"memory/jobs/7": OLD_GROUP}, 450),
        ("9:memory:/hidden", {"memory": OLD_GROUP}, 450),  # a container sees its own group as the outermost
        ("3:cpu,cpuacct:/jobs/7\n", {"jobs/7": GROUP}, 5000),
        ("0::/jobs/7", {"jobs/7": GROUP | {"memory.max": "100000"}}, 5000),  # more than the system has
        (None, {"jobs/7": GROUP}, 5000),  # no groups on this system
    ],
)
def test_free_memory_is_the_systems_or_what_a_group_leaves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: str | None, files: dict[str, dict[str, str]], expected: int
) -> None:
    for folder, contents in files.items():
        (tmp_path / "groups" / folder).mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            (tmp_path / "groups" / folder / name).write_text(content)
    if own is not None:
        (tmp_path / "own").write_text(own)
    monkeypatch.setattr(datastill.memory, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(datastill.memory, "OWN_GROUPS", tmp_path / "own")
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=5000))
    assert free_bytes(torch.device("cpu")) == expected


def test_free_memory_of_this_machine_is_found() -> None:
    assert 0 < free_bytes(torch.device("cpu")) <= psutil.virtual_memory().total


def test_the_modes_that_fit_are_those_within_the_share_of_the_free_memory() -> None:
    for available, expected in (
        (math.ceil(10 * GIB / HEADROOM), ["stored", "recomputed"]),
        (math.floor(10 * GIB / HEADROOM) - 1, ["recomputed"]),
        (math.ceil(GIB / HEADROOM), ["recomputed"]),
    ):
        assert fitting(Engine(), MEMORY, available) == expected
    assert fitting(Engine(mode="stored"), MEMORY, 100 * GIB) == ["stored"]
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
