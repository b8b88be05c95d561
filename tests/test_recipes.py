"""Recipes: frozen, complete, and the same again from what is stored."""

import json
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from datastill.config import Config, as_dict, differences, from_dict
from datastill.data import DataSettings
from datastill.errors import UserError
from datastill.methods.dataset_distillation import DatasetDistillation
from datastill.networks.teacher import architecture
from datastill.recipes import RECIPES, recipe


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_a_recipe_is_the_same_again_from_its_json(name: str) -> None:
    config = recipe(name)
    assert config.recipe == name
    assert from_dict(json.loads(json.dumps(as_dict(config)))) == config
    with pytest.raises(FrozenInstanceError):
        config.seed = 1  # type: ignore[misc]


@given(
    ipc=st.integers(1, 50),
    rate=st.floats(1e-5, 1),
    resize=st.none() | st.integers(8, 64),
    seed=st.integers(0, 2**63 - 1),
)
def test_any_configuration_is_the_same_again_from_its_json(
    ipc: int, rate: float, resize: int | None, seed: int
) -> None:
    method = DatasetDistillation(ipc=ipc, examples_rate=rate)
    config = Config(method=method, data=DataSettings(name="x", resize=resize), seed=seed)
    assert from_dict(json.loads(json.dumps(as_dict(config)))) == config


def test_unknown_names_are_told_with_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown recipe 'mnist-randon': did you mean 'mnist-random'"):
        recipe("mnist-randon")
    with pytest.raises(UserError, match=r"unknown name 'ipcs' in method: did you mean 'ipc'"):
        from_dict({"method": {"ipcs": 3}})
    with pytest.raises(UserError, match="unknown method 'dataset-destillation'"):
        from_dict({"method": {"name": "dataset-destillation"}})


def test_differences_name_the_settings() -> None:
    one = Config()
    other = replace(one, seed=3, method=DatasetDistillation(ipc=20))
    assert differences(one, one) == []
    assert differences(one, other) == ["method.ipc: 10 != 20", "seed: 0 != 3"]


@pytest.mark.parametrize("network", [recipe, torch.nn.Linear, torch.nn.Linear(2, 2)])
@pytest.mark.usefixtures("as_a_user")
def test_a_network_itself_is_no_setting_but_its_name_is(network: Any) -> None:
    with pytest.raises(UserError, match=r"network is a \w+, but must be a name .* such as '[\w.]+:\w+'$"):
        Config(network=network)


@pytest.mark.parametrize("name", ["taught-mnist-lenet", "taught-cifar10-1", "taught-cifar10-10", "taught-cifar10-50"])
def test_a_missing_teacher_of_a_recipe_names_the_command_of_the_page(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (Path(__file__).parents[1] / "docs" / "methods" / "teacher-labels.md").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="there is no teacher at pools/") as told:
        architecture(recipe(name).method.teacher_labels.teacher)
    assert str(told.value).partition("to make one: ")[2] in page
