"""Settings have the types of their fields; every other value is named in one line."""

import json
import math

import pytest

from datastill.errors import UserError
from datastill.recipes import Config, as_dict, from_dict, recipe
from datastill.records import must_have_types, updated


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (None, "a configuration must be a JSON object"),
        ([], "a configuration must be a JSON object"),
        ({"loop": 3}, "loop must be a JSON object, but is 3"),
        ({"method": "x"}, "method must be a JSON object"),
        ({"method": {"name": 7}}, "unknown method '7'"),
        ({"loop": {"iteration": 3}}, r"unknown setting 'loop\.iteration': did you mean 'loop\.iterations'"),
        ({"seed": "0"}, "seed is '0', but must be a whole number"),
        ({"seed": True}, "seed is True"),
        ({"seed": 10**30}, "seed is 1000000"),
        ({"network": 3}, "network is 3, but must be text"),
        ({"network": "mlp\x1b[2J"}, "network is .* without control characters"),
        ({"objective": "harm"}, "objective is 'harm', but must be one of 'classification', 'attack'"),
        ({"loop": {"betas": [0.9]}}, r"loop\.betas is .*a list of 2: a finite number, a finite number"),
        ({"loop": {"schedule": "none"}}, r"loop\.schedule is 'none'"),
        ({"loop": {"average": None}}, r"loop\.average is None"),
        ({"data": {"resize": 2.5}}, r"data\.resize is 2\.5, but must be a whole number or nothing"),
        ({"method": {"examples_rate": math.nan}}, r"method\.examples_rate is nan, but must be a finite number"),
        ({"method": {"examples_rate": -1}}, "examples_rate is -1"),
        ({"method": {"step_size": 0}}, "step_size is 0"),
        ({"method": {"steps": 2**27}}, "a program has at most 100000"),
        ({"method": {"epochs": 10**6}}, "a program has at most 100000"),
    ],
)
def test_a_value_that_a_setting_cannot_have_is_named(plain: object, message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        from_dict(plain)
    assert "\n" not in str(told.value)


def test_whole_numbers_are_numbers_and_lists_are_tuples() -> None:
    config = from_dict({"method": {"step_size": 1}, "loop": {"betas": [0, 0.5]}})
    assert config.loop.betas == (0, 0.5)
    assert isinstance(config.method.step_size, float)  # type: ignore[attr-defined]


def test_what_is_left_out_keeps_its_value() -> None:
    config = recipe("mnist-random")
    assert updated(config, {}) == config
    assert updated(config, json.loads(json.dumps({"seed": 4}))).seed == 4


def test_every_field_of_a_configuration_has_its_type() -> None:
    must_have_types(Config())
    plain = as_dict(Config())
    for key in plain:
        with pytest.raises(UserError, match=key):
            from_dict({key: {"no": "such setting"}})
