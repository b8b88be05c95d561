"""The examples of own data run, and the page shows the tables and the commands of their stored values."""

import json
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = {"tables": "use-tables/tables.json", "other_shapes": "use-shapes/shapes.json"}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.usefixtures("operations_not_counted", "as_a_user")
@pytest.mark.filterwarnings("ignore")
def test_an_example_of_own_data_runs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    example = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    record = example["main"](out=tmp_path / "values.json", quick=True)
    assert json.loads((tmp_path / "values.json").read_text()) == json.loads(json.dumps(record))
    assert example["table"](record) in capsys.readouterr().out


@pytest.mark.parametrize(("name", "file"), FILES.items())
def test_the_page_shows_the_table_and_the_command_of_the_file(name: str, file: str) -> None:
    example = runpy.run_path(str(ROOT / "examples" / f"{name}.py"))
    record = json.loads((ROOT / "results" / file).read_text())
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    assert f"\n\n{example['table'](record)}\n\n" in page
    assert f"`{record['command']}`" in page
    assert f"{record['processor_seconds']} seconds" in page
