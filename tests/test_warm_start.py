"""Runs that go on from a finished set."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.functional import one_hot

from datastill import UserError, distill
from datastill.label_source import TeacherOnce
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.program import Divergence, Loss, SquaredError
from datastill.run import artifact, prepare

from .toys import toy_config, toy_data, toy_set

pytestmark = pytest.mark.usefixtures("operations_not_counted")
DATA = toy_data()


@pytest.mark.parametrize("initial", ["random", "fixed"])
@pytest.mark.parametrize("coordinates", ["pixels", "principal"])
def test_a_warm_start_goes_on_from_a_finished_set(tmp_path: Path, initial: str, coordinates: str) -> None:
    """With outer rates of nothing, the set, its step sizes and its initial weights are those of the warm start."""
    first = distill(toy_config(start=initial), tmp_path / "first", data=DATA)
    still = replace(toy_config().method, examples_rate=1e-12, step_sizes_rate=1e-12, coordinates=coordinates)
    config = toy_config(
        start=initial, method=still, warm_start=str(tmp_path / "first" / "distilled.safetensors"), seed=1
    )
    again = distill(config, tmp_path / "again", data=DATA)
    torch.testing.assert_close(again.inputs, first.inputs, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(again.step_sizes, first.step_sizes, rtol=1e-4, atol=1e-6)
    for name, value in (first.theta_0 or {}).items():
        assert torch.equal((again.theta_0 or {})[name], value)
    assert again.header.provenance["warm_start"] == first.header.provenance


def test_a_warm_start_in_another_normalisation_has_the_same_pixels(tmp_path: Path) -> None:
    first = toy_set(DATA, space=replace(DATA.space, mean=(0.1,), std=(2.0,)))
    first.save(tmp_path / "set.safetensors")
    config = toy_config(
        method=DatasetDistillation(ipc=1, steps=1, epochs=2, real_batch=32),
        warm_start=str(tmp_path / "set.safetensors"),
    )
    run = prepare(config, DATA)
    again = artifact(run, config.method.init(run.task))
    torch.testing.assert_close(again.original(), first.original(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("header", "settings", "message"),
    [
        ({"class_names": ("a", "b", "c")}, {}, "has classes .'a', 'b', 'c'., but this run has .'0'"),
        ({"rule": "adam"}, {}, "has inner optimiser adam, but this run has sgd"),
        ({}, {"epochs": 3}, "has 3 examples in 1 step x 2 epochs, but the settings ask for 3 in 1 x 3"),
        ({}, {"ipc": 2}, "has 3 examples in 1 step x 2 epochs, but the settings ask for 6 in 1 x 2"),
    ],
)
def test_a_warm_start_that_does_not_fit_is_refused(tmp_path: Path, header: dict, settings: dict, message: str) -> None:
    toy_set(DATA, **header).save(tmp_path / "set.safetensors")
    method = DatasetDistillation(**({"ipc": 1, "steps": 1, "epochs": 2, "real_batch": 32} | settings))
    config = toy_config(method=method, warm_start=str(tmp_path / "set.safetensors"))
    with pytest.raises(UserError, match=message):
        distill(config, tmp_path / "run", data=DATA)
    assert not (tmp_path / "run").exists()


def test_a_warm_start_with_other_labels_is_refused(tmp_path: Path) -> None:
    distilled = toy_set(DATA)
    replace(distilled, targets=distilled.targets.flip(0)).save(tmp_path / "set.safetensors")
    method = DatasetDistillation(ipc=1, steps=1, epochs=2, real_batch=32)
    with pytest.raises(UserError, match="has other labels"):
        prepare(toy_config(method=method, warm_start=str(tmp_path / "set.safetensors")), DATA)
    with pytest.raises(UserError, match="there is no distilled set at"):
        prepare(toy_config(method=method, warm_start=str(tmp_path / "other.safetensors")), DATA)


@pytest.mark.parametrize(
    ("loss", "words"),
    [(SquaredError(), "squared error"), (Divergence(temperature=4.0), "divergence from a teacher at temperature 4")],
)
def test_only_probabilities_are_learned_on(tmp_path: Path, loss: Loss, words: str) -> None:
    distilled = toy_set(DATA)
    soft = one_hot(distilled.targets, DATA.classes).float()
    program = replace(distilled.program, loss=loss)
    header = replace(distilled.header, labels=TeacherOnce(sha256="0" * 64, network="mlp"))
    replace(distilled, targets=soft, program=program, header=header).save(tmp_path / "set.safetensors")
    method = DatasetDistillation(ipc=1, steps=1, epochs=2, real_batch=32, labels_rate=0.1)
    with pytest.raises(UserError, match=f"another loss .{words}., but only probabilities can be learned on"):
        prepare(toy_config(method=method, warm_start=str(tmp_path / "set.safetensors")), DATA)


def test_a_missing_warm_start_of_a_recipe_names_the_command_that_makes_it(tmp_path: Path) -> None:
    config = toy_config(warm_start=str(tmp_path / "mnist-random" / "distilled.safetensors"))
    with pytest.raises(UserError, match=r"no warm start at .*; make it with: datastill distill mnist-random --out"):
        prepare(config, DATA)
