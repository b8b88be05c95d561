"""The Python on the pages runs as it stands, from top to bottom of each page, with small numbers of iterations."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from datastill import load_data
from datastill.pretraining import PoolSettings, pretrain
from datastill.program import PROGRAMS
from datastill.training import PLAIN, Unroll

from .pages import PAGES, code_of, text_of

ELSEWHERE = {
    "adding-a-method.md": "tests/methods/test_own_method.py",
    "file-format.md": "tests/test_formats.py",
    "programs.md": "tests/program/test_page.py",
}
"""Pages whose code another test runs."""
RUN = [page for page in PAGES if code_of(page, "python") and page not in ELSEWHERE]


def make_pool(file: str, network: str, side: int, **settings: int) -> None:
    draw = torch.Generator().manual_seed(0)
    images, labels = torch.rand(60, side, side, generator=draw), torch.arange(60) % 10
    pretrain(PoolSettings(network=network, held_out=0, **settings), load_data((images, labels)), Path(file))


NEEDS: Mapping[str, Callable[[], None]] = {
    "pretrained.md": lambda: make_pool("pools/mnist-lenet.safetensors", "lenet", 28, count=4, epochs=2, snapshots=2),
    "methods/teacher-labels.md": lambda: make_pool(
        "pools/teacher.safetensors", "mlp", 8, count=1, epochs=20, snapshots=20
    ),
}
"""The files that the code of a page reads."""


@pytest.fixture(autouse=True)
def quickly(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the measurements by which a run chooses how to compute, and with short programs."""

    def plainly(trial: object, iterations: int) -> Unroll:
        return replace(trial.unroll, engine=PLAIN)  # type: ignore[attr-defined]

    monkeypatch.setattr("datastill.methods.dataset_distillation.choose", plainly)
    for name, program in PROGRAMS.items():
        monkeypatch.setitem(PROGRAMS, name, replace(program, order=replace(program.order, epochs=2)))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", RUN)
def test_the_code_of_a_page_runs(page: str) -> None:
    blocks = code_of(page, "python")
    NEEDS.get(page, lambda: None)()
    for name in re.findall(r"into `(\w+\.py)`", text_of(page)):
        Path(name).write_text(blocks[0], encoding="utf-8")
    names: dict[str, object] = {"__name__": "page"}
    exec(compile(re.sub(r"\b(iterations|networks)=\d+", r"\1=2", "\n".join(blocks)), page, "exec"), names)


def test_code_that_runs_elsewhere_is_named_there() -> None:
    root = Path(__file__).parents[2]
    for page, test in ELSEWHERE.items():
        assert code_of(page, "python")
        assert page.rpartition("/")[2] in (root / test).read_text(encoding="utf-8")
