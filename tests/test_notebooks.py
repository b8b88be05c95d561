"""The notebooks were executed, are small, hold nothing of the machine that executed them, and run as they stand."""

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from datastill.program import PROGRAMS

pytestmark = pytest.mark.usefixtures("operations_not_counted")

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples" / "notebooks").glob("*.ipynb"))
MOST_BYTES = 100_000


def cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]


def run(code: str, names: dict[str, Any]) -> None:
    """Execute a cell; show its last value as a notebook does."""
    parsed = ast.parse(code)
    last = parsed.body.pop() if parsed.body and isinstance(parsed.body[-1], ast.Expr) else None
    exec(compile(parsed, "cell", "exec"), names)
    if last:
        value = eval(compile(ast.Expression(last.value), "cell", "eval"), names)
        getattr(value, "_repr_html_", value.__repr__)()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_was_executed_from_top_to_bottom_and_is_small(path: Path) -> None:
    assert path.stat().st_size < MOST_BYTES
    assert [cell["execution_count"] for cell in cells(path)] == list(range(1, len(cells(path)) + 1))
    outputs = [output for cell in cells(path) for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert not re.search(r"/(home|root|tmp|work|Users)\b", json.dumps(outputs))


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
@pytest.mark.usefixtures("as_a_user", "one_program_to_choose")
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With few iterations, networks and epochs, and baselines for which nothing is chosen."""
    monkeypatch.chdir(tmp_path)
    for name, program in list(PROGRAMS.items()):
        monkeypatch.setitem(PROGRAMS, name, replace(program, order=replace(program.order, epochs=2)))
    names: dict[str, Any] = {"__name__": "notebook"}
    for cell in cells(path):
        code = re.sub(r"^iterations = \d+", "iterations = 2", "".join(cell["source"]), flags=re.MULTILINE)
        run(re.sub(r"Protocol\(networks=\d+\)", "Protocol(networks=2)", code), names)
