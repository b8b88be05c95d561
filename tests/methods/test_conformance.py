"""What every method promises, asked of every method that is found, and of three toy methods."""

import ast
import copy
import dataclasses
import inspect
import itertools
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from datastill import distributed
from datastill.config import as_dict, from_dict
from datastill.costs import MODES, Cost
from datastill.errors import UserError
from datastill.loop import LoopSettings, first_state, optimise
from datastill.methods import METHODS, Method, State, Update, find_method, must_take, name_of
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.methods.distribution_matching import DistributionMatching
from datastill.methods.teacher_crops import TeacherCrops
from datastill.methods.teacher_inversion import TeacherInversion
from datastill.methods.trajectory_matching import TrajectoryMatching
from datastill.run_state import RunState, load, must_be_of, save
from datastill.training import PLAIN, Unroll

from ..toys import toy_config, toy_data, toy_task
from .toy_methods import TOYS

DATA = toy_data()
SHUFFLED = "dataset-distillation in shuffled batches"
SMALL: dict[str, Method] = {
    "dataset-distillation": toy_config(engine=PLAIN).method,
    SHUFFLED: DatasetDistillation(
        ipc=2,
        steps=1,
        epochs=3,
        batch=4,
        augment="siamese-no-flip",
        augment_real="same",
        labels_rate=0.1,
        real_batch=32,
        coordinates="principal",
        unroll=Unroll(networks=2, window=3, growth=2, engine=PLAIN),
    ),
    "distribution-matching": DistributionMatching(ipc=2, networks=2, real_per_class=8),
}
"""Settings with which an iteration takes a fraction of a second; of other methods the defaults are taken."""
WITH_POOL: dict[str, tuple[str, Callable[[str], Method]]] = {
    "teacher-crops": ("teacher", lambda pool: taught(TeacherCrops(ipc=2, real_per_class=10, crops=2), pool)),
    "teacher-inversion": ("teacher", lambda pool: taught(TeacherInversion(ipc=2, batch=4), pool)),
    "trajectory-matching": ("experts", lambda pool: TrajectoryMatching(experts=pool, ipc=2, steps=3, batch=4)),
}
"""Methods that read a pool: which one (a fixture), and the settings."""
KINDS: dict[str, type[Method]] = METHODS | {kind.name: kind for kind in TOYS}


def taught(method: TeacherCrops | TeacherInversion, pool: str) -> Method:
    """The method with this teacher."""
    return replace(method, teacher_labels=replace(method.teacher_labels, teacher=pool))


ENLARGING = sorted(kind.name for kind in METHODS.values() if hasattr(kind, "factor") and kind().rates())
"""Methods that learn images which may be stored as parts of larger ones."""


@pytest.fixture(
    params=[*((name, 1) for name in sorted(KINDS | SMALL)), *((name, 2) for name in [*ENLARGING, SHUFFLED])], ids=str
)
def method(request: pytest.FixtureRequest) -> Method:
    name, factor = request.param
    if name in WITH_POOL:
        pool, made = WITH_POOL[name]
        found = made(str(request.getfixturevalue(pool)))
    else:
        found = SMALL.get(name) or KINDS[name]()
    return (replace(found, factor=2, ipc=2) if factor == 2 else found).fitted(DATA)


@pytest.fixture
def iterated(method: Method) -> Method:
    if not method.rates():
        pytest.skip("nothing is iterated")
    return method


def tensors(value: Any, path: str = "") -> dict[str, Tensor]:
    """All tensors inside of a record, dictionary or list, by their place; numbers as tensors, too."""
    if isinstance(value, Tensor):
        return {path: value}
    if isinstance(value, int | float):
        return {path: torch.tensor(value)}
    if dataclasses.is_dataclass(value):
        value = vars(value)
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list | tuple) else ()
    return {name: each for key, inside in items for name, each in tensors(inside, f"{path}.{key}").items()}


def equal(one: Any, other: Any) -> bool:
    ours, theirs = tensors(one), tensors(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def copied(state: State) -> State:
    return State(**copy.deepcopy(vars(state)))


def after(method: Method, iterations: int) -> State:
    """A state after some iterations, for which learned tensors do not move."""
    task = toy_task()
    state = method.init(task)
    for i in range(iterations):
        state = State(learned=state.learned, carried=method.step(task, state, i).carried)
    return state


def test_settings_are_frozen_and_each_has_a_default(method: Method) -> None:
    assert dataclasses.is_dataclass(method)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(method, dataclasses.fields(method)[0].name, 1)
    assert type(method)().name == method.name
    assert method.fitted(DATA) == method, "settings that are fitted already stay as they are"


def test_each_setting_is_explained(method: Method) -> None:
    """By a docstring under its field, which is the text of --help."""
    for kind in (each for each in type(method).__mro__ if dataclasses.is_dataclass(each)):
        (body,) = (each.body for each in ast.parse(inspect.getsource(kind)).body if isinstance(each, ast.ClassDef))
        for field, below in itertools.pairwise(body):
            named = isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
            if named and field.target.id in {each.name for each in dataclasses.fields(kind)}:
                assert isinstance(below, ast.Expr), f"{kind.__name__}.{field.target.id} has no docstring"
                assert isinstance(below.value, ast.Constant)


@pytest.mark.parametrize("start", ["random", "fixed"])
def test_there_is_one_gradient_per_network_and_nothing_is_changed(iterated: Method, start: str) -> None:
    task = toy_task(start)
    must_take(iterated, task)
    state = iterated.init(task)
    before = copied(state)
    update = iterated.step(task, state, 0)
    assert equal(before, state)
    assert update.gradients.keys() == iterated.rates().keys() <= state.learned.keys()
    assert len({len(gradient) for gradient in update.gradients.values()}) == 1
    for name, gradient in update.gradients.items():
        assert gradient.shape[1:] == state.learned[name].shape
        assert gradient.isfinite().all()
        assert not gradient.requires_grad
    assert update.objective > 0
    assert not any(each.requires_grad for each in tensors([vars(state), update.carried]).values())


def test_an_iteration_is_a_function_of_its_arguments_alone(iterated: Method) -> None:
    state = after(iterated, 1)

    def step(iteration: int) -> Update:
        return iterated.step(toy_task(), state, iteration)  # a new task: nothing that was made for another one counts

    first, _, second, other = step(7), torch.rand(3), step(7), step(8)
    assert equal(first, second)
    assert not equal(first.gradients, other.gradients)


def test_the_global_generator_is_left_alone(method: Method) -> None:
    before = torch.random.get_rng_state()
    task = toy_task()
    state = method.init(task)
    if method.rates():
        method.step(task, state, 0)
    method.result(task, state)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_processes_compute_their_own_networks_and_carry_equal_state(
    iterated: Method, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, state = toy_task(), after(iterated, 1)
    whole, parts = iterated.step(task, state, 3), []
    for rank in range(2):
        monkeypatch.setattr(distributed, "ranks", lambda: 2)
        monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
        parts.append(iterated.step(task, state, 3))
    for name, gradients in whole.gradients.items():
        mean = torch.cat([part.gradients[name] for part in parts]).mean(0)
        torch.testing.assert_close(mean, gradients.mean(0))
    assert all(equal(part.carried, whole.carried) for part in parts)


def test_settings_are_planned_once(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("datastill.planner.costs", lambda _: dict.fromkeys(MODES, Cost(memory=1, operations=1)))
    planned = method.planned(toy_task(), 1)
    assert type(planned) is type(method)
    assert planned.planned(toy_task(), 1) == planned


def test_the_seed_decides_the_first_state(method: Method) -> None:
    one, again = (method.init(toy_task(seed=3)) for _ in range(2))
    assert equal(one, again)


def test_the_result_is_a_set_that_can_be_trained_on(method: Method) -> None:
    task = toy_task()
    result = method.result(task, method.init(task))
    assert result.inputs.shape == (len(result.targets), *DATA.shape)
    assert result.inputs.dtype == method.dtype
    if result.targets.is_floating_point():
        assert result.targets.shape == (len(result.inputs), DATA.classes)
    else:
        assert set(result.targets.tolist()) <= set(range(DATA.classes))
    assert result.program.length(len(result.inputs)) >= 1
    if result.factor > 1:
        assert len(result.stored) == 2 * DATA.classes
        assert len(result.inputs) == 4 * len(result.stored)
    assert not result.inputs.requires_grad


def run(method: Method, state: RunState, folder: Path, iterations: int = 4) -> RunState:
    """Some iterations, each with a validation and a checkpoint."""
    folder.mkdir(exist_ok=True)

    def validate(found: State) -> dict[str, float]:
        values = [each.double().mean() for each in tensors(vars(found)).values()]
        return {"mean": float(torch.stack(values).sum().sin().abs()), "sd": 0.0, "n": 1}

    loop = LoopSettings(iterations=iterations, validate_every=1, checkpoint_every=1, schedule="constant")
    return optimise(method, toy_task(), state, loop, folder, validate=validate)


def test_a_run_goes_on_from_its_checkpoint_to_the_last_bit(method: Method, tmp_path: Path) -> None:
    def first() -> RunState:
        return first_state(method, method.init(toy_task()))

    whole = run(method, first(), tmp_path / "whole")
    run(method, first(), tmp_path / "parts", iterations=3)
    found = load(tmp_path / "parts" / "checkpoint.pt")
    must_be_of(method, found, tmp_path / "parts" / "checkpoint.pt")
    end = run(method, found, tmp_path / "parts")
    assert whole.iteration == end.iteration == (4 if method.rates() else 0)
    assert equal(whole.latest, end.latest)
    assert equal(whole.averages, end.averages)
    assert equal(method.result(toy_task(), whole.kept), method.result(toy_task(), end.kept))


def test_the_state_of_another_method_or_version_is_refused_by_name(method: Method, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    state = first_state(method, method.init(toy_task()))
    save(state, path)
    must_be_of(method, load(path), path)
    for change, message in (
        ({"method": "another"}, f"it holds the state of the method another, but the run has {name_of(method)}"),
        ({"version": 99}, f"version 99 of the state of {name_of(method)}, but this is version {method.version}"),
    ):
        save(RunState(**vars(state) | change), path)
        with pytest.raises(UserError, match=message):
            must_be_of(method, load(path), path)


def test_a_method_is_found_by_the_name_that_is_stored(method: Method) -> None:
    assert find_method(name_of(method)) is type(method)
    assert from_dict(as_dict(toy_config(method=method))).method == method
