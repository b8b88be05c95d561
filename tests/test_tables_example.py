"""The example of tables runs, and the page shows the table and the command of its stored values."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def example() -> dict:
    return runpy.run_path(str(ROOT / "examples" / "tables.py"))


@pytest.mark.usefixtures("operations_not_counted", "as_a_user")
@pytest.mark.filterwarnings("ignore")
def test_the_example_of_tables_runs(example: dict, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = example["main"](out=tmp_path / "values.json", quick=True)
    assert json.loads((tmp_path / "values.json").read_text()) == json.loads(json.dumps(record))
    assert example["table"](record) in capsys.readouterr().out


def test_the_page_shows_the_table_and_the_command_of_the_file(example: dict) -> None:
    record = json.loads((ROOT / "results" / "use-tables" / "tables.json").read_text())
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    assert f"\n\n{example['table'](record)}\n\n" in page
    assert f"`{record['command']}`" in page
    assert f"{record['processor_seconds']} seconds" in page
