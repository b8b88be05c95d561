"""Answers of many networks: compiled and on several threads it is what it is one by one."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from datastill.evaluation import Protocol, answers, score
from datastill.evaluation.answers import Answers
from datastill.networks import build, passes
from datastill.rng import generator

from ..toys import toy_data, toy_set

DATA = toy_data()
SET = toy_set(DATA)


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("spec", ["mlp(width=8,depth=1)", "convnet(width=4,depth=1,norm=none)"])
def test_compiled_and_side_by_side_it_is_the_same(spec: str, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """48 test images in batches of 20 leave a part of a batch; networks are trained while others are measured."""
    distilled = replace(SET, header=replace(SET.header, network=spec))
    plain = score(distilled, DATA, Protocol(networks=45)).accuracies
    monkeypatch.setattr(answers, "COMPILE_FROM", 1)
    monkeypatch.setitem(passes.MOST, "cpu", 20)
    assert score(distilled, DATA, Protocol(networks=45)).accuracies == plain
    assert torch.get_num_threads() == threads
    assert min(plain) < max(plain), "networks differ, so that an order mixed up would show"


def test_it_is_compiled_for_many_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("mlp(width=8,depth=1)", shape=DATA.shape, classes=DATA.classes)
    monkeypatch.setattr(answers, "COMPILE_FROM", 2 * len(DATA.test))
    made = [Answers(network, SET, DATA.test, count)._compiled is not None for count in (1, 2)]
    assert made == [False, True]


def test_without_a_compiler_the_plain_way_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("no compiler")

    network = build("mlp(width=8,depth=1)", shape=DATA.shape, classes=DATA.classes)
    theta = network.init("xavier", [generator(0, "test")])[0]
    plain = Answers(network, SET, DATA.test)(theta)
    monkeypatch.setattr(answers, "COMPILE_FROM", 1)
    monkeypatch.setattr(torch, "compile", fails)
    (found,) = Answers(network, SET, DATA.test).each([theta])
    assert torch.equal(found, plain)
