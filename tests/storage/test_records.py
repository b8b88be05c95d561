"""Settings have the types of their fields; every other value is named in one line."""

import json
import math
from dataclasses import dataclass, replace
from typing import Annotated

import pytest

from datastill.config import Config, as_dict, from_dict
from datastill.errors import UserError
from datastill.recipes import RECIPES, recipe
from datastill.storage.records import (
    FINITE,
    MOST_LEVELS,
    must_be_json,
    must_have_types,
    number,
    optional,
    read,
    record,
    rule_of,
    tagged,
    whole,
)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        (None, "the record is None, but must be a record of named values"),
        ([], "the record is a list of 0, but must be a record"),
        ({"loop": 3}, "loop is 3, but must be a record of named values"),
        ({"method": "x"}, "method is 'x', but must be a record"),
        ({"method": {"name": 7}}, r"method\.name is 7, but must be a text"),
        ({"loop": {"iteration": 3}}, r"unknown name 'iteration' in loop: did you mean 'iterations'"),
        ({"seed": "0"}, "seed is '0', but must be a whole number"),
        ({"seed": True}, "seed is True"),
        ({"seed": 10**30}, "seed is 1000000"),
        ({"network": 3}, "network is 3, but must be a text"),
        ({"network": "mlp\x1b[2J"}, "network is .* without control characters"),
        ({"objective": "harm"}, "objective is 'harm', but must be 'classification' or 'attack'"),
        (
            {"loop": {"betas": [0.9]}},
            r"loop\.betas is a list of 1, .* a list of 2 values: a finite number, ",
        ),
        ({"loop": {"schedule": "none"}}, r"loop\.schedule is 'none'"),
        ({"loop": {"average": None}}, r"loop\.average is None"),
        ({"data": {"resize": 2.5}}, r"data\.resize is 2\.5, but must be a whole number below 2.63 or nothing"),
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
    assert from_dict({}) == Config()
    assert from_dict({"seed": 4}) == replace(Config(), seed=4)


def test_what_is_made_plain_is_read_again() -> None:
    for name in RECIPES:
        config = recipe(name)
        assert from_dict(json.loads(json.dumps(as_dict(config)))) == config


def test_every_field_of_a_configuration_has_its_type() -> None:
    must_have_types(Config())
    plain = as_dict(Config())
    for key in plain:
        with pytest.raises(UserError, match=key):
            from_dict({key: {"no": "such setting"}})


@dataclass(frozen=True, kw_only=True)
class Lamp:
    watts: Annotated[float, number(0, 100)]
    count: Annotated[int, whole(1, 3)] = 1
    sides: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Torch:
    colour: str | None = None


@dataclass(frozen=True, kw_only=True)
class Room:
    light: object = None  # a dataclass, as `tagged` finds it


def test_a_field_has_the_rule_beside_its_type() -> None:
    lamp = read(Lamp, {"watts": 5, "sides": [1, 2]})
    assert lamp == Lamp(watts=5.0, sides=(1, 2))
    assert isinstance(lamp.watts, float)
    must_have_types(lamp)


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ({}, "lamp lacks 'watts'"),
        ({"watts": 101}, r"lamp\.watts is 101, but must be a number from 0 to 100"),
        ({"watts": True}, r"lamp\.watts is True"),
        ({"watts": math.nan}, r"lamp\.watts is nan"),
        ({"watts": 5, "count": 1.0}, r"lamp\.count is 1\.0, but must be a whole number from 1 to 3"),
        ({"watts": 5, "sides": [1, "2"]}, r"lamp\.sides\[1\] is '2', but must be a whole number"),
        ({"watts": 5, "wats": 5}, r"unknown name 'wats' in lamp: did you mean 'watts'\?.*a newer version"),
        ("x" * 1000, r"^lamp is 'x{60}\.\.\.', but must be"),
    ],
)
def test_a_wrong_value_is_named_with_what_is_allowed(plain: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(Lamp, plain, "lamp")


def test_a_changed_field_is_found_in_a_record_that_is_made() -> None:
    with pytest.raises(UserError, match=r"room\.light\.watts is -1"):
        must_have_types(Room(light=Lamp(watts=-1)), "room")


def test_a_record_may_name_its_own_kind() -> None:
    light = tagged("name", "torch", lambda name: {"torch": Torch, "lamp": Lamp}[name])
    assert read(Room, {"light": {}}, rules={object: light}).light == Torch()
    assert read(Room, {"light": {"name": "lamp", "watts": 1}}, rules={object: light}).light == Lamp(watts=1.0)
    with pytest.raises(UserError, match=r"unknown name 'watts' in light: known: colour"):
        read(Room, {"light": {"watts": 1}}, rules={object: light})


def test_plain_records_stay_as_they_are_written() -> None:
    rule = record({"share": number(0, 1), "inner": record({}, more=True)}, needed=("share",))
    plain = {"share": 1, "inner": {"x": [1]}}
    assert rule(plain, "it") is plain
    assert isinstance(plain["share"], int)


def test_values_that_contradict_each_other_are_found_after_the_values_themselves() -> None:
    def rises(plain: dict, where: str) -> None:
        if plain["low"] > plain["high"]:
            raise UserError(f"{where} falls")

    rule = record({"low": FINITE, "high": FINITE}, needed=("low", "high"), also=rises)
    with pytest.raises(UserError, match=r"it\.high is '3'"):
        rule({"low": 1, "high": "3"}, "it")
    with pytest.raises(UserError, match="it falls"):
        rule({"low": 1, "high": 0}, "it")


def test_nothing_is_a_value_where_it_is_allowed() -> None:
    assert optional(FINITE)(None, "it") is None
    assert rule_of(int | None)(3, "it") == 3
    with pytest.raises(UserError, match=r"it is 'x', but must be a finite number or nothing \(null\)"):
        optional(FINITE)("x", "it")


@pytest.mark.parametrize("value", [math.nan, math.inf, 2**63, b"", {1: 2}, "\x1b", "\u2028", {"a\nb": 1}])
def test_what_is_no_json_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="it"):
        must_be_json([value], "it")


def test_json_has_a_largest_depth() -> None:
    deep: list = []
    for _ in range(MOST_LEVELS - 1):
        deep = [deep]
    must_be_json(deep, "it")
    with pytest.raises(UserError, match="levels"):
        must_be_json([[deep]], "it")
