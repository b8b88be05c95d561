"""A run's folder imports and opens only what the command names, or what is trusted."""

from dataclasses import replace
from pathlib import Path

import pytest

from datastill.commands.resuming import resumed
from datastill.errors import UserError
from datastill.files import write_json
from datastill.recipes import Config, as_dict, recipe


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "no_such_module:net"}, r"runs code of the module 'no_such_module'.*--trust.*--network"),
        ({"network": "alexnet(weights=/x.pt)", "initial": "own"}, r"opens the weights file '/x\.pt'.*--trust"),
        ({"initial": "pool:/x"}, r"the pool of networks in the file '/x'.*--trust"),
        ({"warm_start": "/x.safetensors"}, r"the distilled set in the file '/x\.safetensors'.*--trust"),
        ({"data": replace(Config().data, name="/")}, r"the data '/'.*--trust"),
        ({"protocol": replace(Config().protocol, network="m:n")}, r"runs code of the module 'm'.*--trust"),
        ({"protocol": replace(Config().protocol, initialiser="pool:/x")}, r"the pool of networks in the file '/x'"),
    ],
)
def test_what_is_outside_the_folder_is_asked_for(changes: dict, message: str, tmp_path: Path) -> None:
    asked = recipe("digits")
    stored = replace(asked, **changes)
    write_json(tmp_path / "config.json", {"config": as_dict(stored)})
    with pytest.raises(UserError, match=message) as told:
        resumed(tmp_path, asked, trust=False)
    assert "\n" not in str(told.value)
    assert resumed(tmp_path, asked, trust=True) == stored
    assert resumed(tmp_path, stored, trust=False) == stored, "the command names it"


@pytest.mark.parametrize("content", [None, [], {}, {"config": 3}, {"config": {"method": 3}}, {"config": {"x": 1}}])
def test_settings_that_are_no_settings_are_refused_in_one_line(content: object, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", content)
    with pytest.raises(UserError, match=r"config\.json") as told:
        resumed(tmp_path, recipe("digits"), trust=False)
    assert "\n" not in str(told.value)
