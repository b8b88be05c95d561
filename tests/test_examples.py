"""The examples run as they stand."""

import json
import runpy
from pathlib import Path

import pytest

from datastill import Protocol, distill

from .toys import toy_config

pytestmark = pytest.mark.usefixtures("operations_not_counted")

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
USES = {
    "continual_learning": ("use-continual/mnist.json", "use-continual/cifar10.json"),
    "search_proxy": ("use-search/mnist.json",),
    "federated": ("use-federated/mnist.json",),
    "privacy": ("use-privacy/fashion_mnist.json",),
}
"""The uses that docs/uses.md shows, and the files of their values."""


def test_use_a_set_gives_what_the_set_promises(tmp_path: Path) -> None:
    config = toy_config(data=toy_config().data.__class__(name="digits"))
    distilled = distill(config, tmp_path / "run")
    found = runpy.run_path(str(EXAMPLES / "use_a_set.py"))["main"](str(tmp_path / "run" / "distilled.safetensors"))
    assert 0 < found <= 1
    assert abs(found - distilled.header.score["mean"]) < 0.3


@pytest.mark.usefixtures("one_program_to_choose")
def test_your_own_data_beats_random_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(EXAMPLES)
    import your_own_data

    monkeypatch.setattr(your_own_data, "Protocol", lambda networks: Protocol(networks=networks // 5))
    assert your_own_data.main(str(tmp_path / "run"), iterations=100) > 0


@pytest.mark.parametrize("name", USES)
@pytest.mark.usefixtures("as_a_user")
def test_a_use_runs_and_writes_the_values_of_its_table(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    use = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    record = use["main"](out=tmp_path / "values.json", quick=True)
    stored = json.loads((tmp_path / "values.json").read_text())
    assert stored == json.loads(json.dumps(record))
    assert use["table"](stored) in capsys.readouterr().out


@pytest.mark.parametrize("name", USES)
def test_the_page_of_uses_shows_the_tables_and_the_commands_of_the_files(name: str) -> None:
    table = runpy.run_path(str(EXAMPLES / f"{name}.py"))["table"]
    page = (ROOT / "docs" / "uses.md").read_text(encoding="utf-8")
    for file in USES[name]:
        record = json.loads((ROOT / "results" / file).read_text())
        assert f"\n\n{table(record)}\n\n" in page
        assert f"\n{record['command']}\n" in page
        assert f"{record['processor_seconds']} seconds" in page


def test_an_example_is_short() -> None:
    assert all(len(path.read_text().splitlines()) < 100 for path in EXAMPLES.glob("*.py"))
