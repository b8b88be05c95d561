"""A run's folder imports and opens only what the command names, or what is trusted."""

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from datastill.cli import _options
from datastill.commands import Distill, configuration
from datastill.commands.resuming import resumed
from datastill.config import Config, as_dict
from datastill.errors import UserError
from datastill.methods.kernel_ridge import KernelRidge
from datastill.networks.start import FromPool, Pretrained
from datastill.recipes import recipe
from datastill.run import _begin
from datastill.storage.files import read_json, write_json
from datastill.storage.seal import is_sealed, sealed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "no_such_module:net"}, r"runs code of the module 'no_such_module'.*--trust.*--network"),
        ({"network": "alexnet(weights=/x.pt)", "start": Pretrained()}, r"opens the weights file '/x\.pt'.*--trust"),
        ({"start": FromPool("/x")}, r"the start 'pool:/x', which opens the file '/x'.*--trust"),
        ({"warm_start": "/x.safetensors"}, r"the distilled set in the file '/x\.safetensors'.*--trust"),
        ({"data": replace(Config().data, name="/")}, r"the data '/'.*--trust"),
        ({"protocol": replace(Config().protocol, network="m:n")}, r"runs code of the module 'm'.*--trust"),
        ({"protocol": replace(Config().protocol, start=FromPool("/x"))}, r"the start 'pool:/x', which opens the file"),
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


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("mnist-random --out x --resume", "recipe: digits != mnist-random"),
        ("--seed 0 --resume", "seed: 7 != 0"),
        ("--loop.validate-every=100", "loop.validate_every: 3 != 100"),
        ("--method dataset-distillation", "method.name: kernel-ridge != dataset-distillation"),
        ("--method.ipc 10", "method.ipc: 2 != 10"),
        ("digits --resume", ""),
        ("--seed 7 --resume", ""),
        ("digits --method kernel-ridge --method.real-batch 9999 --method.ipc 2 --resume", ""),
    ],
)
def test_what_a_command_names_must_be_as_the_run_began(words: str, named: str, tmp_path: Path) -> None:
    """Also if it equals the recipe; a setting that was fitted to the data is as the first command named it."""
    stored = replace(recipe("digits"), seed=7, method=KernelRidge(ipc=2, real_batch=1000))
    stored = replace(stored, loop=replace(stored.loop, validate_every=3))
    began = "datastill distill digits --seed 7 --method kernel-ridge --method.real-batch 9999 --method.ipc 2"
    write_json(tmp_path / "config.json", {"config": as_dict(stored), "command": began})
    line = shlex.split(f"datastill distill {words}")
    asked, rest = configuration(line[2:])
    asked = _options(Distill, rest, "datastill", default=Distill(config=asked)).config
    if not named:
        assert resumed(tmp_path, asked, trust=False, words=line) == stored
        return
    with pytest.raises(UserError, match=rf"has other settings \({named}\); resume without them$"):
        resumed(tmp_path, asked, trust=False, words=line)


@pytest.mark.parametrize("command", ["", "datastill 'distill", 3, None])
def test_a_first_command_that_is_none_is_passed_over(command: object, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", {"config": as_dict(recipe("digits")), "command": command})
    assert resumed(tmp_path, recipe("digits"), trust=False, words=["datastill", "distill", "digits"])


def test_what_this_user_began_here_needs_no_trust_until_it_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    asked = recipe("digits")
    stored = replace(asked, network="no_such_module:net", data=replace(asked.data, name="/"))
    _begin(tmp_path, stored, stored.method, "datastill distill")
    record = read_json(tmp_path / "config.json")
    assert resumed(tmp_path, asked, trust=False) == stored
    write_json(tmp_path / "config.json", record | {"config": as_dict(replace(stored, seed=7))})
    with pytest.raises(UserError, match="no_such_module"):
        resumed(tmp_path, asked, trust=False)
    write_json(tmp_path / "config.json", record)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "another user"))
    with pytest.raises(UserError, match="no_such_module"):
        resumed(tmp_path, asked, trust=False)


def test_nobody_else_reads_the_key_of_seals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    record = sealed({"a": [1.5, None]})
    assert is_sealed(record)
    assert (tmp_path / "datastill" / "key").stat().st_mode & 0o077 == 0
    assert sealed({"a": [1.5, None]}) == record


@pytest.mark.parametrize("record", [{}, {"seal": ""}, {"seal": "ü"}, {"seal": 3}, [], None])
def test_what_nobody_sealed_is_not_sealed(record: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert sealed({})["seal"]
    assert not is_sealed(record)


def test_without_a_folder_for_the_key_nothing_is_sealed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert sealed({"a": 1}) == {"a": 1}


@pytest.mark.parametrize("content", [None, [], {}, {"config": 3}, {"config": {"method": 3}}, {"config": {"x": 1}}])
def test_settings_that_are_no_settings_are_refused_in_one_line(content: object, tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", content)
    with pytest.raises(UserError, match=r"config\.json") as told:
        resumed(tmp_path, recipe("digits"), trust=False)
    assert "\n" not in str(told.value)
