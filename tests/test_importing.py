"""The current folder may be a stranger's: nothing in it runs unless the user names it."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

import datastill
from datastill.cli import main
from datastill.errors import UserError
from datastill.importing import import_named

TRAP = "from pathlib import Path; Path('executed').touch(); raise SystemExit('a trap ran')"
NETWORK = """
from torch import nn

def tiny(*, shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1] * shape[2], classes))
"""


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, which holds modules named like those that the package imports."""
    monkeypatch.chdir(tmp_path)
    for name in ("pandas", "pyarrow", "numpy", "torch", "tyro", "json", "datasets", "sitecustom"):
        (tmp_path / f"{name}.py").write_text(TRAP)
    (tmp_path / "network_of_mine.py").write_text(NETWORK)
    return tmp_path


def test_a_program_runs_nothing_from_the_current_folder(trapped: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["PYTHONPATH"] = str(Path(datastill.__file__).parent.parent)
    process = subprocess.run(
        [sys.executable, "-m", "datastill", "distill", "--network", "network_of_mine:tiny", "--loop.iterations", "0"],
        env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert process.stderr.startswith("datastill: error: iterations is 0, but must be at least 1; ")
    assert process.stderr.count("\n") == 1
    assert not (trapped / "executed").exists()


def test_a_module_that_is_named_is_found_and_the_search_path_is_as_before(trapped: Path) -> None:
    before = list(sys.path)
    network = datastill.build_network("network_of_mine:tiny", shape=(1, 2, 2), classes=3)
    assert network.size == 4 * 3 + 3
    assert main(["list", "baselines"]) == 0
    with pytest.raises(UserError, match="no_such_module_of_mine"):
        datastill.build_network("no_such_module_of_mine:tiny", shape=(1, 2, 2), classes=3)
    assert [folder for folder in sys.path if folder in before] == before
    assert str(trapped) not in sys.path
    assert not (trapped / "executed").exists()


def test_the_current_folder_is_searched_last(trapped: Path) -> None:
    (trapped / "colorsys.py").write_text(TRAP)
    assert hasattr(import_named("colorsys"), "rgb_to_hsv")
    assert not (trapped / "executed").exists()


def test_a_folder_that_is_gone_is_no_obstacle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tmp_path.rmdir()
    assert import_named("colorsys")


LIGHT = """
import sys
import datastill
import torch
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(28 * 28, 10))
datastill.load("mnist-10").fit(model)
print(*sorted({name.partition(".")[0] for name in sys.modules}))
"""
HEAVY = {"attr", "cattrs", "datasets", "jinja2", "matplotlib", "pandas", "PIL", "rich", "scipy", "sklearn", "tyro"}


def test_loading_a_set_and_training_on_it_imports_torch_and_little_else() -> None:
    done = subprocess.run([sys.executable, "-c", LIGHT], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert {"datastill", "torch", "safetensors"} <= found
    assert not found & HEAVY


def test_every_public_name_is_found_at_first_use() -> None:
    for name in datastill.__all__:
        assert getattr(datastill, name) is not None
    assert set(datastill.__all__) <= set(dir(datastill))
    assert datastill.networks.build is datastill.build_network
    with pytest.raises(AttributeError, match="has no attribute 'no_such_name'"):
        _ = datastill.no_such_name


def test_no_public_name_is_also_a_module() -> None:
    """Importing a module sets an attribute of the package with its name."""
    assert not [name for name in datastill.__all__ if importlib.util.find_spec(f"datastill.{name}")]


def test_sets_of_the_package_are_listed() -> None:
    assert {"mnist-10", "mnist-100"} <= set(datastill.list_sets())
    assert datastill.load(datastill.list_sets()[0]).size > 0
