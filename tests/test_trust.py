"""A file runs no code, and opens no other file, unless the user says so."""

import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from datastill import DistilledSet, Header, Protocol, load_data, score, verify
from datastill.artifact import Pixels
from datastill.baselines import Beside
from datastill.cli import main
from datastill.errors import UserError
from datastill.networks import build
from datastill.networks.start import FromPool, Random

from .sets import set_of_steps

DIGITS = load_data("digits")
CODE = "trap_of_this_test:make(note=a)"
"""A network whose module leaves a trace when it is imported."""
SCORE = {
    "split": "test",
    "n": 1,
    "images": len(DIGITS.test),
    "mean": 0.9,
    "sd": 0.0,
    "accuracies": [0.9],
    "protocol": {"networks": 1, "network": "mlp", "start": {"kind": "random", "initialiser": "xavier"}},
}
HEADER = Header(
    data="digits",
    class_names=DIGITS.class_names,
    space=Pixels(mean=(0.3,), std=(0.3,), shape=(1, 8, 8)),
    network="mlp(width=4)",
    start=Random(),
    config={"data": {"name": "digits"}},
    score=SCORE,
)


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that the module of `CODE` writes when it is imported; the module can be imported from here."""
    (tmp_path / "trap_of_this_test.py").write_text(
        f"from pathlib import Path\nfrom torch import nn\nPath({str(tmp_path / 'trace')!r}).touch()\n"
        "def make(*, shape, classes, note=''):\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("trap_of_this_test", None)
    return tmp_path / "trace"


def write(path: Path, **changes: object) -> Path:
    distilled = set_of_steps(
        torch.zeros(1, 10, 1, 8, 8),
        torch.arange(10)[None],
        torch.full((1, 1), 0.1),
        header=replace(HEADER, **changes),
    )
    distilled.save(path)
    return path


def protocol(**changes: object) -> dict[str, object]:
    return {**SCORE, "protocol": {**SCORE["protocol"], **changes}}


COMMANDS: list[Sequence[str]] = [
    ("verify", "FILE"),
    ("pack", "FILE", "--to", "packed.safetensors"),
    ("evaluate", "FILE", "--networks", "1"),
    ("baseline", "random", "--like", "FILE", "--networks", "1", "--out", "made"),
]
READS_PROTOCOL = ("verify", "pack")

HOSTILE = {
    "code in the header": ({"network": CODE, "score": protocol(network=CODE)}, "runs code of the module 'trap_of"),
    "weights": ({"network": "alexnet(weights=/etc/passwd)", "score": protocol(network="alexnet(weights=/etc/passwd)")},
                "opens the weights file '/etc/passwd'"),
    "weights by a bare name that is here": (
        {"network": "alexnet(weights=w)", "score": protocol(network="alexnet(weights=w)")},
        "opens the weights file 'w'"),
    "a pool": ({"start": FromPool("/etc/passwd"), "score": protocol(start=asdict(FromPool("/etc/passwd")))},
               "the start 'pool:/etc/passwd', which opens the file '/etc/passwd'"),
    "a folder": ({"data": "/", "config": {}}, "set.safetensors asks for the data '/'"),
    "a folder in the configuration": ({"config": {"data": {"name": "/"}}}, "set.safetensors asks for the data '/'"),
    "the folder above": ({"config": {"data": {"name": ".."}}}, "the data '..'"),
    "a name of the hub": ({"config": {"data": {"name": "mnist"}}}, "the data 'mnist'"),
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
@pytest.mark.parametrize("name", HOSTILE)
def test_what_a_file_asks_for_is_said_in_one_line_and_not_done(
    name: str, command: Sequence[str], trace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATASTILL_DATA", raising=False)
    (trace.parent / "w").write_text("")
    changes, message = HOSTILE[name]
    write(Path("set.safetensors"), **changes)
    assert main([word.replace("FILE", "set.safetensors") for word in command]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "--trust" in said
    assert said.count("\n") == 1
    assert not trace.exists()


@pytest.mark.parametrize("command", [words for words in COMMANDS if words[0] in READS_PROTOCOL], ids=lambda w: w[0])
def test_a_protocol_alone_asks_too(command: Sequence[str], trace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(Path("set.safetensors"), score=protocol(network=CODE))
    assert main([word.replace("FILE", "set.safetensors") for word in command]) == 2
    assert "runs code of the module" in capsys.readouterr().err
    assert not trace.exists()


@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[0])
def test_a_user_who_trusts_the_file_gets_what_it_asks_for(command: Sequence[str], trace: Path) -> None:
    write(Path("set.safetensors"), network=CODE, score=protocol(network=CODE))
    assert main([*(word.replace("FILE", "set.safetensors") for word in command), "--trust"]) in (0, 1)
    assert trace.exists()


@pytest.mark.parametrize("command", COMMANDS[2:], ids=lambda words: words[0])
def test_a_user_who_names_the_network_needs_no_trust(command: Sequence[str], trace: Path) -> None:
    write(Path("set.safetensors"), network=CODE)
    assert main([*(word.replace("FILE", "set.safetensors") for word in command), "--network", CODE]) == 0
    assert trace.exists()


@pytest.mark.parametrize("command", COMMANDS[2:], ids=lambda words: words[0])
def test_naming_another_network_imports_nothing(command: Sequence[str], trace: Path) -> None:
    write(Path("set.safetensors"), network=CODE)
    assert main([*(word.replace("FILE", "set.safetensors") for word in command), "--network", "mlp(width=3)"]) == 0
    assert not trace.exists()


@pytest.mark.parametrize("command", ["show", "export --to out", "export --kind npz --to out.npz"])
def test_looking_at_a_set_asks_for_nothing(command: str, trace: Path) -> None:
    write(Path("set.safetensors"), network=CODE, start=FromPool("/etc/passwd"), data="/")
    first, *rest = command.split()
    assert main([first, "set.safetensors", *rest]) == 0
    assert not trace.exists()


def test_functions_take_trust_too(trace: Path) -> None:
    path, one = write(Path("set.safetensors"), network=CODE, score=protocol(network=CODE)), Protocol(networks=1)
    for call in (
        lambda: score(DistilledSet.load(path), DIGITS, one),
        lambda: verify(DistilledSet.load(path), DIGITS),
        lambda: Beside.of(DistilledSet.load(path), DIGITS),
        lambda: build(DistilledSet.load(path).header.network, shape=DIGITS.shape, classes=10, trust=False),
    ):
        with pytest.raises(UserError, match="runs code of the module"):
            call()
    assert not trace.exists()
    score(DistilledSet.load(path), DIGITS, one, trust=True)
    assert trace.exists()
    verify(DistilledSet.load(path), DIGITS, trust=True)
    score(DistilledSet.load(path, trust=True), DIGITS, one)
    score(DistilledSet.load(path), DIGITS, replace(one, network=CODE))


def test_weights_in_the_users_data_folder_need_no_trust(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATASTILL_DATA", str(tmp_path))
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.safetensors").write_text("")
    with pytest.raises(UserError, match="not a whole safetensors file"):  # it is opened
        build("alexnet(weights=w.safetensors)", shape=(3, 64, 64), classes=2, trust=False)
    for name in ("..", "other.safetensors", "weights/w.safetensors", "x" * 9999):
        with pytest.raises(UserError, match="opens the weights file"):
            build(f"alexnet(weights={name})", shape=(3, 64, 64), classes=2, trust=False)
