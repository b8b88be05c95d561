"""The method of docs/adding-a-method.md: named on the command line, stored and resumed; a file imports none."""

import json
import re
from pathlib import Path

import pytest

from datastill import DistilledSet
from datastill.cli import main
from datastill.errors import UserError
from datastill.methods import find_method

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-method.md"
RUN = [
    "--method.rate",
    "0.05",
    "--loop.iterations",
    "4",
    "--loop.checkpoint-every",
    "2",
    "--protocol.networks",
    "2",
    "--random-sets",
    "0",
]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a module of the page's two methods, under a name that is imported by no other test."""
    name = f"my_methods_{abs(hash(tmp_path))}"
    learning, selection = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / f"{name}.py").write_text(f"{learning}\n\n{selection}", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def method_of(folder: Path, name: str = "ClassMeans") -> str:
    return f"{next(folder.glob('my_methods_*.py')).stem}:{name}"


def test_the_pages_method_is_distilled_with_stored_and_resumed(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = method_of(folder)
    assert main(["distill", "--method", method, *RUN, "--out", "whole"]) == 0
    stored = json.loads((folder / "whole" / "config.json").read_text())["config"]["method"]
    assert stored == {"name": method, "real_batch": 64, "rate": 0.05, "step_size": 0.1}
    whole = DistilledSet.load(folder / "whole" / "distilled.safetensors")
    assert (whole.header.method, whole.size) == ("class-means", 10)

    with monkeypatch.context() as patch:
        patch.setattr("datastill.run.final_score", lambda *_: (_ for _ in ()).throw(UserError("stopped here")))
        assert main(["distill", f"--method={method}", *RUN, "--out", "parts"]) == 2
    capsys.readouterr()
    (folder / "parts" / "distilled.safetensors").unlink()
    with monkeypatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(folder / "another user"))
        assert main(["distill", "--resume", "--out", "parts"]) == 2
    assert "--trust" in capsys.readouterr().err
    assert main(["distill", "--resume", "--method", method, "--method.rate", "0.1", "--out", "parts"]) == 2
    assert "method.rate: 0.05 != 0.1" in capsys.readouterr().err, "its default is another value"
    assert main(["distill", "--resume", "--method", method, "--method.rate", "0.05", "--out", "parts"]) == 0
    parts = DistilledSet.load(folder / "parts" / "distilled.safetensors")
    assert parts.inputs.equal(whole.inputs)


@pytest.mark.usefixtures("one_program_to_choose")
def test_the_pages_selection_is_distilled_with_and_made_beside_a_set(
    folder: Path, capsys: pytest.CaptureFixture
) -> None:
    method = method_of(folder, "Brightest")
    words = ["--method.ipc", "2", "--protocol.networks", "2", "--random-sets", "0", "--tune.epochs", "1"]
    assert main(["distill", "--method", method, *words, "--out", "run"]) == 0
    made = DistilledSet.load(folder / "run")
    assert (made.header.method, made.size, made.program.order.epochs) == ("brightest", 20, 1)
    capsys.readouterr()
    assert main(["baseline", method, "--like", "run", "--networks", "2", "--sets", "3", "--json"]) == 0
    assert [one["n"] for one in json.loads(capsys.readouterr().out)["scores"]] == [2], "another seed changes nothing"
    beside = DistilledSet.load(folder / "runs" / "brightest-digits" / "0.safetensors")
    assert beside.inputs.equal(made.inputs)


@pytest.mark.usefixtures("one_program_to_choose")
def test_the_pages_selection_has_a_factor(folder: Path) -> None:
    words = ["--method.ipc", "1", "--method.factor", "2", "--protocol.networks", "2", "--random-sets", "0"]
    assert (
        main(["distill", "--method", method_of(folder, "Brightest"), *words, "--tune.epochs", "1", "--out", "run"]) == 0
    )
    assert DistilledSet.load(folder / "run").inputs.shape == (40, 1, 8, 8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dataset-destillation", "unknown method 'dataset-destillation': did you mean 'dataset-distillation'"),
        (
            "no_such_module:Mine",
            "'no_such_module:Mine' cannot be imported: there is no module 'no_such_module' .looked",
        ),
        ("json:dumps", "method 'json:dumps' is not a frozen dataclass"),
        ("datastill.methods:Method", "is not a frozen dataclass with the functions init"),
        ("tests.methods.test_own_method:Mine", "has no attribute 'Mine'$"),
        (":", "write module:Class"),
        ("DSA", "unknown method 'DSA': it is called 'gradient-matching' here"),
        ("rat-bptt", "unknown method 'rat-bptt': it is called 'dataset-distillation' here"),
    ],
)
def test_what_is_no_method_is_refused_in_one_line(name: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_method(name)


def test_a_method_whose_setting_has_no_default_is_refused_with_its_name(folder: Path) -> None:
    module = f"no_default_{abs(hash(folder))}"
    lines = (
        "from dataclasses import dataclass",
        "from datastill.methods.selection import RandomReal",
        "@dataclass(frozen=True, kw_only=True)",
        "class Sized(RandomReal):",
        "    size: int",
    )
    (folder / f"{module}.py").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be used without settings: .*'size'; give every setting a default"):
        find_method(f"{module}:Sized")


def test_a_file_imports_no_method() -> None:
    with pytest.raises(UserError, match=r"runs code of the module 'no_such_module'.*--trust.*--method module:Class"):
        find_method("no_such_module:Mine", trust=False)
