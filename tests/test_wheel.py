"""The wheel and the sdist: built here, installed into an empty folder, and used there, outside the checkout."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from .toys import PLAIN_ENGINE

build = pytest.importorskip("hatchling.build")
ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 8 * 2**20
"""Bytes of everything in the sdist."""

USE = """
import runpy
import sys
from importlib.metadata import distribution
from pathlib import Path

import datastill

place = Path(sys.argv[1])
assert Path(datastill.__file__).is_relative_to(place), datastill.__file__
assert distribution("datastill").version == datastill.__version__
assert datastill.load("mnist-10").size == 10

from datastill.cli import main

assert main(["distill", "digits", "--out", "run", *sys.argv[2:]]) == 0
sys.argv = ["datastill", "report", "run", "--to", "page.html"]
runpy.run_path(str(place / "bin" / "datastill"), run_name="__main__")
"""
SMALL = [
    *PLAIN_ENGINE, "--loop.iterations=2", "--method.networks=1", "--method.epochs=1", "--method.real-batch=32",
    "--protocol.networks=1", "--random-sets=0",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        build.build_wheel(str(folder))
        build.build_sdist(str(folder))
    return folder


def test_the_installed_wheel_opens_a_set_distils_and_writes_a_page(made: Path, tmp_path: Path) -> None:
    (wheel,) = made.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-compile", "--quiet"]
    subprocess.run([*pip, "--disable-pip-version-check", "--target", tmp_path / "place", wheel], check=True)
    used = subprocess.run(
        [sys.executable, "-c", USE, tmp_path / "place", *SMALL],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(tmp_path / "place")}, capture_output=True, text=True,
    )  # fmt: skip
    assert used.returncode == 0, used.stderr
    assert used.stdout.endswith("wrote page.html\n")
    assert "<svg" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_the_wheel_is_typed_and_holds_the_library_alone(made: Path) -> None:
    (wheel,) = made.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert "datastill/py.typed" in names
    assert "datastill/sets/mnist-10.safetensors" in names
    assert {name.split("/")[0].split("-")[0] for name in names} == {"datastill"}


def test_the_sdist_is_typed_whole_and_small(made: Path) -> None:
    (sdist,) = made.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        sizes = {member.name.partition("/")[2]: member.size for member in archive}
    for name in ("src/datastill/py.typed", "tests/test_wheel.py", "mkdocs.yml", "CHANGELOG.md", "LICENSE", "Makefile"):
        assert name in sizes
    assert sum(sizes.values()) < MOST_BYTES
    assert not [name for name in sizes if name.startswith("results/") and name.endswith(".safetensors")]
