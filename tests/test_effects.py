"""Settings that would do nothing are refused by name: nothing that a user asks for is ignored in silence."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from datastill import Config, UserError, distill, recipe
from datastill.data import DataSettings
from datastill.effects import changed_settings, must_use_given_data, must_use_settings
from datastill.evaluation import Grid
from datastill.loop import LoopSettings
from datastill.methods import METHODS
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.methods.distribution_matching import DistributionMatching
from datastill.methods.kernel_ridge import KernelRidge
from datastill.methods.selection import RandomReal
from datastill.methods.teacher_crops import TeacherCrops
from datastill.run import prepare

from .toys import toy_config, toy_data, toy_set

pytestmark = pytest.mark.usefixtures("operations_not_counted")

DATA = toy_data()
FITTING = {"ipc": 1, "steps": 1, "epochs": 2, "real_batch": 32}
"""Settings of a method that fit `toy_set`."""


def test_changed_settings_differ_from_the_default_and_from_the_recipe() -> None:
    assert changed_settings(Config()) == set()
    assert changed_settings(recipe("mnist-random")) == set()
    config = recipe("mnist-random")
    changed = replace(config, method=replace(config.method, step_size=0.5), seed=3)
    assert changed_settings(changed) == {"method.step_size", "seed"}


@pytest.mark.parametrize(
    ("method", "message"),
    [
        ({"step_size": 0.3}, "method.step_size is given, but has no effect: the run starts from the step sizes of"),
        ({"start_from": "noise"}, "method.start_from is given, but has no effect: the run starts from the examples of"),
    ],
)
def test_a_warm_start_refuses_the_settings_that_it_replaces(tmp_path: Path, method: dict, message: str) -> None:
    file = str(tmp_path / "set.safetensors")
    toy_set(DATA).save(file)
    config = toy_config(method=DatasetDistillation(**FITTING, **method), warm_start=file)
    with pytest.raises(UserError, match=message):
        distill(config, tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()
    prepare(config, DATA, resume=True)  # a run of an earlier version goes on
    prepare(replace(config, warm_start=""), DATA)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": KernelRidge(depth=5)}, "method.depth is given, .*: the kernel is features; leave method.depth out"),
        ({"method": KernelRidge(kernel="fully-connected", age=3)}, "method.age is given, .* is fully-connected"),
        ({"method": KernelRidge(sharpness=9.0)}, "method.sharpness is given, .* uses the squared error"),
        ({"method": KernelRidge(program="shuffled-300", scale=9.0)}, "method.scale is given, .* uses no squared error"),
        ({"method": DistributionMatching(frequencies=7)}, "method.frequencies is given, .*: means are compared"),
        ({"method": DistributionMatching(), "loop": LoopSettings(betas=(0.1, 0.2))}, "loop.betas is given, .* Adam's"),
        ({"method": RandomReal(), "loop": LoopSettings(iterations=7)}, "loop.iterations is given, .* no outer iter"),
        ({"method": TeacherCrops(factor=1, crops=9)}, "method.crops is given, .*: with factor 1 an example is a whole"),
        (
            {"tune": Grid(step_sizes=(), epochs=(), optimisers=(), networks=9)},
            "tune.networks is given, .* nothing to c",
        ),
    ],
)
def test_a_setting_that_does_nothing_beside_the_others_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        must_use_settings(Config(**changes))


@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_settings_that_may_have_no_effect_are_settings_of_the_method(name: str) -> None:
    method = METHODS[name]()
    assert set(method.without_effect) <= {each.name for each in fields(method)}  # type: ignore[arg-type]
    must_use_settings(Config(method=method))


def test_a_warm_start_with_stored_initial_weights_refuses_another_initialiser(tmp_path: Path) -> None:
    first = distill(toy_config(start="fixed"), tmp_path / "first", data=DATA)
    first.save(tmp_path / "set.safetensors")
    method = replace(toy_config().method, step_size=DatasetDistillation.step_size)
    config = toy_config(start="fixed(kaiming)", method=method, warm_start=str(tmp_path / "set.safetensors"))
    with pytest.raises(UserError, match=r"start is fixed.kaiming., but .* initial weights stored .*; give fixed"):
        prepare(config, DATA)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"resize": 8}, r"data.resize is 8, but has no effect: .* loaded with None; give resize to load_data"),
        ({"validation": 0.4}, "data.validation is 0.4, but has no effect"),
        ({"name": "cifar10"}, "data.name is 'cifar10', but has no effect"),
    ],
)
def test_settings_of_data_that_is_loaded_already_are_refused(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        must_use_given_data(Config(data=DataSettings(**settings)), DATA)
    must_use_given_data(recipe("mnist-random"), DATA)  # the data of a recipe is its default
    must_use_given_data(Config(data=DATA.settings), DATA)
